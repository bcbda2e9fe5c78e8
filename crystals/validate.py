"""The program of the validate step: it splits the structures table into accepted shards and rejected rows."""

import logging
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crystals.checks import Candidate, fault_of
from crystals.config import ChecksConfig
from crystals.conflicts import Seen, contradictions
from crystals.crystal import Crystal
from crystals.table import crystals_of, rejected_table
from storage import schemas
from storage.errors import InputError
from storage.partition import shard_count, shard_of
from storage.program import Facts, Spec, main

log = logging.getLogger(__name__)

NOT_COMPUTED = "not_computed"
HUGE = 1e17  # no property in any unit that people use; 1e20 and the like stand for a missing value in some tables


class ValidateSpec(Spec):
    """The structures table, the columns of the target and of auxiliary ones, and the bounds of the checks."""

    structures: Path
    target: str
    checks: ChecksConfig
    auxiliary: tuple[str, ...] = ()


def build(spec: ValidateSpec) -> Facts:
    """Write structures-NNN.parquet, rejected.parquet and conflicts.parquet. Rows in = accepted + rejected.

    Raises InputError, with the counts by rule, if more than `checks.max_rejected` of the rows are rejected. In a
    database where only some materials have the target, rows without it do not count.
    Raises InputError if all accepted rows have the same value of the target: it can be neither learned by regression
    nor split into two classes by a threshold.
    """
    began = time.perf_counter()
    source = pq.ParquetFile(spec.structures)
    rows = source.metadata.num_rows
    partial = schemas.is_partial(source.schema_arrow.field(spec.target))
    validator = Validator(spec.target, spec.checks, partial=partial)
    schema = schemas.accepted(source.schema_arrow, spec.target, spec.auxiliary)
    accepted_file = spec.scratch / "accepted.arrow"
    lost: Counter[str] = Counter()
    with pa.OSFile(str(accepted_file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in source.iter_batches(1024):
            keep = pa.array([validator.accepts(*row) for row in zip(*_columns(batch, spec.target), strict=True)])
            writer.write_batch(with_finite(batch.select(schema.names).cast(schema).filter(keep), spec.auxiliary, lost))
    rejected = validator.rejected
    schemas.write_table(rejected_table(rejected, schemas.REJECTED), spec.output / "rejected.parquet")
    by_rule = dict(sorted(Counter(rule for _, rule, _ in rejected).items()))
    _stop_if_too_many(rows, rejected, spec.checks.max_rejected)
    _check_values(spec.target, [one.value for one in validator.seen.values()])
    with pa.memory_map(str(accepted_file)) as mapped:
        accepted = pa.ipc.open_file(mapped).read_all()
        known = {name: _known(accepted, name) for name in spec.auxiliary}
        shards = _write_shards(accepted, shard_count(rows), spec.output)
        conflicts = contradictions(validator.seen, accepted)
    schemas.write_table(conflicts, spec.output / "conflicts.parquet")
    accepted_file.unlink()
    log.info("%s of %s structures accepted; rejected: %s", f"{len(accepted):,}", f"{rows:,}", _counted(by_rule))
    for name, count in known.items():
        log.info("auxiliary %s: %s of them have a value%s", name, f"{count:,}", _lost(lost[name]))
    return {
        "rows": rows,
        "accepted": len(accepted),
        "rejected": len(rejected),
        "by_rule": by_rule,
        "conflicts": len(conflicts),
        "shards": shards,
        **({"auxiliary": known} if known else {}),
        "seconds": time.perf_counter() - began,
    }


class Validator:
    """Checks rows one by one. Collects the rejected rows, and what must be kept of the accepted ones."""

    def __init__(self, target: str, checks: ChecksConfig, *, partial: bool) -> None:
        self.rejected: list[tuple[str, str, str]] = []
        self.seen: dict[str, Seen] = {}
        self._target, self._checks, self._partial = target, checks, partial

    def accepts(self, row: dict[str, object], crystal: Crystal | None) -> bool:
        """Whether the row is accepted. If not, it is appended to `rejected` with rule and message."""
        name, value = str(row[schemas.MATERIAL_ID]), row[self._target]
        if crystal is None:
            fault: tuple[str, str] | None = str(row["fault_rule"]), str(row["fault_message"])
        elif value is None and self._partial:
            fault = NOT_COMPUTED, f"has no {self._target}"
        elif name in self.seen:
            fault = "unique", "another row has this material_id; the first is kept"
        else:
            fault = fault_of(Candidate(crystal, value if isinstance(value, float) else None), self._checks)
        if fault:
            self.rejected.append((name, *fault))
            return False
        if crystal is not None and isinstance(value, float):
            self.seen[name] = Seen(name, str(row["formula"]), crystal.volume / len(crystal), value, len(self.seen))
        return True


def _columns(batch: pa.RecordBatch, target: str) -> tuple[list[dict[str, object]], list[Crystal | None]]:
    columns = batch.select([schemas.MATERIAL_ID, "formula", target, "fault_rule", "fault_message"])
    return columns.to_pylist(), list(crystals_of(batch))


def _write_shards(accepted: pa.Table, count: int, folder: Path) -> int:
    """Write one file a shard and return their number. Rows are sorted, so a shard's bytes depend on its rows alone."""
    members: dict[int, list[tuple[str, int]]] = defaultdict(list)
    for position, material_id in enumerate(accepted[schemas.MATERIAL_ID].to_pylist()):
        members[shard_of(material_id, count)].append((material_id, position))
    for shard, found in members.items():
        order = pa.array([position for _, position in sorted(found)], pa.int64())
        schemas.write_table(accepted.take(order), folder / f"structures-{shard:03}.parquet")
    return len(members)


def _stop_if_too_many(rows: int, rejected: list[tuple[str, str, str]], allowed: float) -> None:
    by_rule = Counter(rule for _, rule, _ in rejected)
    faults = [(name, rule, message) for name, rule, message in rejected if rule != NOT_COMPUTED]
    offered = rows - by_rule[NOT_COMPUTED]
    if not offered:
        raise InputError(f"none of {rows:,} rows has a value of the target")
    if len(faults) > allowed * offered or len(faults) == offered:
        often = Counter(rule for _, rule, _ in faults).most_common(1)[0][0]
        name, message = next((name, message) for name, rule, message in faults if rule == often)
        raise InputError(
            f"{len(faults):,} of {offered:,} rows were rejected, more than checks.max_rejected={allowed:g} allows: "
            f"{_counted(dict(sorted(by_rule.items())))}; the first by {often} is {name[:100]}: {message[:200]}"
        )


def with_finite(batch: pa.RecordBatch, columns: Sequence[str], lost: Counter[str]) -> pa.RecordBatch:
    """The batch with a null for each value of these columns that is no finite number; how many, is added to `lost`."""
    for name in columns:
        place, values = batch.schema.get_field_index(name), batch.column(name)
        finite = pc.if_else(pc.is_finite(values), values, pa.scalar(None, values.type))
        lost[name] += finite.null_count - values.null_count
        batch = batch.set_column(place, batch.schema.field(place), finite)
    return batch


def _known(accepted: pa.Table, name: str) -> int:
    """How many rows have a value of this auxiliary column. Raises InputError where there is nothing to learn."""
    values = accepted[name].drop_null().to_pylist()
    _check_values(name, values, "auxiliary")
    return len(values)


def _lost(count: int) -> str:
    return f"; {count:,} are left out, for they are no finite numbers" if count else ""


def _check_values(target: str, values: list[float], kind: str = "target") -> None:
    if not values:
        raise InputError(f"{kind} {target}: none of the accepted rows has a value; nothing to learn")
    if len(values) > 1 and min(values) == max(values):
        raise InputError(
            f"{kind} {target}: all {len(values):,} accepted rows have the value {values[0]:g}; nothing to learn"
        )
    huge = [value for value in values if abs(value) >= HUGE]
    if huge:
        log.warning(
            "%s %s: %s of %s values are %g or beyond, the largest %.3g; is that a missing value? then leave it out",
            *(kind, target, f"{len(huge):,}", f"{len(values):,}", HUGE, max(huge, key=abs)),
        )


def _counted(by_rule: dict[str, int]) -> str:
    return ", ".join(f"{rule} {count:,}" for rule, count in by_rule.items()) or "none"


if __name__ == "__main__":
    main(ValidateSpec, build)

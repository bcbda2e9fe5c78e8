"""The program that reads the inputs of a prediction (files, folders and tables) in the order they were given."""

import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from crystals.checks import fault_in_prediction
from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.graphs import graphs_of
from crystals.sources.batches import Row, batches_of
from crystals.structure_files import count_in, rows_in
from crystals.table import crystals_of
from storage import schemas
from storage.exchange import Tables, offer
from storage.program import Facts, Spec, main, progress

log = logging.getLogger(__name__)

TARGET = "target"  # a column of nulls: nobody knows it yet
INPUTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("formula", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
)


PROGRESS_INTERVAL = 0.5  # s


class InputsSpec(Spec):
    """The paths in the order they were given, and the graph configuration of the model.

    The first `skip` structures are passed over.
    """

    files: list[Path]
    config: GraphConfig
    skip: int = 0


def build(spec: InputsSpec) -> Facts:
    """Offer batches of two tables: inputs (id, formula, error), and graphs, whose material_id is a position in it.

    What reads them has to run at the same time: `storage.exchange`.
    """
    rows = _Counted(spec)
    refused = 0

    def tables() -> Iterator[Tables]:
        nonlocal refused
        for batch in batches_of(rows, schemas.structures([TARGET], [])):
            graphs, errors = graph_table(batch, spec.config)
            refused += len(errors) - errors.count(None)
            names = batch.column(schemas.MATERIAL_ID)
            for name, error in zip(names.to_pylist(), errors, strict=True):
                if error is not None:
                    log.info("%s refused: %s", name, error)
            inputs = pa.table([names, batch.column("formula"), pa.array(errors, pa.string())], schema=INPUTS)
            yield {"inputs": inputs, "graphs": graphs}

    offer(spec.output, tables())
    progress("read", rows.done, rows.done)
    return {"rows": rows.done, "refused": refused}


def graph_table(batch: pa.RecordBatch, config: GraphConfig) -> tuple[pa.Table, list[str | None]]:
    """The graphs of a batch of structures, and why a structure has none, or None: one message a structure.

    In the graphs table `material_id` is the structure's position in the batch; the target is null.
    """
    positions = [str(n) for n in range(len(batch))]
    errors = _errors(batch)
    numbered = batch.set_column(0, batch.schema.field(0), pa.array(positions, pa.string()))
    readable = numbered.filter(pa.array([error is None for error in errors], pa.bool_()))
    rejected: list[tuple[str, str, str]] = []
    whole = schemas.graphs(TARGET, [], vectors=config.vectors)
    # To look for a space group takes as long as all the rest, and a prediction has no column for it.
    schema = whole.remove(whole.get_field_index("spacegroup_number"))
    table = graphs_of(readable, config, schema, rejected)
    isolated = {position: message for position, _, message in rejected}
    return table, [error or isolated.get(position) for error, position in zip(errors, positions, strict=True)]


def _errors(batch: pa.RecordBatch) -> list[str | None]:
    """For each row, why it cannot be predicted; None if it can."""
    messages = batch.column("fault_message").to_pylist()
    return [message or _physical_fault(crystal) for message, crystal in zip(messages, crystals_of(batch), strict=True)]


def _physical_fault(crystal: Crystal | None) -> str | None:
    if crystal is None:
        return "has no crystal"
    fault = fault_in_prediction(crystal)
    return fault and fault[1]


class _Counted:
    """The rows of all files after the first `spec.skip`; tells now and then how many are `done`."""

    def __init__(self, spec: InputsSpec) -> None:
        self.done = spec.skip
        self._total = count_in(spec.files)
        self._told = time.monotonic()
        self._rows = (row for path in spec.files for row in rows_in(path))
        self._skip = spec.skip
        progress("read", self.done, self._total)

    def __iter__(self) -> Iterator[Row]:
        return map(self._counted, itertools.islice(self._rows, self._skip, None))

    def _counted(self, row: Row) -> Row:
        def read() -> Crystal:
            self.done += 1
            now = time.monotonic()
            if now - self._told >= PROGRESS_INTERVAL:
                progress("read", self.done, self._total)
                self._told = now
            return row.read()

        return Row(row.material_id, row.values, read)


if __name__ == "__main__":
    main(InputsSpec, build)

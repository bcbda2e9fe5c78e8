"""Takes rows of the graphs table from earlier shards, where the crystal is the same to the last bit.

Which rows are taken decides how long a shard takes, never its bytes: a row depends on its own structure and the graph
configuration alone, so an equal structure has an equal row.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from crystals.table import crystals_of
from storage import schemas

Rejected = list[tuple[str, str, str]]
Content = tuple[bytes, bytes, bytes, int | None] | None  # lattice, elements, coordinates, space group

OF_THE_CRYSTAL = {field.name for field in (*schemas.CRYSTAL, schemas.SPACEGROUP)}


class EarlierFiles(BaseModel):
    """A finished shard of the same graph configuration: the structures it was made from, and the folder of its files.

    Its source, its target and its rows may be others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    structures: Path
    graphs: Path


class EarlierShard:
    """The rows of a finished shard, by material_id. Its graphs are read when the first of them is taken."""

    def __init__(self, files: EarlierFiles) -> None:
        self._folder = files.graphs
        self._content: dict[str, Content] = {}
        for batch in pq.ParquetFile(files.structures).iter_batches(512):
            self._content.update(zip(_ids(batch), _contents(batch), strict=True))

    def has(self, material_id: str, content: Content) -> bool:
        """Whether this material was in the shard with the same content."""
        return content is not None and self._content.get(material_id) == content

    @cached_property
    def _graphs(self) -> pa.Table:
        return pq.read_table(self._folder / "graphs.parquet")

    @cached_property
    def _position(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(_ids(self._graphs))}

    @cached_property
    def _reason(self) -> dict[str, tuple[str, str, str]]:
        rows = pq.read_table(self._folder / "rejected.parquet").select(schemas.REJECTED.names).to_pylist()
        return {row[schemas.MATERIAL_ID]: tuple(row.values()) for row in rows}

    def graphs_of(self, structures: pa.RecordBatch, schema: pa.Schema, rejected: Rejected) -> pa.Table:
        """The rows of these structures; those that the shard rejected are appended to `rejected`.

        What does not depend on the crystal (name, target, split) is taken from `structures`: it may have changed.
        """
        names = _ids(structures)
        rejected.extend(self._reason[name] for name in names if name not in self._position)
        kept = [(row, self._position[name]) for row, name in enumerate(names) if name in self._position]
        mine = structures.take(pa.array([row for row, _ in kept], pa.int64()))
        theirs = self._graphs.take(pa.array([position for _, position in kept], pa.int64()))
        labels = set(mine.schema.names) - OF_THE_CRYSTAL
        return pa.table([(mine if n in labels else theirs).column(n) for n in schema.names], schema=schema)


def with_reuse(
    batch: pa.RecordBatch,
    earlier: list[EarlierShard],
    make: Callable[[pa.RecordBatch], pa.Table],
    rejected: Rejected,
) -> tuple[pa.Table, int]:
    """The table that `make(batch)` returns, and how many structures were not given to `make` for it.

    `make` appends the structures that it rejects to `rejected`; those that an earlier shard rejected are appended, too.
    """
    names = _ids(batch)
    pairs = list(zip(names, _contents(batch), strict=True)) if earlier else []
    found = [next((shard for shard in earlier if shard.has(*pair)), None) for pair in pairs]
    fresh = [row for row, shard in enumerate(found) if shard is None]
    if len(fresh) == len(found):
        return make(batch), 0
    made = make(batch.take(pa.array(fresh, pa.int64())))
    tables = [made]
    for shard in earlier:
        same = pa.array([row for row, one in enumerate(found) if one is shard], pa.int64())
        if len(same):
            tables.append(shard.graphs_of(batch.take(same), made.schema, rejected))
    merged = pa.concat_tables(tables)
    position = {name: position for position, name in enumerate(_ids(merged))}
    order = pa.array([position[name] for name in names if name in position], pa.int64())
    return merged.take(order), len(batch) - len(fresh)


def _ids(rows: pa.RecordBatch | pa.Table) -> list[str]:
    return list(rows.column(schemas.MATERIAL_ID).to_pylist())


def _contents(batch: pa.RecordBatch) -> Iterator[Content]:
    """All that a graph is made from, bit by bit: 0.0 and -0.0 are not the same."""
    groups = batch.column(schemas.SPACEGROUP.name).to_pylist()
    for crystal, group in zip(crystals_of(batch), groups, strict=True):
        if crystal is None:
            yield None
        else:
            lattice, numbers, coords = crystal.lattice, crystal.atomic_numbers, crystal.frac_coords
            yield lattice.tobytes(), numbers.tobytes(), coords.tobytes(), group

"""The program that reads the inputs of a prediction (files, folders and tables) in the order they were given."""

import itertools
import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from crystals.checks import Candidate, fault_of
from crystals.config import ChecksConfig, GraphConfig
from crystals.crystal import Crystal
from crystals.graphs import graphs_of
from crystals.sources.batches import Row, batches_of
from crystals.structure_files import count_in, rows_in
from crystals.table import crystals_of
from storage import schemas
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


GRAPHS = schemas.graphs(TARGET, [])
PROGRESS_INTERVAL = 0.5  # s


class InputsSpec(Spec):
    """The paths in the order they were given, and the graph configuration of the model."""

    files: list[Path]
    config: GraphConfig


def build(spec: InputsSpec) -> Facts:
    """Write inputs.parquet (id, formula, error) and graphs.parquet, whose material_id is an input's position."""
    structures = schemas.structures([TARGET], [])
    done = refused = 0
    with (
        pq.ParquetWriter(spec.output / "inputs.parquet", INPUTS) as inputs,
        pq.ParquetWriter(spec.output / "graphs.parquet", GRAPHS) as graphs,
    ):
        for batch in batches_of(_followed(spec.files), structures):
            table, errors = graph_table(batch, spec.config, done)
            graphs.write_table(table)
            done += len(batch)
            refused += len(errors) - errors.count(None)
            for name, error in zip(batch.column(schemas.MATERIAL_ID).to_pylist(), errors, strict=True):
                if error is not None:
                    log.info("%s refused: %s", name, error)
            columns = [batch.column(schemas.MATERIAL_ID), batch.column("formula"), pa.array(errors, pa.string())]
            inputs.write_table(pa.table(columns, schema=INPUTS))
    progress("read", done, done)
    return {"rows": done, "refused": refused}


def graph_table(batch: pa.RecordBatch, config: GraphConfig, first: int = 0) -> tuple[pa.Table, list[str | None]]:
    """The graphs of a batch of structures, and why a structure has none, or None: one message a structure.

    In the graphs table `material_id` is the structure's position, counted from `first`; the target is null.
    """
    positions = [str(first + n) for n in range(len(batch))]
    errors = _errors(batch)
    numbered = batch.set_column(0, batch.schema.field(0), pa.array(positions, pa.string()))
    readable = numbered.filter(pa.array([error is None for error in errors], pa.bool_()))
    rejected: list[tuple[str, str, str]] = []
    table = graphs_of(readable, config, GRAPHS, rejected)
    isolated = {position: message for position, _, message in rejected}
    return table, [error or isolated.get(position) for error, position in zip(errors, positions, strict=True)]


def _errors(batch: pa.RecordBatch) -> list[str | None]:
    """For each row, why it cannot be predicted; None if it can."""
    messages = batch.column("fault_message").to_pylist()
    return [message or _physical_fault(crystal) for message, crystal in zip(messages, crystals_of(batch), strict=True)]


def _physical_fault(crystal: Crystal | None) -> str | None:
    if crystal is None:
        return "has no crystal"
    fault = fault_of(Candidate(crystal, 0.0), ChecksConfig())
    return fault and fault[1]


def _followed(files: list[Path]) -> Iterator[Row]:
    """The rows of all files; tells how many have been read, as long as it takes long."""
    total = count_in(files)
    count, last = itertools.count(1), time.monotonic()

    def counted(row: Row) -> Row:
        def read() -> Crystal:
            nonlocal last
            done, now = next(count), time.monotonic()
            if now - last >= PROGRESS_INTERVAL:
                progress("read", done, total)
                last = now
            return row.read()

        return Row(row.material_id, row.values, read)

    return (counted(row) for path in files for row in rows_in(path))


if __name__ == "__main__":
    main(InputsSpec, build)

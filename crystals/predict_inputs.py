"""The program that reads the inputs of a prediction (files, folders and tables) in the order they were given."""

import gzip
import itertools
import logging
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import BadPoscarWarning

from crystals.checks import Candidate, fault_of
from crystals.config import ChecksConfig, GraphConfig
from crystals.crystal import Crystal
from crystals.graphs import graphs_of
from crystals.sources.batches import Row, batches_of
from crystals.sources.files import form_of, rows_of
from crystals.sources.reading import Unreadable, from_cif, from_pymatgen, one_line, parsing
from crystals.sources.table import STRUCTURAL, row_of
from crystals.table import crystals_of
from storage import schemas
from storage.errors import InputError
from storage.program import Facts, Spec, main

log = logging.getLogger(__name__)

TARGET = "target"  # a column of nulls: nobody knows it yet
INPUTS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("formula", pa.string(), nullable=False),
        pa.field("error", pa.string()),
    ]
)


class InputsSpec(Spec):
    """The paths in the order they were given, and the graph configuration of the model."""

    files: list[Path]
    config: GraphConfig


def build(spec: InputsSpec) -> Facts:
    """Write inputs.parquet (id, formula, error) and graphs.parquet, whose material_id is an input's position."""
    schema = schemas.graphs(TARGET, [])
    structures = schemas.structures([TARGET], [])
    position = itertools.count()
    refused = 0
    with (
        pq.ParquetWriter(spec.output / "inputs.parquet", INPUTS) as inputs,
        pq.ParquetWriter(spec.output / "graphs.parquet", schema) as graphs,
    ):
        for batch in batches_of(_rows(spec.files), structures):
            numbers = [str(next(position)) for _ in range(len(batch))]
            errors = _errors(batch)
            named = batch.set_column(0, batch.schema.field(0), pa.array(numbers))
            readable = named.filter(pa.array([error is None for error in errors]))
            rejected: list[tuple[str, str, str]] = []
            graphs.write_table(graphs_of(readable, spec.config, schema, rejected))
            isolated = {number: message for number, _, message in rejected}
            errors = [error or isolated.get(n) for error, n in zip(errors, numbers, strict=True)]
            refused += sum(error is not None for error in errors)
            for name, error in zip(batch.column(schemas.MATERIAL_ID).to_pylist(), errors, strict=True):
                if error is not None:
                    log.info("%s refused: %s", name, error)
            columns = [batch.column(schemas.MATERIAL_ID), batch.column("formula"), pa.array(errors, pa.string())]
            inputs.write_table(pa.table(columns, schema=INPUTS))
    return {"rows": next(position), "refused": refused}


def _errors(batch: pa.RecordBatch) -> list[str | None]:
    """For each row, why it cannot be predicted; None if it can."""
    messages = batch.column("fault_message").to_pylist()
    return [message or _physical_fault(crystal) for message, crystal in zip(messages, crystals_of(batch), strict=True)]


def _physical_fault(crystal: Crystal | None) -> str | None:
    if crystal is None:
        return "has no crystal"
    fault = fault_of(Candidate(crystal, 0.0), ChecksConfig())
    return fault and fault[1]


def _rows(files: list[Path]) -> Iterator[Row]:
    for path in files:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if _is_structure(p))
            if not inside:
                yield Row(str(path), {}, lambda: _refuse("the folder has no CIF or POSCAR file"))
            yield from map(_file_inside, inside)
        elif form_of(path):
            yield from _table(path)
        else:
            yield _file(path)


def _table(path: Path) -> Iterator[Row]:
    number = 0
    message = "has no rows"
    try:
        for number, values in enumerate(rows_of(path, STRUCTURAL), start=1):
            yield row_of(number, values)
    except InputError as error:
        number, message = 0, str(error)
    if not number:
        yield Row(str(path), {}, lambda: _refuse(message))


def _is_structure(path: Path) -> bool:
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".cif", ".vasp", ".poscar")) or name.startswith(("poscar", "contcar"))


def _file_inside(path: Path) -> Row:
    if path.is_file():
        return _file(path)
    return Row(str(path), {}, lambda: _refuse("is no file"))  # a folder, a link that leads nowhere, a pipe


def _file(path: Path) -> Row:
    return Row(str(path), {}, lambda: _read(path))


def _read(path: Path) -> Crystal:
    packed = path.suffix.lower() == ".gz"
    try:
        text = (gzip.decompress(path.read_bytes()) if packed else path.read_bytes()).decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable("unreadable", f"cannot be read: {one_line(error)}") from None
    if path.name.lower().removesuffix(".gz").endswith(".cif"):
        return from_cif(text)
    with parsing("is neither CIF (.cif) nor POSCAR"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Without symbols pymatgen makes elements up, and only warns: a prediction for them would be worth nothing.
        warnings.simplefilter("error", BadPoscarWarning)
        return from_pymatgen(Structure.from_str(text, fmt="poscar"))


def _refuse(message: str) -> Crystal:
    raise Unreadable("unreadable", message)


if __name__ == "__main__":
    main(InputsSpec, build)

"""Converts rows of a source into record batches of the structures table."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from crystals.crystal import Crystal
from crystals.sources.reading import Unreadable, reduced_formula
from crystals.table import list_column
from storage import schemas

BATCH = 1024
SPLITS = {"train": "train", "training": "train", "val": "validation", "valid": "validation"}
SPLITS |= {"validation": "validation", "test": "test"}


@dataclass(frozen=True)
class Row:
    """One row of a source: its id, its other columns by name, and a function that parses its crystal."""

    material_id: str
    values: Mapping[str, Any]
    read: Callable[[], Crystal]


def batches_of(rows: Iterable[Row], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Batches of the structures table. A row whose crystal cannot be read has rule and message in the fault columns."""
    stream = iter(rows)
    while chunk := list(itertools.islice(stream, BATCH)):
        yield _batch(chunk, schema)


def _batch(rows: list[Row], schema: pa.Schema) -> pa.RecordBatch:
    crystals: list[Crystal | None] = []
    faults: list[tuple[str | None, str | None]] = []
    for row in rows:
        try:
            crystals.append(row.read())
            faults.append((None, None))
        except Unreadable as fault:
            crystals.append(None)
            faults.append((fault.rule, str(fault)))
    columns: dict[str, Any] = {
        schemas.MATERIAL_ID: [row.material_id for row in rows],
        "formula": [_formula(row, crystal) for row, crystal in zip(rows, crystals, strict=True)],
        "fault_rule": [rule for rule, _ in faults],
        "fault_message": [message for _, message in faults],
        "spacegroup_number": [_spacegroup(row.values.get("spacegroup_number")) for row in rows],
        **_crystal_columns(crystals),
    }
    splits = schemas.split_columns(schema.names)
    columns |= {name: [split_name(row.values.get(name)) for row in rows] for name in splits}
    for field in schema:
        if field.name not in columns:
            values = [row.values.get(field.name) for row in rows]
            columns[field.name] = [(_text if pa.types.is_string(field.type) else _value)(value) for value in values]
    arrays = [c if isinstance(c := columns[f.name], pa.Array) else pa.array(c, f.type) for f in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _text(value: Any) -> str | None:
    return None if value is None else str(value).encode("utf-8", "replace").decode()


def _crystal_columns(crystals: list[Crystal | None]) -> dict[str, pa.Array]:
    there = [crystal for crystal in crystals if crystal is not None]
    # Positions in the shorter list of those that are there; null for the others.
    places = itertools.count()
    index = pa.array([None if crystal is None else next(places) for crystal in crystals], pa.int64())
    lattice = pa.array([c.lattice.ravel().tolist() for c in there], pa.list_(pa.float64(), 9))
    return {
        "lattice": lattice.take(index),
        "atomic_numbers": list_column([c.atomic_numbers for c in there], pa.uint8()).take(index),
        "frac_coords": list_column([c.frac_coords for c in there], pa.float64()).take(index),
    }


def _formula(row: Row, crystal: Crystal | None) -> str:
    return str(row.values.get("formula") or "") if crystal is None else reduced_formula(crystal.atomic_numbers)


def _value(value: Any) -> float | None:
    if value is None or value == "":
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan  # validation says that it is no number


def _spacegroup(value: Any) -> int | None:
    number = _value(value)
    return int(number) if number is not None and 1 <= number <= 230 else None


def split_name(value: Any) -> str | None:
    """What a published split column says of a row: train, validation, test, a fold's number, or whatever it says."""
    if value is None or value == "":
        return None
    text = str(value).strip().lower()
    return SPLITS.get(text, text.removesuffix(".0"))

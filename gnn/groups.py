"""The groups whose members may not lie on both sides of a split: materials that are alike in some way."""

import math

import pyarrow as pa

from gnn.config import Group
from storage.errors import InputError
from storage.formulas import atoms_of
from storage.schemas import LAST_UPDATED, MATERIAL_ID, SPACEGROUP


def groups_of(table: pa.Table, kind: Group) -> list[str]:
    """The group of each row. A row without a space group is a group of its own, where space groups are asked for."""
    if kind in {"material", "time"}:
        return [str(value) for value in table[MATERIAL_ID].to_pylist()]
    formulas = [str(value) for value in table["formula"].to_pylist()]
    if kind == "formula":
        return formulas
    if kind == "chemical_system":
        return ["-".join(sorted(atoms_of(formula))) for formula in formulas]
    numbers = table[SPACEGROUP.name].to_pylist()
    names = table[MATERIAL_ID].to_pylist()
    if kind == "space_group":
        return [f"no space group: {name}" if n is None else str(n) for n, name in zip(numbers, names, strict=True)]
    return [
        f"no space group: {name}" if n is None else f"{anonymous(formula)} {n}"
        for n, name, formula in zip(numbers, names, formulas, strict=True)
    ]


def anonymous(formula: str) -> str:
    """The formula without its elements, the rarest first: SrTiO3 → ABC3, NaCl → AB, Ca3(PO4)2 → A2B3C8."""
    counts = sorted(atoms_of(formula).values())
    common = math.gcd(*counts)
    letters = (chr(ord("A") + number) if number < 26 else f"[{number}]" for number in range(len(counts)))
    return "".join(f"{letter}{n // common if n > common else ''}" for letter, n in zip(letters, counts, strict=True))


def times_of(table: pa.Table) -> list[str]:
    """When each row was last changed in its database. Raises InputError where the source does not say so."""
    if LAST_UPDATED not in table.column_names:
        raise InputError(f"split.group time: the source has no column {LAST_UPDATED}")
    times = table[LAST_UPDATED].to_pylist()
    missing = times.count(None)
    if missing:
        raise InputError(f"split.group time: {missing:,} of {len(times):,} rows have no {LAST_UPDATED}")
    return [str(value) for value in times]

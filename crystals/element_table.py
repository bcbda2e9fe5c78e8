"""Writes the table of the elements' physical properties: `python -m crystals.element_table gnn/elements.csv`."""

import csv
import math
import sys
import warnings
from pathlib import Path
from typing import Any

from pymatgen.core import Element

COLUMNS = (
    "number",
    "symbol",
    "log_mass",
    "electronegativity",
    "radius",
    "group",
    "row",
    "ionization_energy",
    "electron_affinity",
    "mendeleev_number",
    "valence_electrons",
    "block",
)


def properties(element: Element) -> list[Any]:
    """One row of the table; "" where pymatgen has no value. Radius in Å, energies in eV, logarithm of the mass in u."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pymatgen warns of each value that it does not know; ours are then ""
        found = [
            element.Z,
            element.symbol,
            math.log(element.atomic_mass),
            element.X,
            element.atomic_radius or element.atomic_radius_calculated,
            element.group,
            element.row,
            element.ionization_energy,
            _electron_affinity(element),
            element.mendeleev_no,
            _valence(element),
            element.block,
        ]
    return ["" if v is None or (isinstance(v, float) and math.isnan(v)) else v for v in found]


def _electron_affinity(element: Element) -> float | None:
    try:
        return float(element.electron_affinity)
    except KeyError:  # of the heaviest elements nothing is known
        return None


def _valence(element: Element) -> int | None:
    """Number of electrons outside the closed shells; filled d and f shells below a p shell are not counted."""
    try:
        shells = element.full_electronic_structure
    except KeyError:  # of the heaviest elements nothing is known
        return None
    highest = max(n for n, _, _ in shells)
    outer = {(highest, "s"), (highest, "p")}
    if element.block in "df":
        outer |= {(highest - 1, "d")}
    if element.block == "f":
        outer |= {(highest - 2, "f")}
    return sum(count for n, orbital, count in shells if (n, orbital) in outer)


def main(path: Path) -> None:
    """Write the table of elements 1–118 to `path` as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for number in range(1, 119):
            row = properties(Element.from_Z(number))
            writer.writerow([f"{v:.6g}" if isinstance(v, float) else v for v in row])


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Physical properties of the elements as network inputs, from the table elements.csv.

Each number is standardised over the elements 1–103 (mean 0, standard deviation 1); a value that is not known is 0.
"""

import csv
from functools import cache
from importlib.resources import files

import torch

HIGHEST = 118
LAST_MEASURED = 103  # beyond, the values are estimates that would set the scale for all others
BLOCKS = "spdf"
NUMBERS = (
    "log_mass",
    "electronegativity",
    "radius",
    "group",
    "row",
    "ionization_energy",
    "electron_affinity",
    "mendeleev_number",
    "valence_electrons",
)


def element_properties() -> torch.Tensor:
    """(119, 13): row z has 9 numbers and the one-hot block (s, p, d, f) of element z; row 0 belongs to no element."""
    rows = _rows()
    table = torch.zeros(HIGHEST + 1, len(NUMBERS) + len(BLOCKS))
    for column, name in enumerate(NUMBERS):
        known = torch.tensor([bool(row[name]) for row in rows])
        values = torch.tensor([float(row[name] or 0) for row in rows])
        fitted = values[:LAST_MEASURED][known[:LAST_MEASURED]]
        mean, deviation = fitted.mean(), fitted.std()
        table[1:, column] = torch.where(known, (values - mean) / deviation, 0.0)
    for row in rows:
        table[int(row["number"]), len(NUMBERS) + BLOCKS.index(row["block"])] = 1.0
    return table


def symbol_of(number: int) -> str:
    """The symbol of an atomic number (1–118): 1 → H."""
    return _rows()[number - 1]["symbol"]


@cache
def _rows() -> list[dict[str, str]]:
    with files("gnn").joinpath("elements.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))

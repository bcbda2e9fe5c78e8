"""A model's applicability domain: what its training structures were like, and which others are unlike them.

An error on the test rows says nothing about a structure from outside this domain.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from gnn.batches import Graphs
from gnn.elements import HIGHEST, symbol_of
from gnn.model_card import ModelCard, TrainingRanges

ROUNDING = 1e-3  # relative: coordinates that were written with few digits are no reason to warn
ELEMENTS = "elements never seen"


def _volume_per_atom(graphs: Graphs) -> Tensor:
    return graphs.volume_per_atom


def _atoms(graphs: Graphs) -> Tensor:
    return torch.segment_reduce(graphs.multiplicity.double(), "sum", offsets=graphs.atom_start.to(graphs.z.device))


def _shortest_distance(graphs: Graphs) -> Tensor:
    return torch.segment_reduce(graphs.distance.double(), "min", offsets=graphs.edge_start.to(graphs.z.device))


# A field of TrainingRanges → its name and unit in a warning, and its value of each graph: Graphs → (len(graphs),).
QUANTITIES: dict[str, tuple[str, str, Callable[[Graphs], Tensor]]] = {
    "volume_per_atom": ("volume per atom", "Å³", _volume_per_atom),
    "atoms": ("number of atoms", "", _atoms),
    "shortest_distance": ("shortest distance", "Å", _shortest_distance),
}


def training_ranges(graphs: Graphs, rows: Tensor) -> TrainingRanges:
    """Smallest and largest value of each quantity among the graphs in `rows` (indices)."""
    bounds = {field: (math.inf, -math.inf) for field in QUANTITIES}
    for part in graphs.parts(rows):
        for field, (_, _, values_of) in QUANTITIES.items():
            values, (low, high) = values_of(part), bounds[field]
            bounds[field] = (min(low, float(values.min())), max(high, float(values.max())))
    return TrainingRanges(**bounds)


def training_elements(graphs: Graphs, rows: Tensor) -> list[int]:
    """The atomic numbers that occur in the graphs in `rows` (indices), ascending."""
    return sorted({int(z) for part in graphs.parts(rows) for z in part.z.unique()})


def warnings_of(graphs: Graphs, card: ModelCard) -> list[dict[str, str]]:
    """For each graph, kind of warning → what is unlike the training structures; empty where nothing is.

    The kinds are ELEMENTS and the names in QUANTITIES. A card without ranges gives warnings of elements alone.
    """
    found: list[dict[str, str]] = [{} for _ in range(len(graphs))]
    for row, elements in unseen_elements(graphs, card).items():
        found[row][ELEMENTS] = f"{ELEMENTS} in training: {', '.join(map(symbol_of, elements))}"
    if card.ranges is None:
        return found
    for field, (name, unit, values_of) in QUANTITIES.items():
        low, high = getattr(card.ranges, field)
        values = values_of(graphs)
        outside = (values < low * (1 - ROUNDING)) | (values > high * (1 + ROUNDING))
        for row in outside.nonzero().flatten().tolist():
            value = " ".join(f"{values[row]:.4g} {unit}".split())
            found[row][name] = f"{name} {value}, in training {low:.4g} to {high:.4g}"
    return found


def unseen_elements(graphs: Graphs, card: ModelCard) -> dict[int, list[int]]:
    """Row → the atomic numbers in it that no training structure has; rows without any are left out."""
    seen = torch.zeros(HIGHEST + 1, dtype=torch.bool)
    seen[card.elements] = True
    unseen = (~seen[graphs.z.long()]).nonzero().flatten()
    rows = torch.searchsorted(graphs.atom_start, unseen, right=True) - 1
    found: dict[int, set[int]] = {}
    for row, number in zip(rows.tolist(), graphs.z[unseen].tolist(), strict=True):
        found.setdefault(row, set()).add(number)
    return {row: sorted(numbers) for row, numbers in found.items()}

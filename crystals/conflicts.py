"""The same structure under two ids with labels that contradict each other."""

import functools
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from crystals.config import GraphConfig
from crystals.crystal import Crystal, Floats
from crystals.neighbors import find_neighbors
from crystals.table import crystals_of
from storage.schemas import CONFLICTS

SAME_VOLUME = 2e-4  # relative
CONTRADICTS = 0.05  # of the target's standard deviation
RADIUS = 6.0  # Å
REACH = GraphConfig(cutoff=RADIUS, max_neighbors=None)
WIDTH = 16
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Seen:
    """What is kept of an accepted structure to recognise it: cheap to hold for a million of them."""

    material_id: str
    formula: str
    volume: float  # Å³ an atom
    value: float
    position: int  # in the table of accepted structures


def contradictions(seen: dict[str, Seen], accepted: pa.Table) -> pa.Table:
    """The conflicts table: pairs of one structure whose labels differ by more than 5 % of the labels' spread."""

    @functools.cache
    def print_of(position: int) -> Floats:
        (crystal,) = crystals_of(accepted.slice(position, 1).combine_chunks().to_batches()[0])
        if crystal is None:
            raise ValueError("an accepted row has a crystal")
        return fingerprint(crystal)

    pairs = [
        (one.material_id, other.material_id, one.value, other.value)
        for one, other in candidates(list(seen.values()))
        if np.allclose(print_of(one.position), print_of(other.position), atol=TOLERANCE, rtol=0)
    ]
    columns: list[tuple[Any, ...]] = list(zip(*sorted(pairs), strict=True)) or [()] * 4
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, CONFLICTS, strict=True)], schema=CONFLICTS)


def candidates(seen: list[Seen]) -> Iterator[tuple[Seen, Seen]]:
    """Pairs of one formula and nearly one volume whose labels contradict each other."""
    limit = CONTRADICTS * float(np.std([one.value for one in seen])) if seen else 0.0
    by_formula: dict[str, list[Seen]] = defaultdict(list)
    for one in seen:
        by_formula[one.formula].append(one)
    for group in by_formula.values():
        group.sort(key=lambda one: (one.volume, one.material_id))
        for position, one in enumerate(group):
            for other in group[position + 1 :]:
                if other.volume - one.volume > SAME_VOLUME * one.volume:
                    break
                if abs(other.value - one.value) > limit:
                    yield one, other


def fingerprint(crystal: Crystal) -> Floats:
    """(2F,): mean and mean square over atoms after three rounds of message passing with fixed random weights.

    Two structures with the same one cannot be told apart by a network that sees elements and distances. It does not
    depend on the choice of cell, and is smooth in the atoms' positions, so that no tie between neighbours can be
    broken in two ways.
    """
    edges = find_neighbors(crystal, REACH)
    chance = np.random.default_rng(1)
    features = chance.normal(size=(256, WIDTH))[crystal.atomic_numbers]
    centres = np.linspace(1.0, RADIUS, 9)
    bell = np.exp(-(((edges.distance[:, None] - centres) / 0.5) ** 2))  # (E, 9)
    fading = 0.5 * (1 + np.cos(np.pi * edges.distance / RADIUS))  # no jump where a neighbour leaves the sphere
    start = np.searchsorted(edges.target, np.arange(len(crystal)))
    for _ in range(3):
        of_bell = chance.normal(size=(9, WIDTH))
        of_self, of_other = chance.normal(size=(2, WIDTH, WIDTH)) / WIDTH**0.5
        messages = fading[:, None] * (bell @ of_bell) * (features @ of_other)[edges.source]
        features = np.tanh(features @ of_self + 0.3 * np.add.reduceat(messages, start))
    return np.concatenate([features.mean(axis=0), (features**2).mean(axis=0)])

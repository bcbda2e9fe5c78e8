"""Finds pairs of materials that have the same structure under two ids, but contradicting labels."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from crystals.config import GraphConfig
from crystals.crystal import Crystal, Floats
from crystals.neighbors import IsolatedAtom, find_neighbors
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
    """The few values of an accepted structure that are kept to recognise it again: cheap for a million of them."""

    material_id: str
    formula: str
    volume: float  # Å³ an atom
    value: float
    position: int  # in the table of accepted structures


def contradictions(seen: dict[str, Seen], accepted: pa.Table) -> pa.Table:
    """The conflicts table: pairs with the same structure whose labels differ by over 5 % of their standard deviation.

    `seen` maps material_id to what was kept of each accepted row; `accepted` is the table of those rows.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # squares of values beyond 1e154: then nothing contradicts
        limit = CONTRADICTS * float(np.std([one.value for one in seen.values()])) if seen else 0.0

    def print_of(position: int) -> Floats:
        (crystal,) = crystals_of(accepted.slice(position, 1).combine_chunks().to_batches()[0])
        if crystal is None:
            raise ValueError("an accepted row has a crystal")
        return fingerprint(crystal)

    pairs = []
    for alike in _clusters(list(seen.values())):
        prints = sorted(((print_of(one.position), one) for one in alike), key=lambda pair: tuple(pair[0]))
        for place, (first, one) in enumerate(prints):
            for second, other in itertools.islice(prints, place + 1, None):
                if second[0] - first[0] > TOLERANCE:
                    break
                if abs(one.value - other.value) > limit and np.allclose(first, second, atol=TOLERANCE, rtol=0):
                    early, late = sorted((one, other), key=lambda each: each.material_id)
                    pairs.append((early.material_id, late.material_id, early.value, late.value))
    columns: list[tuple[Any, ...]] = list(zip(*sorted(pairs), strict=True)) or [()] * 4
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, CONFLICTS, strict=True)], schema=CONFLICTS)


def _clusters(seen: list[Seen]) -> Iterator[list[Seen]]:
    """Groups of materials with one formula and nearly one volume: only their fingerprints are worth computing."""
    seen = sorted(seen, key=lambda one: (one.formula, one.volume, one.material_id))
    cluster: list[Seen] = []
    for one in seen:
        last = cluster[-1] if cluster else one
        if one.formula != last.formula or one.volume - last.volume > SAME_VOLUME * last.volume:
            if len(cluster) > 1:
                yield cluster
            cluster = []
        cluster.append(one)
    if len(cluster) > 1:
        yield cluster


def fingerprint(crystal: Crystal) -> Floats:
    """(2F,) mean and mean square of atom features after three rounds of message passing with fixed random weights.

    Two structures with the same fingerprint cannot be told apart by a network that sees elements and distances. It does
    not depend on the choice of cell, and it is smooth in the positions, so it does not depend on how ties between
    equally distant neighbours are broken.
    """
    chance = np.random.default_rng(1)
    features = chance.normal(size=(256, WIDTH))[crystal.atomic_numbers]
    try:
        edges = find_neighbors(crystal, REACH)
    except IsolatedAtom:  # so thin that its elements and its volume are all there is to tell
        return np.concatenate([features.mean(axis=0), (features**2).mean(axis=0)])
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

"""Symmetry of a crystal from moyo, and graphs with one atom an orbit.

Atoms of one orbit have the same surroundings. For a network that sees elements, distances and angles alone they have
the same features in every layer, so one of them, counted as often as the orbit has atoms, stands for all.
moyo finds the same space groups as spglib in a tenth of the time.
"""

import logging
from typing import NamedTuple

import moyopy
import numpy as np
from numpy.typing import NDArray

from crystals.config import GraphConfig
from crystals.crystal import Crystal, Floats, Ints
from crystals.neighbors import Edges

logging.getLogger("moyo").setLevel(logging.ERROR)  # it warns of each cell that is larger than its primitive one

SYMPREC = 1e-2  # Å, for the space group: as published databases have it
ORBIT_SYMPREC = 1e-4  # Å, for orbits: what is nearly symmetric is not
SAME_DISTANCE = 1e-4  # Å, within which the distances of two atoms of an orbit are the same


class Quotient(NamedTuple):
    """Edges between R orbits, the element of each (R,), and how many atoms it has (R,)."""

    edges: Edges
    atomic_numbers: NDArray[np.uint8]
    multiplicity: Ints


def spacegroup_number(crystal: Crystal, symprec: float = SYMPREC) -> int | None:
    """The number in the International Tables (1–230); None where moyo finds none within `symprec` (Å)."""
    found = _dataset(crystal, symprec)
    return None if found is None else int(found.number)


def orbits(crystal: Crystal) -> Ints:
    """(N,) the first atom of the orbit that each atom is in; every atom alone where no symmetry is found."""
    if len(np.unique(crystal.atomic_numbers)) == len(crystal):
        return np.arange(len(crystal))  # atoms of an orbit are of one element
    found = _dataset(crystal, ORBIT_SYMPREC)
    if found is None:
        return np.arange(len(crystal))
    _, first, member = np.unique(found.orbits, return_index=True, return_inverse=True)
    return np.asarray(first[member], dtype=np.int64)


def quotient(crystal: Crystal, edges: Edges, config: GraphConfig) -> Quotient:
    """The graph that is stored: with one atom an orbit where `config.reduce_symmetry` says so, or the whole one."""
    return reduce(crystal, edges) if config.reduce_symmetry else whole(crystal, edges)


def reduce(crystal: Crystal, edges: Edges) -> Quotient:
    """The graph with one atom an orbit: its edges, their sources replaced by the atom of their orbit.

    A network of elements and distances gives the same for both graphs, to second order in SAME_DISTANCE: an edge has
    the mean distance of its counterparts at the other atoms of the orbit. Its vector is its own, so with angles it is
    the first order. Where atoms of an orbit have other neighbours, or at distances that differ by more, the whole graph
    is returned, every atom with multiplicity 1.
    """
    orbit = orbits(crystal)
    atoms, size = np.unique(orbit, return_counts=True)
    reduced = _reduced(edges, orbit, atoms, size) if len(atoms) < len(crystal) else None
    if reduced is not None:
        return Quotient(reduced, crystal.atomic_numbers[atoms], size)
    return whole(crystal, edges)


def whole(crystal: Crystal, edges: Edges) -> Quotient:
    """The graph as it is: every atom stands for itself."""
    return Quotient(edges, crystal.atomic_numbers, np.ones(len(crystal), dtype=np.int64))


def _dataset(crystal: Crystal, symprec: float) -> moyopy.MoyoDataset | None:
    cell = moyopy.Cell(crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.atomic_numbers.tolist())
    try:
        return moyopy.MoyoDataset(cell, symprec=symprec)
    except ValueError:  # two atoms closer than the tolerance, a lattice too skew
        return None


def _reduced(edges: Edges, orbit: Ints, atoms: Ints, size: Ints) -> Edges | None:
    """None unless all atoms of an orbit have as many edges, from the same orbits, at the same distances."""
    degree = np.bincount(edges.target, minlength=len(orbit))
    if (degree != degree[orbit]).any():
        return None
    source_orbit = orbit[edges.source]
    order = np.lexsort((edges.distance, source_orbit, edges.target))
    source_orbit, distance = source_orbit[order], edges.distance[order]
    start = np.cumsum(degree) - degree
    target = edges.target[order]
    counterpart = start[orbit[target]] + np.arange(len(target)) - start[target]  # the same edge of the orbit's atom
    if (source_orbit != source_orbit[counterpart]).any():
        return None
    if (np.abs(distance - distance[counterpart]) > SAME_DISTANCE).any():
        return None
    index = np.searchsorted(atoms, orbit)  # atom → its orbit's place in `atoms`
    kept = np.flatnonzero(orbit[target] == target)
    mean: Floats = np.bincount(counterpart, distance, len(target))[kept] / size[index[target[kept]]]
    kept_target = index[target[kept]]
    by_distance = np.lexsort((mean, kept_target))
    kept = kept[by_distance]
    return Edges(
        source=index[source_orbit[kept]],
        target=kept_target[by_distance],
        distance=mean[by_distance],
        image=edges.image[order][kept],
        vector=None if edges.vector is None else edges.vector[order][kept],
    )

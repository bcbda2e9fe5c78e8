"""Neighbours: physics, a second implementation, and everything that must not matter."""

import numpy as np
import pytest
import vesin
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.neighbors import IsolatedAtom, find_neighbors, shortest_distance

ALL = GraphConfig(max_neighbors=None, cutoff=5.0)
NEAREST = GraphConfig()


@st.composite
def crystals(draw):
    """Random triclinic cells: from one atom in a cell smaller than the cutoff to eight in a very skewed one."""
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    atoms = draw(st.integers(1, 8))
    lattice = np.diag(chance.uniform(2.2, 4.8, 3)) @ np.linalg.qr(chance.normal(size=(3, 3)))[0]
    skew = np.eye(3) + np.tril(chance.integers(-3, 4, (3, 3)), -1) * draw(st.sampled_from([0.0, 0.31, 1.0]))
    return Crystal(skew @ lattice, chance.integers(1, 90, atoms).astype(np.uint8), chance.uniform(-1, 2, (atoms, 3)))


def shells(crystal: Crystal, config: GraphConfig) -> list[np.ndarray]:
    """Per atom, its neighbours' distances in order."""
    edges = find_neighbors(crystal, config)
    return [edges.distance[edges.target == atom] for atom in range(len(crystal))]


@pytest.mark.parametrize(
    ("name", "cutoff", "count"),
    [
        ("NaCl", 8.0, 92),
        ("NaCl cubic", 8.0, 92),
        ("diamond", 4.0, 46),
        ("diamond", 8.0, 380),
        ("Si", 6.0, 46),
        ("Cu", 8.0, 176),
        ("NaCl", 10.0, 178),
    ],
)
def test_neighbours_within_a_radius(named, name, cutoff, count):
    found = shells(named[name], GraphConfig(cutoff=cutoff, max_neighbors=None))
    assert {len(distances) for distances in found} == {count}


@pytest.mark.parametrize(("name", "first", "distance"), [("NaCl", 6, 2.82), ("CsCl", 8, 3.568), ("diamond", 4, 1.5446)])
def test_first_shell(named, name, first, distance):
    for distances in shells(named[name], GraphConfig(max_neighbors=1)):
        assert len(distances) == first
        np.testing.assert_allclose(distances, distance, atol=1e-3)


def test_rock_salt_shells(named):
    (distances, _) = shells(named["NaCl"], GraphConfig(cutoff=8.0, max_neighbors=None))
    _, counts = np.unique(distances.round(4), return_counts=True)
    assert counts.tolist() == [6, 12, 8, 6, 24, 24, 12]


@settings(max_examples=60)
@given(crystals())
def test_agrees_with_a_second_library(crystal):
    ours = find_neighbors(crystal, ALL)
    points = (crystal.frac_coords % 1.0) @ crystal.lattice
    search = vesin.NeighborList(cutoff=5.0, full_list=True)
    i, j, image, distance = search.compute(points=points, box=crystal.lattice, periodic=True, quantities="ijSd")
    near = distance < 5.0 - 1e-9
    theirs = sorted(zip(i[near], j[near], map(tuple, image[near].astype(int).tolist()), strict=True))
    keep = ours.distance < 5.0 - 1e-9
    images = map(tuple, ours.image[keep].astype(int).tolist())
    assert sorted(zip(ours.target[keep], ours.source[keep], images, strict=True)) == theirs
    np.testing.assert_allclose(np.sort(ours.distance[keep]), np.sort(distance[near]), atol=1e-9)


@settings(max_examples=40)
@given(crystals())
def test_every_edge_has_its_mirror(crystal):
    edges = find_neighbors(crystal, ALL)
    images = edges.image.astype(int)
    there = set(zip(edges.source, edges.target, map(tuple, images.tolist()), strict=True))
    back = set(zip(edges.target, edges.source, map(tuple, (-images).tolist()), strict=True))
    assert there == back


@settings(max_examples=40)
@given(crystals())
def test_fewer_neighbours_are_a_filter_of_more(crystal):
    few, more = shells(crystal, NEAREST), shells(crystal, GraphConfig(max_neighbors=24))
    for less, all_of_them in zip(few, more, strict=True):
        np.testing.assert_allclose(less, all_of_them[: len(less)], atol=1e-9)  # ties may change places
        assert len(less) == len(all_of_them) or all_of_them[len(less)] > less[11] + 1e-4


@settings(max_examples=40)
@given(crystals(), st.randoms())
def test_order_of_atoms_does_not_matter(crystal, random):
    order = list(range(len(crystal)))
    random.shuffle(order)
    other = Crystal(crystal.lattice, crystal.atomic_numbers[order], crystal.frac_coords[order])
    for atom, distances in zip(order, shells(other, NEAREST), strict=True):
        np.testing.assert_allclose(distances, shells(crystal, NEAREST)[atom], atol=1e-9)


@settings(max_examples=40)
@given(crystals(), st.integers(0, 2**32))
def test_place_and_direction_do_not_matter(crystal, seed):
    chance = np.random.default_rng(seed)
    rotation = np.linalg.qr(chance.normal(size=(3, 3)))[0]  # a reflection half of the time: distances do not mind
    other = Crystal(crystal.lattice @ rotation, crystal.atomic_numbers, crystal.frac_coords + chance.normal(size=3))
    for one, two in zip(shells(crystal, ALL), shells(other, ALL), strict=True):
        near = min(len(one), len(two))
        np.testing.assert_allclose(one[:near], two[:near], atol=1e-8)
        assert abs(len(one) - len(two)) == 0 or max(one[near:], default=5.0) > 5.0 - 1e-6


@settings(max_examples=30)
@given(crystals(), st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)), st.sampled_from([1, 5, 12]))
def test_a_supercell_has_the_same_shells(crystal, times, wanted):
    """Whatever the cell, an atom and its copies have the same distances: the last shell is never cut."""
    steps = np.array([(a, b, c) for a in range(times[0]) for b in range(times[1]) for c in range(times[2])])
    coords = (crystal.frac_coords[:, None] + steps[None]) / np.array(times)
    numbers = np.repeat(crystal.atomic_numbers, len(steps))
    large = Crystal(np.diag(times) @ crystal.lattice, numbers, coords.reshape(-1, 3))
    config = GraphConfig(max_neighbors=wanted)
    small, copies = shells(crystal, config), shells(large, config)
    for copy, distances in enumerate(copies):
        np.testing.assert_allclose(distances, small[copy // len(steps)], atol=1e-8)


def test_a_rattle_leaves_the_shells_of_strontium_titanate_whole(named):
    chance = np.random.default_rng(0)
    crystal = named["SrTiO3 supercell"]
    rattle = chance.normal(0, 1e-4, crystal.frac_coords.shape) @ np.linalg.inv(crystal.lattice)
    moved = Crystal(crystal.lattice, crystal.atomic_numbers, crystal.frac_coords + rattle)
    counts = [sorted(len(d) for d in shells(c, NEAREST)) for c in (crystal, moved)]
    assert counts[0] == counts[1]
    assert sorted({len(d) for d in shells(named["SrTiO3"], NEAREST)}) == sorted(set(counts[0]))


def test_without_a_tolerance_the_cut_is_exact(named):
    found = shells(named["SrTiO3"], GraphConfig(shell_tolerance=None))
    assert {len(distances) for distances in found} == {12}


def test_without_a_cutoff_the_radius_grows_until_there_are_enough():
    lonely = Crystal(20.0 * np.eye(3), np.array([2], np.uint8), np.zeros((1, 3)))
    (distances,) = shells(lonely, GraphConfig(cutoff=None, max_neighbors=12))
    assert distances.round(6).tolist() == [20.0] * 6 + [round(20 * 2**0.5, 6)] * 12
    with pytest.raises(IsolatedAtom, match=r"8\.0 Å"):
        find_neighbors(lonely, NEAREST)


def test_neither_cutoff_nor_number_is_refused():
    with pytest.raises(ValidationError, match="cannot both be null"):
        GraphConfig(cutoff=None, max_neighbors=None)


@settings(max_examples=40)
@given(crystals())
def test_shortest_distance_is_the_nearest_neighbours(crystal):
    nearest = min(float(d[0]) for d in shells(crystal, GraphConfig(cutoff=None, max_neighbors=1)))
    assert shortest_distance(crystal, nearest - 1e-6) is None
    assert shortest_distance(crystal, nearest + 1e-6) == pytest.approx(nearest)


def test_two_atoms_at_one_place_are_at_distance_zero():
    twins = Crystal(5.0 * np.eye(3), np.array([1, 1], np.uint8), np.zeros((2, 3)))
    assert shortest_distance(twins, 0.5) == 0.0

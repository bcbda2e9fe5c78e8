"""Structures in memory, pymatgen's or ASE's → crystals and their edges → graphs as Arrow tables. Nothing is written."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, cast

import pyarrow as pa
from ase import Atoms
from pymatgen.core.structure import IStructure, Structure

from crystals.checks import fault_in_prediction
from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.neighbors import Edges, IsolatedAtom, find_neighbors
from crystals.sources.batches import BATCH
from crystals.sources.reading import Unreadable, from_atoms, from_pymatgen
from crystals.symmetry import quotient
from crystals.table import graph_columns

KINDS = (IStructure, Atoms)  # a Structure is an IStructure

Refuse = Callable[[int, str], None]


class Found(NamedTuple):
    """A structure's position in the input, its crystal, and the edges of its graph."""

    position: int
    crystal: Crystal
    edges: Edges


def is_one(structures: object) -> bool:
    """Is it one structure? Structures and Atoms are sequences, too: of sites, of atoms."""
    return isinstance(structures, KINDS)


def from_structure(structure: object) -> Crystal:
    """The arrays of a pymatgen Structure or an ASE Atoms object. Raises Unreadable if it is no ordered crystal."""
    if isinstance(structure, Atoms):
        return from_atoms(structure)
    if isinstance(structure, IStructure):
        return from_pymatgen(cast(Structure, structure))
    raise Unreadable("unreadable", f"is a {type(structure).__name__}; expected a pymatgen Structure or an ASE Atoms")


def crystals_with_edges(
    structures: Iterable[Any], config: GraphConfig, refuse: Refuse, start: int = 0
) -> Iterator[Found]:
    """Each structure that has a graph, in order; `refuse` gets the position and the reason of each that has none.

    `start` is the position of the first.

    A structure is refused where `cgcnn predict` refuses it: it is disordered, breaks a rule of `checks.py`, or has an
    atom without neighbours.
    """
    for position, structure in enumerate(structures, start):
        try:
            crystal = _checked(structure)
            edges = find_neighbors(crystal, config)
        except (Unreadable, IsolatedAtom) as reason:
            refuse(position, str(reason))
        else:
            yield Found(position, crystal, edges)


def _checked(structure: object) -> Crystal:
    crystal = from_structure(structure)
    fault = fault_in_prediction(crystal)
    if fault:
        raise Unreadable(*fault)
    return crystal


def graph_tables(structures: Iterable[Any], config: GraphConfig, refuse: Refuse) -> Iterator[pa.Table]:
    """The graphs of as many structures at a time as `cgcnn predict` takes.

    Columns: position; atomic_numbers, multiplicity and edge_…, as in the graphs table. Of an iterator no more than one
    table's structures are in memory.
    """
    stream = iter(structures)
    for start in itertools.count(0, BATCH):
        chunk = list(itertools.islice(stream, BATCH))
        if not chunk:
            return
        found = list(crystals_with_edges(chunk, config, refuse, start))
        if found:
            yield _table(found, config)


def _table(found: list[Found], config: GraphConfig) -> pa.Table:
    graphs = [quotient(each.crystal, each.edges, config) for each in found]
    return pa.table(
        {
            "position": pa.array([each.position for each in found], pa.int64()),
            **graph_columns(graphs),
        }
    )

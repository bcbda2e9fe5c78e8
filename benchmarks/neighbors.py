"""The neighbour search against the textbook's loop and pymatgen's own list: all neighbours within 8 Å, one core.

`python benchmarks/neighbors.py [--structures 20] [--rounds 7]` prints ratios of times taken in turns in one run, from
arrays in to edge arrays out. Random crystals of oxide-like density with 5 and with 60 atoms. Processor time, so that
other work on the machine does not decide the ratio.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np
from pymatgen.core import Structure

from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.neighbors import find_neighbors

CUTOFF = 8.0
ALL = GraphConfig(cutoff=CUTOFF, max_neighbors=None)


def crystals(count: int, atoms: int) -> list[Crystal]:
    """Random triclinic cells of 11 Å³ an atom."""
    chance = np.random.default_rng(0)
    edge = np.cbrt(11.0 * atoms)
    return [
        Crystal(
            edge * (np.eye(3) + chance.normal(0, 0.1, (3, 3))), np.full(atoms, 8, np.uint8), chance.random((atoms, 3))
        )
        for _ in range(count)
    ]


def ours(crystal: Crystal) -> int:
    """Edges sorted by target and distance."""
    return len(find_neighbors(crystal, ALL))


def pymatgen_list(crystal: Crystal) -> int:
    """Structure.get_neighbor_list: unsorted arrays."""
    structure = Structure(crystal.lattice, crystal.atomic_numbers.tolist(), crystal.frac_coords)
    return len(structure.get_neighbor_list(CUTOFF)[0])


def textbook_loop(crystal: Crystal) -> int:
    """A Python loop over sites, and one over the neighbours of each."""
    structure = Structure(crystal.lattice, crystal.atomic_numbers.tolist(), crystal.frac_coords)
    edges, distances = [], []
    for index, site in enumerate(structure):
        for neighbor in structure.get_neighbors(site, CUTOFF):
            edges.append([index, neighbor.index])
            distances.append(neighbor.nn_distance)
    return len(np.array(edges))


def seconds(search: Callable[[Crystal], int], sample: list[Crystal]) -> float:
    """Processor time per structure."""
    began = time.process_time()
    for crystal in sample:
        search(crystal)
    return (time.process_time() - began) / len(sample)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    for atoms in (5, 60):
        sample = crystals(options.structures, atoms)
        found = {search.__name__: search(sample[0]) for search in (ours, pymatgen_list, textbook_loop)}
        if len(set(found.values())) != 1:
            raise SystemExit(f"the three do not agree on the number of edges: {found}")
        times: dict[str, list[float]] = {name: [] for name in found}
        for turn in range(options.rounds):
            times["ours"].append(seconds(ours, sample))
            times["pymatgen_list"].append(seconds(pymatgen_list, sample))
            if turn < 2:  # it takes long, and its ratio is large
                times["textbook_loop"].append(seconds(textbook_loop, sample[:5]))
        best = {name: min(values) for name, values in times.items()}
        print(
            f"{atoms:3} atoms: {1 / best['ours']:,.0f} structures/s; "
            f"{best['textbook_loop'] / best['ours']:.0f}× the textbook's loop, "
            f"{best['pymatgen_list'] / best['ours']:.2f}× pymatgen's get_neighbor_list",
            flush=True,
        )


if __name__ == "__main__":
    main()

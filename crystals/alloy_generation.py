"""Generates alloys of seven fcc metals with formation energies from effective-medium theory (EMT).

Jacobsen, Stoltze, Nørskov, Surf. Sci. 366, 394 (1996), as implemented by ASE. Formation energies are in eV/atom,
relative to the elements in their relaxed fcc crystals.
"""

import functools
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from crystals.crystal import Crystal
from crystals.sources.batches import Row

METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")
WORTH_PROCESSES = 200  # alloys: fewer are made before a second process has started
HALF = 0.5
FCC = ((0, 0, 0), (0, HALF, HALF), (HALF, 0, HALF), (HALF, HALF, 0))
BCC = ((0, 0, 0), (HALF, HALF, HALF))

# Prototype: sites of the parent cell, how often it is repeated along c, and which element sits on each site.
PROTOTYPES = {
    "fcc": (FCC, 1, "AAAA"),
    "bcc": (BCC, 1, "AA"),
    "L1_2": (FCC, 1, "ABBB"),
    "L1_0": (FCC, 1, "AABB"),
    "B2": (BCC, 1, "AB"),
    "D0_22": (FCC, 2, "ABBBBBAB"),
    "L1_2 ternary": (FCC, 1, "ABCC"),
    "fcc layers": (FCC, 2, "AAAABBBB"),
    "fcc layers ternary": (FCC, 2, "AABBCCAA"),
    "B2 layers": (BCC, 2, "ABAC"),
    "random fcc": (FCC, 2, "????????"),
    "random bcc": (BCC, 3, "??????"),
}


def alloys(count: int, seed: int) -> Iterator[Row]:
    """Yield `count` alloys as rows with `formation_energy_per_atom` (eV/atom). The same seed gives the same alloys.

    Uses several processes, since nearly all of the time goes into ASE's neighbour list, which is written in Python.
    """
    references = {symbol: _relaxed(symbol) for symbol in METALS}
    workers = min(os.cpu_count() or 1, 8)
    if workers == 1 or count < WORTH_PROCESSES:
        yield from (_labelled(number, seed, references) for number in range(count))
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        label = functools.partial(_labelled, seed=seed, references=references)
        yield from pool.map(label, range(count), chunksize=50)


def _labelled(number: int, seed: int, references: dict[str, tuple[float, float]]) -> Row:
    """One alloy and its formation energy; `references` are each metal's lattice constant (Å) and energy (eV)."""
    constants = {symbol: constant for symbol, (constant, _) in references.items()}
    prototype = list(PROTOTYPES)[number % len(PROTOTYPES)]
    atoms = _alloy(prototype, constants, np.random.default_rng([seed, number]))
    symbols = atoms.get_chemical_symbols()
    formation = (_energy(atoms) - sum(references[s][1] for s in symbols)) / len(symbols)
    crystal = Crystal(atoms.cell.array, atoms.numbers.astype(np.uint8), atoms.get_scaled_positions())
    # Rounded: the last bits of a sum of exponentials differ between processors.
    known = {"formation_energy_per_atom": round(formation, 9)}
    return Row(f"alloy-{number + 1:04}", known, functools.partial(_itself, crystal))


def _itself(crystal: Crystal) -> Crystal:
    return crystal


def _relaxed(symbol: str) -> tuple[float, float]:
    """Lattice constant (Å) and energy per atom (eV) of the fcc element, from a quartic fitted around its minimum."""
    guess = float(bulk(symbol).cell.array[0, 1] * 2)
    constants = np.linspace(0.97 * guess, 1.03 * guess, 13)
    energies = [_energy(bulk(symbol, "fcc", a=a)) for a in constants]
    fit = np.polynomial.Polynomial.fit(constants, energies, 4)
    extrema = [
        float(x.real) for x in fit.deriv().roots() if abs(x.imag) < 1e-9 and constants[0] < x.real < constants[-1]
    ]
    best = min(extrema, key=fit)
    return best, float(fit(best))


def _alloy(prototype: str, constants: dict[str, float], chance: np.random.Generator) -> Atoms:
    """One alloy: random elements on the prototype's sites in a fitting cell, strained by up to ±4 % and displaced."""
    sites, repeats, pattern = PROTOTYPES[prototype]
    metals = chance.permutation(METALS)
    drawn = chance.choice(metals[:3], size=len(pattern))
    symbols = [drawn[i] if label == "?" else metals["ABC".index(label)] for i, label in enumerate(pattern)]
    # The atomic volume of the parent is the mean of the elements' fcc volumes (Vegard): a³/4 an atom, a³/2 in bcc.
    volume = np.mean([constants[s] ** 3 / 4 for s in symbols])
    edge = np.cbrt(volume * len(sites))
    coords = [(x, y, (z + n) / repeats) for n in range(repeats) for x, y, z in sites]
    atoms = Atoms(symbols, scaled_positions=coords, cell=[edge, edge, edge * repeats], pbc=True)
    strain = chance.normal(0, 0.015, (3, 3))
    deformation = (1 + chance.uniform(-0.04, 0.04)) * np.eye(3) + (strain + strain.T) / 2
    atoms.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    atoms.positions += chance.normal(0, chance.uniform(0, 0.08), atoms.positions.shape)
    return atoms


def _energy(atoms: Atoms) -> float:
    """Potential energy of the cell in effective-medium theory (eV)."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    return float(atoms.get_potential_energy())

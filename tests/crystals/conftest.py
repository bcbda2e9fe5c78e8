"""Crystals to test with."""

import numpy as np
import pytest
from ase.build import bulk
from ase.spacegroup import crystal as spaced

from crystals.crystal import Crystal


def _of(atoms) -> Crystal:
    return Crystal(atoms.cell.array, atoms.numbers.astype(np.uint8), atoms.get_scaled_positions())


@pytest.fixture(scope="session")
def named():
    """Textbook crystals by name, in their primitive or conventional cells."""
    perovskite = spaced(
        ("Sr", "Ti", "O"),
        [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0)],
        spacegroup=221,
        cellpar=[3.905, 3.905, 3.905, 90, 90, 90],
    )
    return {
        "NaCl": _of(bulk("NaCl", "rocksalt", a=5.64)),
        "NaCl cubic": _of(bulk("NaCl", "rocksalt", a=5.64, cubic=True)),
        "CsCl": _of(bulk("CsCl", "cesiumchloride", a=4.12)),
        "diamond": _of(bulk("C", "diamond", a=3.567)),
        "Si": _of(bulk("Si", "diamond", a=5.43)),
        "Cu": _of(bulk("Cu", "fcc", a=3.615)),
        "SrTiO3": _of(perovskite),
        "SrTiO3 supercell": _of(perovskite.repeat((2, 2, 1))),
    }

"""Orbits of atoms, as spglib finds them."""

import numpy as np
import pytest
import spglib

from crystals.symmetry import orbits


@pytest.mark.filterwarnings("ignore:Set OLD_ERROR_HANDLING:DeprecationWarning")  # of how it will report errors one day
@pytest.mark.parametrize("name", ["Cu", "NaCl", "NaCl cubic", "Si", "SrTiO3", "SrTiO3 supercell"])
def test_orbits_are_spglib_s(name, named):
    crystal = named[name]
    found = spglib.get_symmetry_dataset((crystal.lattice, crystal.frac_coords, crystal.atomic_numbers))
    np.testing.assert_array_equal(orbits(crystal), found.crystallographic_orbits)

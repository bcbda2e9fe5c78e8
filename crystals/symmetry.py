"""Space groups, from spglib."""

import warnings

import spglib

from crystals.crystal import Crystal


def spacegroup_number(crystal: Crystal, tolerance: float = 0.01) -> int | None:
    """Number of the space group (1–230) within `tolerance` (Å); None if spglib finds none."""
    cell = (crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.atomic_numbers.tolist())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        found = spglib.get_symmetry_dataset(cell, symprec=tolerance)
    return None if found is None else int(found.number)

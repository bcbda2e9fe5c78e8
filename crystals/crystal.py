"""A crystal as three arrays, which cost far less than a pymatgen Structure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Crystal:
    """`lattice` (3, 3) Å, rows are a, b, c; `atomic_numbers` (N,); `frac_coords` (N, 3)."""

    lattice: Floats
    atomic_numbers: NDArray[np.uint8]
    frac_coords: Floats

    def __len__(self) -> int:
        return len(self.atomic_numbers)

    @property
    def volume(self) -> float:
        """Volume of the cell (Å³); positive for a left-handed cell, too."""
        return abs(float(np.linalg.det(self.lattice)))

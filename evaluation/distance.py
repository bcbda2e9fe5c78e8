"""How far test structures lie from the training structures, and how the error grows with it.

The distance of two compositions is the share of atoms that would have to be others: ½ Σ |xᵢ − yᵢ| over the elements'
atomic fractions (total variation), 0 for the same composition, 1 without a common element.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import cdist

from evaluation.elements import SYMBOLS
from storage.formulas import atoms_of

BOUNDS = (0.0, 0.1, 0.2, 0.3, 0.5, 1.0)
PAIRS = 100_000_000  # of compositions that are compared at most: some ten seconds
AT_A_TIME = 64  # test compositions


def compositions(formulas: Iterable[str]) -> NDArray[np.float64]:
    """Atomic fractions by element, (n, 118). An element that is none counts for nothing."""
    formulas = list(formulas)
    found = np.zeros((len(formulas), len(SYMBOLS)))
    column = {symbol: number for number, symbol in enumerate(SYMBOLS)}
    for row, formula in enumerate(formulas):
        for symbol, count in atoms_of(formula).items():
            if symbol in column:
                found[row, column[symbol]] = count
    fractions: NDArray[np.float64] = found / np.maximum(found.sum(axis=1, keepdims=True), 1e-12)
    return fractions


def nearest(test: list[str], train: list[str]) -> NDArray[np.float64]:
    """The distance of each test formula (n,) to the nearest training formula, 0 to 1."""
    known = sorted(set(train))
    wanted, which = np.unique(np.array(test, dtype=object).astype(str), return_inverse=True)
    there = compositions(known)
    used = there.any(axis=0)
    here = compositions(wanted.tolist())
    # Elements that no training structure has are missing from all of them alike: half of their fraction.
    unseen = here[:, ~used].sum(axis=1)
    least = np.empty(len(wanted))
    for first in range(0, len(wanted), AT_A_TIME):
        part = slice(first, first + AT_A_TIME)
        least[part] = cdist(here[part][:, used], there[:, used], "cityblock").min(axis=1)
    distance: NDArray[np.float64] = ((least + unseen) / 2)[which].clip(0, 1)
    return distance


def errors_by_distance(
    test: list[str], train: list[str], error: NDArray[np.float64]
) -> tuple[list[tuple[str, NDArray[np.float64]]], dict[str, Any] | None]:
    """The errors in each range of distances, by its name, and the mean and median distance of the test rows.

    Where there are more than PAIRS pairs, a part of the test rows, drawn at random, stands for all; `of` says how many.
    """
    if not test or not train:
        return [], None
    rows = np.arange(len(test))
    most = max(1, PAIRS // len(set(train)))
    if len(set(test)) > most:
        rows = np.sort(np.random.default_rng(0).permutation(len(test))[:most])
    distance = nearest([test[row] for row in rows], train)
    error = error[rows]
    groups = [("0, the same composition", error[distance < 1e-9])]
    for low, high in itertools.pairwise(BOUNDS):
        inside = (distance >= max(low, 1e-9)) & ((distance < high) | (high == BOUNDS[-1]))
        groups.append((f"{low:g} to {high:g}", error[inside]))
    numbers = {"of": len(rows), "mean": float(distance.mean()), "median": float(np.median(distance))}
    return groups, numbers

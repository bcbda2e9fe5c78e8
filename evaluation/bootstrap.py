"""Intervals of relative differences between errors, over test structures and over seeds."""

import numpy as np
from numpy.typing import NDArray

DRAWS = 4000
CONFIDENCE = 0.95
AT_A_TIME = 5_000_000  # drawn rows in memory: 40 MB an array

Errors = NDArray[np.float64]


def resampled_means(groups: list[Errors], draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """Bootstrap draws (draws, groups) of the mean absolute error of each group, (seeds, rows) of absolute errors.

    A draw takes rows with replacement, the same for all groups, so that groups are compared on the same structures;
    and of each group seeds with replacement, each group's on their own, because a seed of one model has nothing to do
    with the same seed of another. Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 8.
    """
    random = np.random.default_rng(seed)
    rows, stacked = groups[0].shape[1], np.concatenate(groups)
    found = []
    for first in range(0, draws, max(1, AT_A_TIME // rows)):
        count = min(draws - first, max(1, AT_A_TIME // rows))
        place = random.integers(0, rows, (count, rows)) + rows * np.arange(count)[:, None]
        weight = np.bincount(place.ravel(), minlength=count * rows).reshape(count, rows) / rows
        means = weight @ stacked.T  # (count, all seeds of all groups)
        found.append(np.stack(_over_seeds(means, [len(group) for group in groups], random), axis=1))
    return np.concatenate(found)


def _over_seeds(means: Errors, seeds: list[int], random: np.random.Generator) -> list[Errors]:
    drawn, start = [], 0
    for count in seeds:
        chosen = random.integers(0, count, (len(means), count)) + start
        drawn.append(np.take_along_axis(means, chosen, axis=1).mean(axis=1))
        start += count
    return drawn


def relative_difference(group: Errors, reference: Errors) -> tuple[float, float, float]:
    """(mean of `group` − mean of `reference`) / mean of `reference`, and the ends of its 95 % percentile interval.

    Both are (seeds, rows) of absolute errors; the rows are the same structures. The same in every run.
    """
    means = resampled_means([group, reference])
    ratios = means[:, 0] / means[:, 1] - 1
    low, high = np.quantile(ratios, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(group.mean() / reference.mean() - 1), float(low), float(high)

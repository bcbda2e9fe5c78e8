"""The power law error = e^a N^−b through errors of models that were trained on N structures, and what it says.

A straight line through the mean logarithms of each size of training set: log error = a − b log N, least squares,
intervals by Student's t with as many degrees of freedom as there are sizes less two. The means, not the single models,
are the points, because models of one size share how far that size lies off the line. That this line is often straight
over orders of magnitude is an observation: Hestness et al., arXiv:1712.00409 (2017).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

CONFIDENCE = 0.95


class PowerLaw(NamedTuple):
    """The fit. `low` and `high` are the ends of the exponent's 95 % interval; NaN from only two sizes."""

    intercept: float  # a, of the logarithm of the error in its unit
    exponent: float  # b
    low: float
    high: float
    centre: float  # mean of log N
    spread: float  # sum of squares of log N about it
    scatter: float  # variance of the means about the line
    sizes: int  # of training sets

    def error(self, count: float) -> float:
        """The error at N = `count`, in the unit of the errors that were fitted."""
        return math.exp(self.intercept - self.exponent * math.log(count))

    @property
    def falls(self) -> bool:
        """Whether the exponent's interval lies above 0: only then does more data surely help."""
        return self.low > 0


def fit(counts: ArrayLike, errors: ArrayLike, sizes: ArrayLike) -> PowerLaw:
    """The power law through `errors` (n,) > 0 of models trained on `counts` (n,) structures.

    `sizes` (n,) says which models are of one size: shares of the same data, whose counts differ a little. Raises
    ValueError if there are not at least two.
    """
    _, place = np.unique(sizes, return_inverse=True)
    if place.max() < 1:
        raise ValueError("a line needs two sizes")
    x, y = (np.bincount(place, np.log(np.asarray(v, dtype=float))) / np.bincount(place) for v in (counts, errors))
    spread = float(np.square(x - x.mean()).sum())
    exponent = -float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    intercept = float(y.mean() + exponent * x.mean())
    free = len(x) - 2  # degrees of freedom
    scatter = float(np.square(y - intercept + exponent * x).sum() / free) if free else math.nan
    half = _quantile(free) * math.sqrt(scatter / spread) if free else math.nan
    return PowerLaw(intercept, exponent, exponent - half, exponent + half, float(x.mean()), spread, scatter, len(x))


def structures_for(law: PowerLaw, goal: float) -> tuple[float, float, float]:
    """N at which the line reaches the error `goal`, and the ends of its 95 % interval.

    The interval holds all N at which the goal lies within the line's confidence band. An end is NaN if there is none:
    of two sizes, or where the exponent's interval holds 0. N is infinite if the error does not fall, or so slowly that
    no float is as large.
    """
    if law.exponent <= 0:
        return math.inf, math.nan, math.inf
    middle = _exp((law.intercept - math.log(goal)) / law.exponent)
    if not law.falls:
        return middle, math.nan, math.nan
    # Where (d − b u)² = t² s² (1/K + u²/S), with u from the centre of log N and d from log goal up to the line there.
    d = law.intercept - law.exponent * law.centre - math.log(goal)
    noise = _quantile(law.sizes - 2) ** 2 * law.scatter
    first = law.exponent**2 - noise / law.spread
    root = math.sqrt(max((law.exponent * d) ** 2 - first * (d**2 - noise / law.sizes), 0.0))
    ends = [_exp(law.centre + (law.exponent * d + side * root) / first) for side in (-1, 1)]
    return middle, ends[0], ends[1]


def _exp(power: float) -> float:
    try:
        return math.exp(power)
    except OverflowError:
        return math.inf


def _quantile(free: int) -> float:
    return float(stats.t.ppf((1 + CONFIDENCE) / 2, free))

"""How good the uncertainties of predictions are, measured on rows that did not set them.

All arrays have the shape (n,) and are in the target's unit. z is the error in standard deviations. For normal errors
|z| < Φ⁻¹((1 + p) / 2) in a share p of the rows; how far the observed shares are from that is the calibration (Kuleshov,
Fenner & Ermon, ICML 2018; for materials Tran et al., Mach. Learn.: Sci. Technol. 1, 025006 (2020)).
"""

import math
from typing import Any

import numpy as np
from scipy.integrate import trapezoid
from scipy.special import ndtr
from scipy.stats import rankdata

from evaluation.metrics import Values, numbers

LEVELS = (0.5, 0.68, 0.9, 0.95)
CURVE = np.linspace(0, 1, 51)
REJECTED = np.linspace(0, 0.95, 20)


def measure(
    target: Values, predicted: Values, deviation: Values, low: Values, high: Values, constant: float
) -> dict[str, Any]:
    """The numbers of the report's section. `deviation` are standard deviations, above 0; `low` and `high` intervals.

    `constant` is one standard deviation for all rows, whose likelihood is what the others' has to beat.
    """
    error = predicted - target
    size = np.abs(error)
    observed = coverage(error, deviation, CURVE)
    inside = (low <= target) & (target <= high)
    same = np.full_like(deviation, constant)
    return {
        **numbers(
            negative_log_likelihood=negative_log_likelihood(error, deviation),
            constant_negative_log_likelihood=negative_log_likelihood(error, same) if constant > 0 else math.nan,
            miscalibration_area=float(trapezoid(np.abs(observed - CURVE), CURVE)),
            rank_correlation=rank_correlation(deviation, size),
            root_mean_square=float(np.sqrt(np.square(deviation).mean())),
        ),
        "interval": {"observed": float(inside.mean()), "median_width": float(np.median(high - low))},
        "coverage": [{"expected": p, "observed": float(coverage(error, deviation, [p])[0])} for p in LEVELS],
        "calibration_curve": {"expected": CURVE.tolist(), "observed": observed.tolist()},
        "rejection": {
            "rejected": REJECTED.tolist(),
            "mae": rejection(size, deviation).tolist(),
            "best_mae": rejection(size, size).tolist(),
        },
    }


def coverage(error: Values, deviation: Values, expected: Any) -> Values:
    """Share of the rows within the central interval of a normal distribution that holds `expected` of it; its shape."""
    needed = np.sort(2 * ndtr(np.abs(error) / deviation) - 1)  # the smallest such interval that holds the row
    return np.asarray(np.searchsorted(needed, expected, side="right") / len(error))


def negative_log_likelihood(error: Values, deviation: Values) -> float:
    """Mean of −log N(error; 0, deviation²), in nats: ½ z² + log(deviation √2π). It depends on the unit."""
    return float((np.square(error / deviation) / 2 + np.log(deviation * math.sqrt(2 * math.pi))).mean())


def rank_correlation(one: Values, other: Values) -> float:
    """Spearman's correlation of the two; NaN where one of them is the same in all rows."""
    ranks = [rankdata(values) for values in (one, other)]
    if any(values.min() == values.max() for values in ranks):
        return math.nan
    return float(np.corrcoef(*ranks)[0, 1])


def rejection(size: Values, deviation: Values) -> Values:
    """Mean of `size` over the rows that are left when the share REJECTED with the largest `deviation` is left out.

    At least one row is left.
    """
    ordered = size[np.argsort(deviation, kind="stable")]
    left = np.maximum(1, np.ceil(len(size) * (1 - REJECTED) - 1e-9).astype(int))
    return np.asarray(np.cumsum(ordered)[left - 1] / left)

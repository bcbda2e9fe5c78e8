"""The uncertainty of a prediction: the spread of an ensemble and the deviation that a model predicts, calibrated.

M structures, K members. Where the members disagree, the training rows did not decide; what noise is left where they
agree, a model with the head mean-variance predicts (deep ensembles: Lakshminarayanan et al., NeurIPS 2017). Both rank
the structures, but neither is the error: a factor, set on the validation rows, makes of them the error's standard
deviation, and a quantile makes of that an interval that holds a promised share.
"""

import logging
import math

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gnn.model_card import Calibration, ModelCard

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

WIDEST = 300.0  # the logarithm of the largest factor of a relative interval: it overflows with no prediction
ROUNDING = 1e-6  # of the targets' standard deviation: no smaller difference of float32 networks means anything


def mean_and_spread(
    values: Floats, deviations: Floats | None = None, *, relative: bool = False
) -> tuple[Floats, Floats]:
    """The mean and the standard deviation (ddof 1) over the members of `values` (K, M): both (M,).

    `deviations` (K, M) are those that the members predict: the squares of both add up, as for a mixture of normal
    distributions. One member alone has no spread. The order of the members does not change a bit. Where an error counts
    relative to the value (`relative`), the spread is that of the logarithms.
    """
    ordered = np.sort(values, axis=0)
    spread = np.zeros(ordered.shape[1])
    if len(ordered) > 1:
        spread = (np.log(ordered) if relative else ordered).std(axis=0, ddof=1)
    if deviations is not None:
        spread = np.hypot(spread, np.sqrt(np.square(np.sort(deviations, axis=0)).mean(axis=0)))
    return ordered.mean(axis=0), spread


def calibrate(error: Floats, spread: Floats, floor: float, coverage: float) -> Calibration:
    """The calibration by the errors (predicted − target) and spreads (V,) of the validation rows, V ≥ 1.

    With s = √(spread² + floor²), the standard deviation of an error is factor · s. The factor √mean(error² / s²) is the
    one of maximum likelihood for normal errors. The quantile is that of split conformal prediction with the score
    |error| / (factor · s) (Lei et al., JASA 113, 1094 (2018), section 5.2): the ⌈(V + 1) coverage⌉-th smallest. `floor`
    must not depend on these rows; then a new structure's value lies in its interval with at least that probability, if
    it and the validation rows are drawn alike. Where the rows are too few, the largest score promises V / (V + 1).
    """
    rows = len(error)
    relative = np.abs(error) / _floored(spread, floor)
    factor = max(float(np.sqrt(np.square(relative).mean())), ROUNDING)
    place = math.ceil((rows + 1) * coverage - 1e-9)  # less what rounding adds
    promised = coverage
    if place > rows:
        place, promised = rows, rows / (rows + 1)
        log.warning(
            "%s validation rows are too few for intervals of %s: the widest that they allow promises %s",
            *(rows, f"{coverage:.1%}", f"{promised:.1%}"),
        )
    quantile = float(np.sort(relative)[place - 1]) / factor
    return Calibration(floor=floor, factor=factor, quantile=quantile, coverage=promised, rows=rows)


def _floored(spread: Floats, floor: float) -> Floats:
    return np.hypot(spread, floor)


def floor_of(spread: Floats, deviation: float) -> float:
    """The floor by the spreads (T,) of the training rows: their median. `deviation` is that of the targets.

    By chance the members may agree on a new structure; it is not taken for better known than those they learned from.
    Rows for which all members say the very same, as a hurdle's 0, tell nothing of a spread.
    """
    least = ROUNDING * deviation
    apart = spread[spread > least]
    return float(np.median(apart)) if len(apart) else least


def with_uncertainty(
    mean: Floats, spread: Floats, calibration: Calibration, *, relative: bool = False
) -> dict[str, Floats]:
    """`standard_deviation` of the error; `low` and `high`, the ends of the interval. All (M,), in the target's unit.

    Where the spread is `relative`, the ends are a factor below and above the mean, and the deviation is to first order.
    """
    deviation = calibration.factor * _floored(spread, calibration.floor)
    half = calibration.quantile * deviation
    if relative:
        factor = np.exp(np.minimum(half, WIDEST))
        return {"standard_deviation": mean * deviation, "low": mean / factor, "high": mean * factor}
    return {"standard_deviation": deviation, "low": mean - half, "high": mean + half}


def combine(values: Floats, deviations: Floats | None, card: ModelCard) -> dict[str, Floats]:
    """`predicted` (M,) from what each member gives (K, M); where it is calibrated, the uncertainty's columns, too."""
    if len(values) == 1 and card.calibration is None:
        return {"predicted": values[0]}
    mean, spread = mean_and_spread(values, deviations, relative=card.relative)
    if card.calibration is None:
        return {"predicted": mean}
    found = with_uncertainty(mean, spread, card.calibration, relative=card.relative)
    return {"predicted": mean, **found, "low": np.maximum(found["low"], card.head.least)}


def predictions_of(outputs: Tensor, card: ModelCard) -> dict[str, Floats]:
    """`combine` for what the networks of K members give, (K, M, W)."""
    head = card.head
    deviations = head.predicted_deviation(outputs)
    return combine(head.value(outputs).numpy(), None if deviations is None else deviations.numpy(), card)

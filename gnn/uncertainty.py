"""The uncertainty of an ensemble: the spread of its members, calibrated on the validation rows.

M structures, K members. The members differ in their seeds, or in their settings; where they disagree, the training
rows did not decide (deep ensembles: Lakshminarayanan et al., NeurIPS 2017). Their spread ranks the structures, but is
smaller than the error: a factor makes it the error's standard deviation, a quantile makes it an interval that holds a
promised share.
"""

import logging
import math

import numpy as np
from numpy.typing import NDArray

from gnn.model_card import Calibration, ModelCard

log = logging.getLogger(__name__)

Floats = NDArray[np.float64]

ROUNDING = 1e-6  # of the targets' standard deviation: no smaller difference of float32 networks means anything


def mean_and_spread(outputs: Floats) -> tuple[Floats, Floats]:
    """The mean and the standard deviation (ddof 1) over the members of `outputs` (K, M), K ≥ 2: both (M,).

    The order of the members does not change a bit of them.
    """
    ordered = np.sort(outputs, axis=0)
    return ordered.mean(axis=0), ordered.std(axis=0, ddof=1)


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
    """
    known = float(np.median(spread)) if len(spread) else 0.0
    return max(known, ROUNDING * deviation)


def with_uncertainty(mean: Floats, spread: Floats, calibration: Calibration) -> dict[str, Floats]:
    """`standard_deviation` of the error; `low` and `high`, the ends of the interval. All (M,), in the target's unit."""
    deviation = calibration.factor * _floored(spread, calibration.floor)
    half = calibration.quantile * deviation
    return {"standard_deviation": deviation, "low": mean - half, "high": mean + half}


def combine(outputs: Floats, card: ModelCard) -> dict[str, Floats]:
    """`predicted` (M,) from what each member gives (K, M); of a calibrated ensemble, its uncertainty's columns, too."""
    if len(outputs) == 1:
        return {"predicted": outputs[0]}
    mean, spread = mean_and_spread(outputs)
    uncertainty = with_uncertainty(mean, spread, card.calibration) if card.calibration else {}
    return {"predicted": mean, **uncertainty}

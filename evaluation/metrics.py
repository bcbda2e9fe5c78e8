"""Errors of predictions, and of a baseline that always predicts the training mean or the more frequent class.

All arrays have the shape (n,); NaN stands for what is not defined, such as the mean of no rows.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

SPLITS = ("train", "validation", "test")


def mae(target: Values, predicted: Values) -> float:
    """Mean absolute error, in the unit of the target; NaN without rows."""
    return float(np.abs(predicted - target).mean()) if len(target) else math.nan


def rmse(target: Values, predicted: Values) -> float:
    """Root of the mean squared error, in the unit of the target; NaN without rows."""
    return float(np.sqrt(np.square(predicted - target).mean())) if len(target) else math.nan


def r2(target: Values, predicted: Values) -> float:
    """1 − residual sum of squares / total sum of squares; NaN if all targets are equal."""
    if len(target) == 0 or target.min() == target.max():
        return math.nan
    residual = np.square(predicted - target).sum()
    total = np.square(target - target.mean()).sum()
    return float(1.0 - residual / total)


def roc_auc(positive: NDArray[np.bool_], score: Values) -> float:
    """Probability that a positive row has a higher score than a negative one, ties ½; NaN with a single class."""
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return math.nan
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(count) - (count - 1) / 2  # tied scores share the mean of their ranks
    above = rank[place][positive].sum() - n_positive * (n_positive + 1) / 2
    return float(above / (n_positive * n_negative))


def roc_curve(positive: NDArray[np.bool_], score: Values) -> tuple[Values, Values]:
    """(false positive rates, true positive rates), from (0, 0) to (1, 1), one point for each distinct score."""
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(score[order])), len(score) - 1)
    hits = np.cumsum(positive[order])[ends]
    false = ends + 1 - hits
    return np.append(0.0, false / max(false[-1], 1)), np.append(0.0, hits / max(hits[-1], 1))


def reliability(positive: NDArray[np.bool_], probability: Values, bins: int = 10) -> list[dict[str, float]]:
    """Mean predicted probability, observed share of positives and count of rows in each bin of [0, 1] that has rows."""
    place = np.clip((probability * bins).astype(int), 0, bins - 1)
    return [
        {
            "predicted": float(probability[place == b].mean()),
            "observed": float(positive[place == b].mean()),
            "count": int((place == b).sum()),
        }
        for b in np.unique(place)
    ]


def regression(target: Values, predicted: Values, training_mean: float) -> dict[str, Any]:
    """The errors of one split, in the unit of the target; the baseline predicts `training_mean` for every row."""
    mean = np.full_like(target, training_mean)
    return numbers(
        count=len(target),
        mae=mae(target, predicted),
        rmse=rmse(target, predicted),
        r2=r2(target, predicted),
        baseline_mae=mae(target, mean),
        baseline_rmse=rmse(target, mean),
    )


def classification(positive: NDArray[np.bool_], probability: Values, training_share: float) -> dict[str, Any]:
    """The scores of one split; a row is classified as positive at a probability of ½ or above.

    The baseline predicts the class that most training rows have; `training_share` is the share of positives there.
    """
    count = len(positive)
    called = probability >= 0.5
    hits, false = int((called & positive).sum()), int((called & ~positive).sum())
    misses = int((~called & positive).sum())
    rest = count - hits - false - misses
    right_baseline = positive == (training_share >= 0.5)
    return numbers(
        count=count,
        positives=hits + misses,
        roc_auc=roc_auc(positive, probability),
        accuracy=(hits + rest) / count if count else math.nan,
        baseline_roc_auc=0.5,
        baseline_accuracy=float(right_baseline.mean()) if count else math.nan,
        true_positive=hits,
        false_positive=false,
        false_negative=misses,
        true_negative=rest,
    )


def numbers(**values: float) -> dict[str, float | None]:
    """The values by name, with None in place of NaN, because JSON has no NaN."""
    return {name: None if math.isnan(value) else value for name, value in values.items()}

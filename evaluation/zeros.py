"""Targets that are exactly 0 for many structures, such as the band gap of metals: errors there and elsewhere.

One MAE over both hides whether a model finds out which structures are zero, and how far off it is where they are not.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics import Values, mae, numbers

SHARE = 0.05  # of the training rows that are 0, and that are not, at least


def zero_inflated(target: Values) -> bool:
    """Whether many of the training targets (n,) are exactly 0, and many are not; none is below 0.

    Energies of both signs may have zeros, such as those of elements, but these are values like others.
    """
    return len(target) > 0 and target.min() >= 0 and SHARE <= float((target == 0).mean()) <= 1 - SHARE


def threshold(target: Values, predicted: Values) -> float:
    """The size of a prediction (n,) up to which it is taken for 0, so that most of these rows are called right.

    Of several such sizes the smallest; without rows 0.
    """
    size, zero = np.abs(predicted), target == 0
    order = np.argsort(size, kind="stable")
    ends = np.append(np.diff(size[order]) > 0, True)[: len(size)]  # the last row of each size
    gain = np.cumsum(np.where(zero[order], 1, -1))  # of calling all rows up to this one 0, instead of none
    if not len(size) or gain[ends].max() <= 0:
        return 0.0
    return float(size[order][ends][int(np.argmax(gain[ends]))])


def measure(target: Values, predicted: Values, split: NDArray[np.object_]) -> dict[str, Any] | None:
    """Of the test rows: the MAE of those that are 0 and of the others, and the share that is called right.

    What is called 0 is decided by the validation rows. None where the training targets are not zero-inflated.
    """
    known = target[split == "train"]
    if not zero_inflated(known):
        return None
    watched, test = split == "validation", split == "test"
    limit = threshold(target[watched], predicted[watched])
    zero, value = target[test] == 0, predicted[test]
    more_frequent = float((known == 0).mean()) >= 0.5
    return numbers(
        threshold=limit,
        zero=int(zero.sum()),
        other=int((~zero).sum()),
        mae_zero=mae(target[test][zero], value[zero]),
        mae_other=mae(target[test][~zero], value[~zero]),
        accuracy=float(((np.abs(value) <= limit) == zero).mean()) if len(zero) else math.nan,
        baseline_accuracy=float((zero == more_frequent).mean()) if len(zero) else math.nan,
    )


def note(found: dict[str, Any] | None, limit: str) -> str:
    """The sentence of the report; `limit` is the threshold with its unit."""
    if found is None or found["accuracy"] is None:
        return ""
    return (
        f"{found['accuracy']:.1%} of the test structures are called right: zero up to {limit}, a limit that the "
        f"validation structures set, else above. Always the more frequent answer: {found['baseline_accuracy']:.1%}."
    )

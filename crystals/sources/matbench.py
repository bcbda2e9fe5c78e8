"""The published folds of Matbench v0.1: those of the rows of a task, in its own order.

They are those of scikit-learn's KFold(5, shuffle=True, random_state=18012019): the shuffled rows in five pieces, the
first ones a row longer where five does not divide their number. Dunn et al., npj Comput. Mater. 6, 138 (2020).
"""

from typing import Any

from storage.matbench import FOLDS, ROWS, SEED


def folds_of(task: str) -> Any:
    """The fold in which each row of the task is a test row: (rows,) of 0 to 4."""
    import numpy as np  # a source is found without it

    rows = ROWS[task]
    shuffled = np.arange(rows)
    np.random.RandomState(SEED).shuffle(shuffled)
    sizes = [rows // FOLDS + (fold < rows % FOLDS) for fold in range(FOLDS)]
    fold = np.empty(rows, dtype=int)
    fold[shuffled] = np.repeat(np.arange(FOLDS), sizes)
    return fold

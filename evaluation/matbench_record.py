"""The record of a cross-validation in the JSON format of the package matbench 0.6: `MatbenchBenchmark.from_file`.

Its layout is that of `MatbenchBenchmark.as_dict`: predictions by Matbench's name of the row, scores and parameters of
each fold, and a hash of it all.
"""

import hashlib
import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from evaluation import metrics
from storage.matbench import ROWS, task_id
from storage.schemas import MATERIAL_ID

VERSION = "0.6"  # of the package that writes this layout
SMALLEST = 1e-5  # references below are left out of the mean percentage error


def record(
    task: str, folds: dict[int, pa.Table], parameters: dict[int, dict[str, Any]], **about: Any
) -> dict[str, Any]:
    """The record of the task. `folds` are the test rows of each fold with columns material_id, target and predicted.

    `parameters` say how the model of each fold came to be; `about` has the `kind` of the task (regression or
    classification), the time `stamp` (%Y.%m.%d %H:%M.%S) and what is to be known of all folds, `metadata`.
    """
    results = {
        f"fold_{fold}": {
            "data": dict(zip(_names(task, rows), rows["predicted"].to_pylist(), strict=True)),
            "parameters": parameters[fold],
            "scores": _scores(rows, about["kind"]),
            "uncertainty": None,
        }
        for fold, rows in folds.items()
    }
    inner = {"@module": "matbench.task", "@class": "MatbenchTask", "benchmark_name": "matbench_v0.1"}
    whole: dict[str, Any] = {
        "@module": "matbench.bench",
        "@class": "MatbenchBenchmark",
        "version": VERSION,
        "tasks": {task: {**inner, "dataset_name": task, "results": results}},
        "user_metadata": about["metadata"],
        "benchmark_name": "matbench_v0.1",
        "datestamp": about["stamp"],
    }
    return {**whole, "hash": hash_of(whole)}


def hash_of(content: dict[str, Any]) -> str:
    """sha256 as matbench takes it: of the JSON with sorted keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def is_complete(task: str, folds: dict[int, pa.Table]) -> bool:
    """Whether there is a prediction for every row that Matbench asks for in this task."""
    names = {name for rows in folds.values() for name in _names(task, rows)}
    return task in ROWS and names == {task_id(task, row) for row in range(1, ROWS[task] + 1)}


def _names(task: str, rows: pa.Table) -> list[str]:
    """Matbench's names of the rows; in its own files a row's id is its index from 0."""
    ids = [str(name) for name in rows[MATERIAL_ID].to_pylist()]
    return [task_id(task, int(name) + 1) if task in ROWS and name.isdecimal() else name for name in ids]


def _scores(rows: pa.Table, kind: str) -> dict[str, float | None]:
    """The scores of a fold that Matbench keeps; None where one is not defined."""
    target, predicted = (np.asarray(rows[name].to_numpy(), dtype=float) for name in ("target", "predicted"))
    found = _of_classes(target > 0.5, predicted) if kind == "classification" else _of_values(target, predicted)
    return metrics.numbers(**found)


def _of_values(target: NDArray[np.float64], predicted: NDArray[np.float64]) -> dict[str, float]:
    error, some = np.abs(predicted - target), np.abs(target) > SMALLEST
    return {
        "mae": float(error.mean()),
        "rmse": metrics.rmse(target, predicted),
        "mape": float((error[some] / np.abs(target[some])).mean()) if some.any() else 0.0,
        "max_error": float(error.max()),
    }


def _of_classes(positive: NDArray[np.bool_], probability: NDArray[np.float64]) -> dict[str, float]:
    called = probability > 0.5
    hits, right = int((called & positive).sum()), called == positive
    recalls = [float(right[positive == side].mean()) for side in (True, False) if (positive == side).any()]
    return {
        "accuracy": float(right.mean()),
        "balanced_accuracy": float(np.mean(recalls)),
        "f1": 2 * hits / max(int(called.sum() + positive.sum()), 1),
        "rocauc": metrics.roc_auc(positive, probability),
    }

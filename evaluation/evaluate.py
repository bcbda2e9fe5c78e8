"""Program: compute the errors of a model from its predictions.

Writes metrics.json (errors of each split), errors.parquet (test errors by group) and worst.parquet (the largest test
errors). The columns `target` (the reference value) and `predicted` are in the unit of the target; for the task
classification, `target` is 0 or 1 and `predicted` is the probability of 1.
"""

import json
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evaluation import metrics, zeros
from evaluation.distance import errors_by_distance
from evaluation.elements import LAST_OF_SYSTEM, SYMBOLS, crystal_system
from evaluation.published import published
from storage.errors import InputError
from storage.program import Facts, Spec, main
from storage.schemas import ERRORS, MATERIAL_ID, WORST, write_table

log = logging.getLogger(__name__)

N_WORST = 20
N_SPACE_GROUPS = 10
HELD = ("observed", "promised")


class EvaluateSpec(Spec):
    """Paths of the tables of one training, and the target, its unit, the task and the source of the data.

    `model` is the model.json of an ensemble.
    """

    predictions: Path
    model: Path | None = None
    gates: Path | None = None
    history: Path
    target: str
    unit: str
    task: Literal["regression", "classification"]
    source: str


def build(spec: EvaluateSpec) -> Facts:
    """Write the three files; return the errors of the test split. Raises InputError if a prediction is not finite."""
    table = pq.read_table(spec.predictions).sort_by(MATERIAL_ID)
    _refuse_divergence(table)
    groups, distance = by_distance(table, spec.task)
    found = measure(table, spec) | {"distance": distance}
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (spec.output / "metrics.json").write_text(text, encoding="utf-8")
    if found["zeros"]:
        known = {name: value for name, value in found["zeros"].items() if value is not None}
        log.info("zeros: %s", ", ".join(f"{name} {value:.4g}" for name, value in known.items()))
    write_table(errors_by_group(table, spec.task, groups, zero=bool(found["zeros"])), spec.output / "errors.parquet")
    write_table(worst(table), spec.output / "worst.parquet")
    test = found["test"]
    log.info("test: %s", ", ".join(f"{name} {value}" for name, value in test.items()))
    reported = {name if name.startswith("baseline_") else f"test_{name}": value for name, value in test.items()}
    if "uncertainty" in found:
        held = found["uncertainty"]["interval"]
        log.info("intervals hold %.1f %% of the test rows, promised are %.1f %%", *(100 * held[n] for n in HELD))
        reported["interval_coverage"] = held["observed"]
    return {"unit": spec.unit, "metric": found["metric"], **reported}


def _refuse_divergence(table: pa.Table) -> None:
    lost = int((~np.isfinite(_column(table, "predicted"))).sum())
    if lost:
        raise InputError(
            f"predictions.parquet: {lost} of {len(table)} predicted values are not finite: the training diverged; "
            "lower train.learning_rate or set train.clip"
        )


def _column(table: pa.Table, name: str) -> NDArray[np.float64]:
    return np.asarray(table[name].to_numpy(), dtype=float)


def _test_rows(table: pa.Table) -> pa.Table:
    return table.filter(pa.array(table["split"].to_numpy() == "test"))


def measure(table: pa.Table, spec: EvaluateSpec) -> dict[str, Any]:
    """The content of metrics.json: the errors of each split, published figures, and a summary of the gates."""
    split = table["split"].to_numpy()
    target, predicted = _column(table, "target"), _column(table, "predicted")
    yes_or_no = spec.task == "classification"
    known = target[split == "train"]
    mean = float(known.mean()) if len(known) else float("nan")
    found: dict[str, Any] = {
        "source": spec.source,
        "target": spec.target,
        "unit": spec.unit,
        "task": spec.task,
        "metric": "roc_auc" if yes_or_no else "mae",
        "training_mean": mean if len(known) else None,
    }
    for name in metrics.SPLITS:
        rows = split == name
        if yes_or_no:
            found[name] = metrics.classification(target[rows] > 0.5, predicted[rows], mean)
        else:
            found[name] = metrics.regression(target[rows], predicted[rows], mean)
    found["published"] = [] if yes_or_no else published(spec.source, spec.target, spec.unit)
    found["zeros"] = None if yes_or_no else zeros.measure(target, predicted, split)
    found["gates"] = gate_summary(spec.gates) if spec.gates else []
    if "standard_deviation" in table.column_names:
        found["uncertainty"] = _uncertainty(table, spec)
    return found


def _uncertainty(table: pa.Table, spec: EvaluateSpec) -> dict[str, Any]:
    """How good the uncertainty is on the test rows, and how it was set; `constant` is what it is compared with."""
    from evaluation import uncertainty  # its scipy.stats takes longer to import than all the rest

    card = json.loads(spec.model.read_text(encoding="utf-8")) if spec.model else {}
    columns = ("target", "predicted", "standard_deviation", "low", "high")
    watched = table.filter(pa.array(table["split"].to_numpy() == "validation"))
    constant = metrics.rmse(*(_column(watched, name) for name in ("target", "predicted")))
    target, predicted, deviation, low, high = (_column(_test_rows(table), name) for name in columns)
    found = uncertainty.measure(target, predicted, deviation, low, high, constant)
    calibration = card["calibration"]
    found["interval"]["promised"] = calibration["coverage"]
    relative = {"relative": True} if card.get("model", {}).get("head") == "log" else {}
    return {"members": card.get("members", 1), "calibration": calibration, **relative, **found}


def gate_summary(path: Path) -> list[dict[str, float]]:
    """Mean gate value (0 to 1) of each layer over all edges, and the lowest and highest mean of a distance bin."""
    table = pq.read_table(path)
    layer, gate, edges = (_column(table, name) for name in ("layer", "mean_gate", "edges"))
    summary = []
    for number in np.unique(layer[edges > 0]):
        rows = (layer == number) & (edges > 0)
        mean = float(np.average(gate[rows], weights=edges[rows]))
        lowest, highest = float(gate[rows].min()), float(gate[rows].max())
        summary.append({"layer": int(number), "mean": mean, "lowest": lowest, "highest": highest})
    return summary


def test_errors(test: pa.Table, task: str) -> NDArray[np.float64]:
    """Absolute errors of the rows (n,); in a classification at probability ½, 1 for a row in the wrong class."""
    answer = _column(test, "predicted")
    if task == "classification":
        answer = (answer >= 0.5).astype(float)
    return np.abs(answer - _column(test, "target"))


def by_distance(table: pa.Table, task: str) -> tuple[list[tuple[str, NDArray[np.float64]]], dict[str, Any] | None]:
    """`errors_by_distance` of the test rows from the training rows."""
    test, train = (table.filter(pa.array(table["split"].to_numpy() == name)) for name in ("test", "train"))
    return errors_by_distance(test["formula"].to_pylist(), train["formula"].to_pylist(), test_errors(test, task))


def errors_by_group(
    table: pa.Table, task: str, distances: Sequence[tuple[str, NDArray[np.float64]]] = (), *, zero: bool = False
) -> pa.Table:
    """Mean absolute error of the test rows by elements, their number, symmetry, and distance (schemas.ERRORS).

    Symmetry: by crystal system, and by the N_SPACE_GROUPS most frequent space groups. With `zero`, of those rows whose
    target is 0 and of the others, too.

    In the unit of the target; for the task classification, the share of rows in the wrong class at probability ½.
    """
    test = _test_rows(table)
    error = test_errors(test, task)
    atoms = [np.unique(z) for z in test["atomic_numbers"].to_numpy()]
    n_elements = np.array([len(z) for z in atoms], dtype=int)
    row_of = np.repeat(np.arange(len(atoms)), n_elements)
    z_of = np.concatenate([*atoms, np.empty(0, int)]).astype(int)
    rows = [("elements", str(n), error[n_elements == n]) for n in np.unique(n_elements)]
    space_group = np.array([n or 0 for n in test["spacegroup_number"].to_pylist()], dtype=int)
    system = np.array([crystal_system(n) if n else "" for n in space_group], dtype=object)
    rows += [("crystal_system", name, error[system == name]) for name in LAST_OF_SYSTEM.values()]
    frequent = Counter(space_group[space_group > 0].tolist()).most_common(N_SPACE_GROUPS)
    rows += [("space_group", str(n), error[space_group == n]) for n, _ in sorted(frequent)]
    rows += [("element", SYMBOLS[z - 1], error[row_of[z_of == z]]) for z in np.unique(z_of)]
    rows += [("distance", name, part) for name, part in distances]
    is_zero = _column(test, "target") == 0
    rows += [("zero", "0", error[is_zero]), ("zero", "not 0", error[~is_zero])] if zero else []
    groups = [
        {"kind": kind, "key": key, "count": len(part), "mae": float(part.mean())}
        for kind, key, part in rows
        if len(part)
    ]
    return pa.Table.from_pylist(groups, ERRORS)


def worst(table: pa.Table) -> pa.Table:
    """The N_WORST test rows with the largest absolute errors, the largest first (schemas.WORST)."""
    test = _test_rows(table)
    error = _column(test, "predicted") - _column(test, "target")
    order = np.argsort(-np.abs(error), kind="stable")[:N_WORST]
    return test.append_column("error", pa.array(error)).take(order).select(WORST.names).cast(WORST)


if __name__ == "__main__":
    main(EvaluateSpec, build)

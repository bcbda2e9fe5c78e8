"""The figures and tables of the report, as plain values. One that has no data is None or empty."""

from typing import Any

import numpy as np
import pandas as pd

from evaluation.axes import Axis, Chart, Figure, Mark, logarithmic, round_step, upward
from evaluation.elements import SYMBOLS, place
from evaluation.formatting import Scale, format_count, share, significant
from evaluation.metrics import reliability, roc_curve

BINS = 41
FEW = 5  # groups with fewer test rows are marked: their mean says little


def learning_figure(history: pd.DataFrame, kept_epoch: int, scale: Scale, *, errors: bool) -> Figure | None:
    """Validation error and training loss by epoch; `errors` says that the validation error is in the target's unit."""
    history = history.dropna()
    if history.empty:
        return None
    epoch = history["epoch"].to_numpy(float)
    validation = history["validation_mae"].to_numpy(float) * (scale.factor if errors else 1.0)
    unit = f" ({scale.unit})" if errors and scale.unit else ""
    name, axis = ("validation MAE", f"MAE{unit}") if errors else ("validation error", "Error")
    x = Axis(min(epoch) - 0.5, max(epoch) + 0.5, "Epoch")
    kept = np.flatnonzero(epoch == kept_epoch)
    tips = [
        f"epoch {int(e)}: {name} {significant(v)}, training loss {significant(t)}"
        for e, v, t in zip(epoch, validation, history["train_loss"], strict=True)
    ]
    charts = []
    for values, label, style in (
        (validation, axis, "line s0"),
        (history["train_loss"].to_numpy(float), "Loss", "line s1"),
    ):
        chart = Chart(x, logarithmic(values, label), f"{label} by epoch, {len(epoch)} epochs.", height=150)
        chart.line(epoch, values, style)
        if label == axis and len(kept):
            chart.dots(epoch[kept], values[kept], "kept")
        chart.zones(epoch, tips)
        charts.append(chart)
    caption = f"The weights of epoch {kept_epoch} (marked) are the ones evaluated. " if len(kept) else ""
    loss = "The training loss is on the standardised target." if errors else "Validation error: of the probability."
    key = [("line s0", name), ("line s1", "training loss")]
    numbers = {
        "epoch": history["epoch"].tolist(),
        name + unit: validation.tolist(),
        "training loss": history["train_loss"].tolist(),
        "learning rate": history["learning_rate"].tolist(),
    }
    return Figure("Learning curves", charts, caption + loss, key, numbers)


def residual_figure(predictions: pd.DataFrame, scale: Scale) -> Figure | None:
    """Histogram of predicted − reference for the test rows, and as an outline for the training rows."""
    error = (predictions["predicted"] - predictions["target"]) * scale.factor
    test = error[predictions["split"] == "test"].to_numpy()
    if not len(test):
        return None
    reach = float(np.quantile(np.abs(test), 0.98)) * 1.1 or 1.0
    unit = f" ({scale.unit})" if scale.unit else ""
    middle, half = np.median(test), np.median(np.abs(test))
    caption = (
        f"Median error {significant(float(middle))} {scale.unit}; half of the test structures are within "
        f"±{significant(float(half))} {scale.unit}. "
    )
    x = Axis(-reach, reach, f"Predicted − reference{unit}")
    return _errors_figure(predictions["split"], error, x, scale.unit, caption.replace(" .", "."))


def ratio_figure(predictions: pd.DataFrame) -> Figure | None:
    """Histogram of predicted / reference, both above 0, on a logarithmic axis: for errors that count by the value."""
    ratio = predictions["predicted"] / predictions["target"]
    test = ratio[predictions["split"] == "test"].to_numpy()
    if not len(test):
        return None
    away = np.maximum(test, 1 / test)
    reach = float(np.quantile(away, 0.98)) ** 1.1
    reach = reach if reach > 1 else 2.0
    caption = (
        f"Median {significant(float(np.median(test)))} times the reference; half of the test structures are within a "
        f"factor of {significant(float(np.median(away)))}. "
    )
    x = Axis(1 / reach, reach, "Predicted / reference", log=True)
    return _errors_figure(predictions["split"], ratio, x, "", caption)


def _errors_figure(split: pd.Series, error: pd.Series, x: Axis, unit: str, caption: str) -> Figure:
    """Histogram of the errors of the test rows, with those of the training rows as an outline."""
    edges = (np.geomspace if x.log else np.linspace)(x.low, x.high, BINS + 1)
    test, train = (error[split == name].to_numpy() for name in ("test", "train"))
    shares = [np.histogram(values, edges)[0] / max(len(values), 1) * 100 for values in (test, train)]
    chart = Chart(x, upward([*shares[0], *shares[1]], "Share of structures (%)"), "Distribution of residuals.", 235)
    tips = [
        f"{significant(a)} to {f'{significant(b)} {unit}'.rstrip()}: {s:.1f} % of the test structures"
        for a, b, s in zip(edges[:-1], edges[1:], shares[0], strict=True)
    ]
    chart.bars(edges.tolist(), shares[0].tolist(), "bar", tips)
    if len(train):
        chart.outline(edges.tolist(), shares[1].tolist(), "line s1")
    chart.marks.append(_upright(chart, 1.0 if x.log else 0.0))
    beyond = int(((test < x.low) | (test > x.high)).sum())
    caption += f"{format_count(beyond, 'test structure')} beyond the axis." if beyond else ""
    key = [("bar", "test"), ("line s1", "train")] if len(train) else [("bar", "test")]
    ends = [f"{end} ({unit})" if unit else end for end in ("from", "to")]
    numbers = {ends[0]: edges[:-1].tolist(), ends[1]: edges[1:].tolist(), "test (%)": shares[0].tolist()}
    numbers |= {"train (%)": shares[1].tolist()} if len(train) else {}
    return Figure("Residuals", [chart], caption, key, numbers)


def _upright(chart: Chart, x: float) -> Mark:
    return Mark(f"M{float(chart.across(x)):.1f} {chart.top}V{chart.bottom}", "diagonal")


def gate_figure(gates: pd.DataFrame | None, summary: list[dict[str, float]]) -> Figure | None:
    """Mean gate value (0 to 1) against distance (Å), one line for each convolution layer."""
    if gates is None or gates.empty or not summary:
        return None
    layer, distance, gate, edges = (gates[n].to_numpy(float) for n in ("layer", "distance", "mean_gate", "edges"))
    x = Axis(0.0, float(distance.max()) * 1.03, "Distance of the two atoms (Å)")
    chart = Chart(x, Axis(0.0, 1.0, "Mean gate value"), "Mean gate value against distance, by layer.")
    for number, row in enumerate(summary):
        rows = (layer == row["layer"]) & (edges > 0)
        chart.line(distance[rows], gate[rows], f"line s{number % 6}")
    middles = np.unique(distance[edges > 0])
    tips = []
    for middle in middles:
        rows = (distance == middle) & (edges > 0)
        values = ", ".join(f"layer {int(n)} {g:.2f}" for n, g in zip(layer[rows], gate[rows], strict=True))
        tips.append(f"{significant(float(middle))} Å: {values}; {format_count(int(edges[rows][0]), 'edge')}")
    chart.zones(middles, tips)
    said = "; ".join(f"layer {s['layer']} {s['lowest']:.2f} to {s['highest']:.2f}" for s in summary)
    key = [(f"line s{n % 6}", f"layer {s['layer']}") for n, s in enumerate(summary)]
    caption = f"Measured on the trained model, over the edges of its graphs. Lowest to highest of any distance: {said}."
    columns = {"layer": "layer", "distance": "distance (Å)", "mean_gate": "mean gate value", "edges": "edges"}
    numbers = {columns[name]: gates[name][edges > 0].tolist() for name in columns}
    return Figure("Gate value by distance", [chart], caption, key, numbers)


def roc_figure(predictions: pd.DataFrame, auc: float | None) -> Figure | None:
    """True positive rate against false positive rate over all thresholds, for the test rows."""
    test = predictions[predictions["split"] == "test"]
    if auc is None:
        return None
    false, true = roc_curve(test["target"].to_numpy() > 0.5, test["predicted"].to_numpy())
    unit = Axis(0.0, 1.0, "False positive rate")
    chart = Chart(unit, Axis(0.0, 1.0, "True positive rate"), f"ROC curve, area {auc:.3f}.", height=340)
    chart.line([0, 1], [0, 1], "diagonal")
    keep = np.unique(np.linspace(0, len(false) - 1, 600).astype(int))  # as many as the eye can tell apart
    chart.line(false[keep], true[keep], "line s0")
    caption = f"Area under the curve {significant(auc)}; guessing gives 0.5 (dashed)."
    numbers = {"false positive rate": false[keep].tolist(), "true positive rate": true[keep].tolist()}
    return Figure("ROC curve", [chart], caption, numbers=numbers)


def reliability_figure(predictions: pd.DataFrame) -> Figure | None:
    """Observed share of positives against the predicted probability, for the test rows."""
    test = predictions[predictions["split"] == "test"]
    if test.empty:
        return None
    bins = reliability(test["target"].to_numpy() > 0.5, test["predicted"].to_numpy())
    axes = Axis(0.0, 1.0, "Predicted probability"), Axis(0.0, 1.0, "Observed share of positives")
    chart = Chart(*axes, "Reliability of predicted probabilities.", height=340)
    chart.line([0, 1], [0, 1], "diagonal")
    chart.line([b["predicted"] for b in bins], [b["observed"] for b in bins], "line s0")
    for b in bins:
        count = format_count(int(b["count"]), "structure")
        tip = f"predicted {b['predicted']:.2f}, observed {b['observed']:.2f}, {count}"
        chart.dots([b["predicted"]], [b["observed"]], "dot s0", tip)
    columns = {"predicted": "predicted probability", "observed": "observed share", "count": "structures"}
    numbers = {columns[name]: [b[name] for b in bins] for name in columns}
    return Figure("Reliability", [chart], "On the dashed line, a probability means what it says.", numbers=numbers)


def probability_figure(predictions: pd.DataFrame) -> Figure | None:
    """Histogram of the predicted probability in each class, for the test rows."""
    test = predictions[predictions["split"] == "test"]
    if test.empty:
        return None
    edges = np.linspace(0, 1, 26)
    positive = test["target"] > 0.5
    counts = [np.histogram(test["predicted"][rows], edges)[0].astype(float) for rows in (positive, ~positive)]
    y = upward(np.concatenate(counts).tolist(), "Test structures")
    chart = Chart(Axis(0.0, 1.0, "Predicted probability"), y, "Predicted probability by class.")
    tips = [
        f"{a:.2f} to {b:.2f}: {format_count(int(p), 'positive')}, {format_count(int(n), 'negative')}"
        for a, b, p, n in zip(edges[:-1], edges[1:], *counts, strict=True)
    ]
    chart.bars(edges.tolist(), counts[0].tolist(), "bar", tips)
    chart.outline(edges.tolist(), counts[1].tolist(), "line s1")
    key = [("bar", "positive"), ("line s1", "negative")]
    numbers = {"from": edges[:-1].tolist(), "to": edges[1:].tolist()}
    numbers |= {"positive": counts[0].tolist(), "negative": counts[1].tolist()}
    return Figure("Predicted probability by class", [chart], "A good classifier keeps the two apart.", key, numbers)


def group_rows(errors: list[dict[str, Any]], kind: str, scale: Scale | None) -> list[dict[str, Any]]:
    """Rows of a table with bars, of one `kind` of group. Without a `scale`, the values are shares of wrong classes."""
    rows = [row for row in errors if row["kind"] == kind]
    top = max((row["mae"] for row in rows), default=1.0) or 1.0
    return [
        {
            "key": row["key"],
            "count": row["count"],
            "width": round(row["mae"] / top * 100, 1),
            "text": scale.show(row["mae"]) if scale else share(row["mae"]),
            "few": row["count"] < FEW,
        }
        for row in rows
    ]


def element_cells(errors: list[dict[str, Any]], scale: Scale | None) -> dict[str, Any] | None:
    """The cells of the periodic table (position, colour step, text) and the error values between the colour steps."""
    rows = [row for row in errors if row["kind"] == "element"]
    if not rows:
        return None
    factor = scale.factor if scale else 100.0
    unit = scale.unit if scale else "% wrong"
    value = {row["key"]: row["mae"] * factor for row in rows}
    count = {row["key"]: row["count"] for row in rows}
    trusted = [value[s] for s in value if count[s] >= FEW] or list(value.values())
    bounds = colour_bounds(trusted)
    cells = []
    for z, symbol in enumerate(SYMBOLS, start=1):
        row, column = place(z)
        cell = {"symbol": symbol, "row": row, "column": column, "step": None, "few": False, "tip": ""}
        if symbol in value:
            cell["step"] = int(np.searchsorted(bounds, value[symbol], side="right"))
            cell["few"] = count[symbol] < FEW
            cell["text"] = significant(value[symbol], 2)
            cell["tip"] = (
                f"{symbol}: {significant(value[symbol])} {unit}, {format_count(count[symbol], 'test structure')}"
            )
        cells.append(cell)
    return {"cells": cells, "bounds": [f"{b:,.6g}" for b in bounds], "unit": unit}


def colour_bounds(values: list[float], steps: int = 7) -> list[float]:
    """Round values between at most `steps` colours, over the range of `values` without the lowest and highest 5 %."""
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95])
    low, high = min(low, middle / 2), max(high, middle * 1.5)  # elements that are all alike look alike
    if low == high:
        return []
    step = round_step((high - low) / (steps - 1))
    first = int(np.floor(low / step)) + 1
    return [n * step for n in range(first, first + steps - 1) if n * step <= high + step * 0.01]

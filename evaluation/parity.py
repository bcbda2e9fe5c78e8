"""The parity plot: predicted against reference values.

Train and validation rows are drawn as a density of hexagons, test rows as dots in front of it. The script of the page
shows the material nearest to the pointer.
"""

import json
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evaluation.axes import Chart, Figure, Mark, logarithmic, spanning
from evaluation.formatting import format_count
from evaluation.metrics import SPLITS

DENSITY_STEPS = 6
HEXAGON = 4.0  # distance between centres, user units
NAMED_BYTES = 3_000_000  # of names and values in the page; what is beyond is drawn but not named
ALONE = 200  # fewer test rows than this have no density to show


def parity_figure(predictions: pd.DataFrame, name: str, unit: str, caption: str, *, log: bool = False) -> Figure:
    """The parity plot of all rows. Both axes have the same range, with `log` on a logarithmic scale.

    `unit` is that of both columns.
    """
    values = pd.concat([predictions["target"], predictions["predicted"]])
    tail = f" ({unit})" if unit else ""
    short = name if len(name) <= 32 else f"{name[:31]}…"
    axis_of = logarithmic if log else spanning
    axis = axis_of(values, f"Reference {short}{tail}")
    test = predictions[predictions["split"] == "test"]
    rest = predictions[predictions["split"] != "test"]
    alt_text = f"Parity plot of {name}: {format_count(len(test), 'test structure')} over the density of the others."
    chart = Chart(axis, axis_of(values, f"Predicted {short}{tail}"), alt_text, height=340, points=True)
    _draw_density(chart, rest)
    chart.line([axis.low, axis.high], [axis.low, axis.high], "diagonal")
    _draw_test(chart, test)
    key = [("hex", "train and validation, darker is denser")] if len(rest) else []
    if len(test) >= ALONE:
        key.append(("ramp", "test, sparse to dense"))
    elif len(test):
        key.append(("test-dot", "test"))
    return Figure("Predicted against reference", [chart], caption, key)


def _draw_density(chart: Chart, rows: pd.DataFrame) -> None:
    """Draw the density of `rows` as hexagons, coloured by the logarithm of their count."""
    if not len(rows):
        return
    centres, count = hexagons(chart.across(rows["target"]), chart.down(rows["predicted"]), HEXAGON)
    step = np.minimum(np.log2(count), 5).astype(int)
    a, b = HEXAGON / 2, HEXAGON / 12**0.5
    shape = f"l{a:.2f} {b:.2f}v{2 * b:.2f}l{-a:.2f} {b:.2f}l{-a:.2f} {-b:.2f}v{-2 * b:.2f}z"
    for level in np.unique(step):
        path = "".join(f"M{x:.1f} {y - 2 * b:.1f}{shape}" for x, y in centres[step == level])
        chart.marks.append(Mark(path, f"hex h{level}"))


def hexagons(x: NDArray[np.float64], y: NDArray[np.float64], size: float) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Centres (H, 2) of the H cells of a hexagonal grid that hold points, and the number of points (H,) in each.

    `x` and `y` (n,) and `size`, the distance between neighbouring centres, are in user units. The centres of a
    hexagonal grid are those of two rectangular grids shifted by half a cell; each point goes to the nearest centre.
    """
    cell = np.array([size, size * 3**0.5])
    points = np.stack([x, y], axis=1)
    one = np.round(points / cell)
    two = np.floor(points / cell) + 0.5
    nearer = np.square((points / cell - one) * cell).sum(1) <= np.square((points / cell - two) * cell).sum(1)
    centres, count = np.unique(np.where(nearer[:, None], one, two), axis=0, return_counts=True)
    return centres * cell, count


def _draw_test(chart: Chart, test: pd.DataFrame) -> None:
    """Draw the test rows as dots, coloured by the number of other test rows around them, the densest on top."""
    if len(test) < ALONE:
        chart.dots(test["target"], test["predicted"], "test-dot")
        return
    step = density_steps(chart.across(test["target"]), chart.down(test["predicted"]))
    for level in range(DENSITY_STEPS):
        rows = test[step == level]
        chart.dots(rows["target"], rows["predicted"], f"dense d{level}")


def density_steps(x: NDArray[np.float64], y: NDArray[np.float64], cell: float = 8.0) -> NDArray[np.int64]:
    """Colour step (n,) of each point, 0 (sparse) to DENSITY_STEPS − 1 (dense); each step has about as many points.

    The density at a point is the number of points in its square cell of side `cell` (user units) and the eight around.
    """
    column, row = (x // cell).astype(int), (y // cell).astype(int)
    column, row = column - column.min() + 1, row - row.min() + 1
    count = np.zeros((column.max() + 2, row.max() + 2))
    np.add.at(count, (column, row), 1)
    near = sum(np.roll(count, (i, j), (0, 1)) for i in (-1, 0, 1) for j in (-1, 0, 1))
    density = np.asarray(near)[column, row]
    below = np.searchsorted(np.sort(density), density)
    return np.asarray(below * DENSITY_STEPS // len(density), dtype=int)


def label_points(predictions: pd.DataFrame, chart: Chart) -> dict[str, Any]:
    """What the script of the page needs to show the material under the pointer: columns of rows, and the chart's frame.

    Test rows come first, then validation, then train, each split sorted from the largest error to the smallest. Rows
    that would exceed NAMED_BYTES are left out, so the outliers that a reader points at are kept.
    """
    order = predictions["split"].map({name: n for n, name in enumerate(reversed(SPLITS))})
    error = (predictions["predicted"] - predictions["target"]).abs()
    rows = predictions.assign(order=order, error=error).dropna(subset=["order"])
    rows = rows.sort_values(["order", "error", "material_id"], ascending=[True, False, True])
    size = rows["material_id"].map(_size) + rows["formula"].map(_size) + 24
    rows = rows[size.cumsum() <= NAMED_BYTES]
    return {
        "frame": [chart.left, chart.right, chart.bottom, chart.top],
        "range": [chart.x.low, chart.x.high],
        "log": chart.x.log,
        "splits": [[name, int((rows["split"] == name).sum())] for name in reversed(SPLITS)],
        "id": rows["material_id"].tolist(),
        "formula": rows["formula"].tolist(),
        "target": _short(rows["target"]),
        "predicted": _short(rows["predicted"]),
    }


def _size(text: str) -> int:
    """Bytes of a text as JSON in the page, where <, >, & and ' become six characters each."""
    return len(json.dumps(text, ensure_ascii=False).encode()) + 5 * sum(text.count(c) for c in "<>&'")


def _short(values: pd.Series) -> list[float]:
    return [float(f"{value:.6g}") for value in values]

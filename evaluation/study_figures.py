"""The figures of studies, as plain values."""

from collections.abc import Mapping

import pandas as pd

from evaluation.axes import Axis, Chart, Figure, logarithmic
from evaluation.formatting import Scale, significant

COLOURS = 6  # that the style sheet has for lines


def learning_curves(histories: Mapping[str, pd.DataFrame], scale: Scale, *, errors: bool) -> Figure | None:
    """The validation error by epoch of several trainings, by the name of each.

    `errors` says that it is in the target's unit.
    """
    found = {name: rows.dropna() for name, rows in histories.items() if len(rows.dropna())}
    if not found:
        return None
    unit = f" ({scale.unit})" if errors and scale.unit else ""
    factor = scale.factor if errors else 1.0
    curves = {name: (rows["epoch"].to_numpy(float), rows["validation_mae"].to_numpy(float) * factor)
              for name, rows in found.items()}  # fmt: skip
    last = max(epoch[-1] for epoch, _ in curves.values())
    y = logarithmic(
        (v for _, values in curves.values() for v in values), f"Validation {'MAE' if errors else 'error'}{unit}"
    )
    chart = Chart(
        Axis(0.5, last + 0.5, "Epoch"), y, f"Validation error by epoch of {len(curves)} trainings.", height=340
    )
    for number, (epoch, values) in enumerate(curves.values()):
        chart.line(epoch, values, f"line s{number % COLOURS}")
    for number, (name, (epoch, values)) in enumerate(curves.items()):
        tip = f"{name}, epoch {int(epoch[-1])}: {significant(float(values[-1]))}{unit}"
        chart.dots(epoch[-1:], values[-1:], f"dot s{number % COLOURS}", tip)
    key = [(f"line s{number % COLOURS}", name) for number, name in enumerate(curves)]
    numbers = {
        "epoch": [e for epoch, _ in curves.values() for e in epoch.tolist()],
        f"validation error{unit}": [v for _, values in curves.values() for v in values.tolist()],
        "training": [float(n) for n, (epoch, _) in enumerate(curves.values()) for _ in epoch],
    }
    return Figure("Learning curves", [chart], "Each on validation rows of its own.", key, numbers)

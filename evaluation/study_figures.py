"""The figures of studies, as plain values."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from evaluation.axes import Axis, Chart, Figure, Mark, logarithmic, named, spanning
from evaluation.formatting import Scale, format_signed_share, significant
from evaluation.power_law import PowerLaw, structures_for

COLOURS = 6  # that the style sheet has for lines
LONGEST = 26  # characters of a name beside its row


def learning_curves(
    histories: Mapping[str, pd.DataFrame], scale: Scale, caption: str, *, errors: bool = True
) -> Figure | None:
    """The validation error by epoch of several trainings, by the name of each.

    `errors` says that it is in the target's unit, `caption` on which rows it is.
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
        chart.line(epoch, values, _style(number))
    for number, (name, (epoch, values)) in enumerate(curves.items()):
        tip = f"{name}, epoch {int(epoch[-1])}: {significant(float(values[-1]))}{unit}"
        chart.dots(epoch[-1:], values[-1:], f"dot s{number % COLOURS}", tip)
    key = [(_style(number), name) for number, name in enumerate(curves)]
    numbers = {
        "epoch": [e for epoch, _ in curves.values() for e in epoch.tolist()],
        f"validation error{unit}": [v for _, values in curves.values() for v in values.tolist()],
        "training": [float(n) for n, (epoch, _) in enumerate(curves.values()) for _ in epoch],
    }
    return Figure("Learning curves", [chart], caption, key, numbers)


def _style(number: int) -> str:
    """The style of the line with that number: when all colours are used, they come again with dashes."""
    return f"line s{number % COLOURS}" + (" dashed" if number >= COLOURS else "")


class Difference(NamedTuple):
    """A relative difference of two errors, 0.1 for 10 % more, and the ends of its interval."""

    name: str
    middle: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """+10.0 % (+5.0 % to +15.0 %)."""
        return f"{format_signed_share(self.middle)} ({' to '.join(map(format_signed_share, (self.low, self.high)))})"


def difference_figure(found: Sequence[Difference], predicted: Mapping[str, tuple[float, float]]) -> Figure:
    """The differences as dots on the bars of their intervals, one row each; 0 is dashed.

    `predicted` has ranges that somebody predicted for some of them, by name: grey behind them.
    """
    ends = [
        0.0,
        *(e for each in found for e in (each.low, each.high)),
        *(e for pair in predicted.values() for e in pair),
    ]
    x = spanning([100 * end for end in ends], "Difference in MAE (%)")
    alt_text = f"Differences of {len(found)} variants from the full model, with their 95 % intervals."
    names = [each.name if len(each.name) <= LONGEST else f"{each.name[: LONGEST - 1]}…" for each in reversed(found)]
    chart = Chart(x, named(names, ""), alt_text, height=70 + 30 * len(found))
    zero = float(chart.across(0.0))
    for number, each in enumerate(reversed(found)):
        place = number + 0.5
        y = float(chart.down(place))
        if each.name in predicted:
            low, high = (float(chart.across(100 * end)) for end in predicted[each.name])
            box = f"M{low:.1f} {y - 9:.1f}H{high:.1f}V{y + 9:.1f}H{low:.1f}Z"
            chart.marks.append(
                Mark(box, "hex h2", "predicted: " + " to ".join(map(format_signed_share, predicted[each.name])))
            )
        chart.line([100 * each.low, 100 * each.high], [place, place], "line s0")
        chart.dots([100 * each.middle], [place], "dot s0", f"{each.name}: {each.text}")
    chart.marks.append(Mark(f"M{zero:.1f} {chart.top}V{chart.bottom}", "diagonal"))
    caption = (
        "Dots: mean over the seeds. Bars: 95 % intervals. Right of the dashed line, the change makes the model worse."
    )
    caption += " Grey: what the textbook predicts." if predicted else ""
    columns = {"difference (%)": 100.0, "low (%)": 100.0, "high (%)": 100.0}
    values = zip(*[(each.middle, each.low, each.high) for each in found], strict=True)
    numbers = {name: [100 * v for v in column] for name, column in zip(columns, values, strict=True)}
    return Figure("Difference from the full model", [chart], caption, numbers=numbers)


def power_figure(rows: Sequence[Mapping[str, float]], law: PowerLaw, scale: Scale, goal: float | None) -> Figure:
    """The errors of models (`train` structures, `mae` in the unit of the target) and the line through them, log–log.

    With a `goal` the line goes on, dashed, to where it is reached, but not beyond a hundred times the data.
    """
    counts = [float(row["train"]) for row in rows]
    errors = [float(row["mae"]) * scale.factor for row in rows]
    few, many = min(counts), max(counts)
    reached = structures_for(law, goal)[0] if goal else many
    far = min(max(reached, many), 100 * many)
    unit = f" ({scale.unit})" if scale.unit else ""
    ends = [law.error(few) * scale.factor, law.error(far) * scale.factor]
    wanted = [goal * scale.factor] if goal and far == reached else []
    y = logarithmic([*errors, *ends, *wanted], f"Test MAE{unit}")
    alt_text = f"Test MAE of {len(rows)} models against the number of training structures, both logarithmic."
    chart = Chart(logarithmic([few, far], "Training structures"), y, alt_text, height=340)
    chart.line([few, many], [law.error(n) * scale.factor for n in (few, many)], "line s1")
    if far > many:
        chart.line([many, far], [law.error(n) * scale.factor for n in (many, far)], "diagonal")
    for count, error in zip(counts, errors, strict=True):
        chart.dots([count], [error], "dot s0", f"{count:,.0f} structures: {significant(error)}{unit}")
    if wanted:
        chart.dots([reached], wanted, "dot s2", f"the goal, {significant(wanted[0])}{unit}: {reached:,.0f} structures")
    key = [("dot s0", "a model"), ("line s1", "fitted line")] + ([("dot s2", "goal")] if wanted else [])
    numbers = {"structures": counts, f"test MAE{unit}": errors}
    return Figure("Error against training structures", [chart], "Both axes are logarithmic.", key, numbers)

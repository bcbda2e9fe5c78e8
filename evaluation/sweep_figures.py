"""The figures of a sweep: how the search went, what mattered, each key's values against the error, all keys at once."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluation.axes import Axis, Chart, Figure, Mark, Named, Text, logarithmic, named, spanning
from evaluation.formatting import Scale, share, significant

MOST_NAMES = 8  # so many values of a key are shown at equal distances
FEW_FOR_IMPORTANCE = 30
SPREAD = 0.09  # of the height: lines through the same value are drawn beside each other


@dataclass(frozen=True)
class Trial:
    """A trial as it is drawn. `error` is in the shown unit; None where there is none."""

    label: str
    state: str
    error: float | None
    parameters: Mapping[str, Any]
    best: bool = False

    @property
    def tip(self) -> str:
        """What the pointer shows."""
        said = ", ".join(f"{short(key)} {value_text(value)}" for key, value in self.parameters.items())
        return f"{self.label}: {significant(self.error)}{', pruned' if self.state == 'pruned' else ''}; {said}"

    @property
    def style(self) -> str:
        """The class of its dot."""
        return "best-dot" if self.best else "test-dot" if self.state == "complete" else "pruned-dot"


KEY = [("best-dot", "best"), ("test-dot", "finished"), ("pruned-dot", "pruned")]


def short(key: str) -> str:
    """The key without its group: learning_rate."""
    return key.rpartition(".")[2]


def value_text(value: Any) -> str:
    """A value of a key as YAML writes it, numbers with four digits."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, int | float) else str(value)


def key_of(trials: Sequence[Trial]) -> list[tuple[str, str]]:
    """The legend of the dots that are drawn."""
    drawn = {trial.style for trial in trials if trial.error is not None}
    return [(style, text) for style, text in KEY if style in drawn]


def history_figure(trials: Sequence[Trial], scale: Scale) -> Figure:
    """The validation error of each trial in their order, and the best of those finished so far."""
    drawn = [(n, trial) for n, trial in enumerate(trials, 1) if trial.error is not None]
    y = _errors([trial for _, trial in drawn], scale)
    chart = Chart(Axis(0.0, len(trials) + 1.0, "Trial"), y, "Validation error by trial.", height=215)
    steps, best = [], math.inf
    for n, trial in drawn:
        if trial.state == "complete" and trial.error is not None and trial.error < best:
            steps += [(n, best), (n, trial.error)] if math.isfinite(best) else [(n, trial.error)]
            best = trial.error
    if steps:
        steps.append((len(trials), best))
        chart.line([n for n, _ in steps], [error for _, error in steps], "line s1")
    _dots(chart, [float(n) for n, _ in drawn], [trial for _, trial in drawn])
    failed = sum(trial.state == "fail" for trial in trials)
    caption = "In the order in which they were asked for." + (f" {failed} failed: not drawn." if failed else "")
    numbers = {
        "trial": [float(n) for n, _ in drawn],
        f"validation error ({scale.unit})": [t.error or 0.0 for _, t in drawn],
    }
    return Figure("Optimisation history", [chart], caption, [*key_of(trials), ("line s1", "best so far")], numbers)


def importance_figure(importances: Mapping[str, float], finished: int) -> Figure | None:
    """A bar a key: the share of the importance of all keys."""
    if not importances:
        return None
    order = sorted(importances.items(), key=lambda pair: pair[1])
    y, x = named([short(key) for key, _ in order], ""), Axis(0.0, 100.0, "Share (%)")
    chart = Chart(x, y, "Importance of each key.", height=50 + 26 * len(order))
    for place, (key, value) in enumerate(order):
        top, bottom = (float(chart.down(place + side)) for side in (0.78, 0.22))
        right = max(float(chart.across(100 * value)), chart.left + 1)
        chart.marks.append(Mark(f"M{chart.left:.1f} {top:.1f}H{right:.1f}V{bottom:.1f}H{chart.left:.1f}Z", "bar",
                                f"{key}: {share(value)}"))  # fmt: skip
    caption = (
        f"PED-ANOVA: in which keys the best tenth of the {finished} finished trials differs from all "
        f"of them.{' Few trials: read it as a hint.' if finished < FEW_FOR_IMPORTANCE else ''}"
    )
    return Figure("What mattered", [chart], caption, numbers={key: [value] for key, value in order})


def slice_figure(key: str, trials: Sequence[Trial], scale: Scale) -> Figure:
    """The validation error against the values of one key."""
    drawn = [trial for trial in trials if trial.error is not None and key in trial.parameters]
    x = _values(key, drawn)
    chart = Chart(x, _errors(drawn, scale), f"Validation error by {key}.", height=215)
    _dots(chart, [_place(x, trial.parameters[key]) for trial in drawn], drawn)
    return Figure(key, [chart], "")


def parallel_figure(keys: Sequence[str], trials: Sequence[Trial], scale: Scale) -> Figure | None:
    """A line a trial through its values on one vertical axis a key, the last one its validation error."""
    done = sorted((t for t in trials if t.state == "complete"), key=lambda t: t.error or 0.0, reverse=True)
    if len(done) < 2:
        return None
    names = [*map(short, keys), "error"]
    x = named([""] * len(names), "")
    chart = Chart(x, Named(0.0, 1.0, ""), "Parallel coordinates of the trials.", height=215, frame=False)
    axes: list[Axis] = [*(_values(key, done) for key in keys), _errors(done, scale)]
    for rank, trial in enumerate(done):
        shift = SPREAD * (rank / (len(done) - 1) - 0.5)
        places = [_height(axis, trial.parameters[key], shift) for key, axis in zip(keys, axes, strict=False)]
        places.append(float(axes[-1].fraction(trial.error or 0.0)))
        style = "line s1" if trial.best else "line s0" if rank >= 0.75 * len(done) else "other-line"
        chart.line([n + 0.5 for n in range(len(places))], places, style)
        # The line itself is thin: the last mark of it, on the error's axis, is what the pointer finds.
        chart.dots([len(places) - 0.5], [places[-1]], trial.style, trial.tip)
    for n, axis in enumerate(axes):
        middle = float(chart.across(n + 0.5))
        chart.marks.insert(0, Mark(f"M{middle:.1f} {chart.top}V{chart.bottom}", "frame"))
        # In two lines, so that long names do not overlap.
        chart.texts.append(Text(middle, chart.bottom + (12 if n % 2 == 0 else 26), names[n], "middle"))
        for fraction, text in axis.ticks(4):
            height = float(chart.down(fraction))
            chart.texts.append(Text(middle + 5, height, text))
    unit = f", in {scale.unit}" if scale.unit else ""
    caption = f"Finished trials; error: of the validation structures{unit}. Equal values are drawn beside each other."
    key = [("line s1", "best"), ("line s0", "best quarter"), ("other-line", "others")]
    return Figure("All keys at once", [chart], caption, key)


def _height(axis: Axis, value: Any, shift: float) -> float:
    return float(axis.fraction(_place(axis, value))) + (shift if isinstance(axis, Named) else 0.0)


def _dots(chart: Chart, x: Sequence[float], trials: Sequence[Trial]) -> None:
    for place, trial in sorted(zip(x, trials, strict=True), key=lambda pair: KEY[::-1].index(_entry(pair[1]))):
        chart.dots([place], [trial.error or 0.0], trial.style, trial.tip)


def _entry(trial: Trial) -> tuple[str, str]:
    return next(entry for entry in KEY if entry[0] == trial.style)


def _errors(trials: Sequence[Trial], scale: Scale) -> Axis:
    errors = [trial.error for trial in trials if trial.error is not None]
    label = f"Validation error ({scale.unit})" if scale.unit else "Validation error"
    wide = bool(errors) and min(errors) > 0 and max(errors) > 10 * min(errors)
    return logarithmic(errors, label) if wide else spanning(errors, label)


def _values(key: str, trials: Sequence[Trial]) -> Axis:
    """The axis of a key: names for a few values, else numbers."""
    values = {value_text(trial.parameters[key]): trial.parameters[key] for trial in trials}
    numbers = [value for value in values.values() if isinstance(value, int | float) and not isinstance(value, bool)]
    if len(values) <= MOST_NAMES or len(numbers) < len(values):
        order = sorted(values, key=lambda text: (not isinstance(values[text], int | float), values[text] or 0, text)
                       if not isinstance(values[text], str) else (True, 0, text))  # fmt: skip
        return named(order, short(key))
    return (
        logarithmic(numbers, short(key))
        if min(numbers) > 0 and max(numbers) > 20 * min(numbers)
        else spanning(numbers, short(key))
    )


def _place(axis: Axis, value: Any) -> float:
    return axis.names.index(value_text(value)) + 0.5 if isinstance(axis, Named) else float(value)

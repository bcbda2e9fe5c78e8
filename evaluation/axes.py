"""Axes, charts and figures as plain values; the template `parts.html.jinja` draws them as SVG.

Every chart is `WIDTH` SVG user units wide: about the pixels of a phone, or of a third of the page on a desktop. In a
wider column the drawing is scaled up, and the style sheet keeps the size of its text.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.formatting import format_signed, superscript

WIDTH = 360
RIGHT, TOP, BOTTOM = 12, 10, 36


@dataclass(frozen=True)
class Axis:
    """A range of values on a linear or a logarithmic scale, and the label that is printed beside it."""

    low: float
    high: float
    label: str
    log: bool = False

    def fraction(self, values: ArrayLike) -> NDArray[np.float64]:
        """Positions of values along the axis: 0 at `low`, 1 at `high`. The result has the shape of `values`."""
        values = np.asarray(values, dtype=float)
        if self.log:
            return np.log(values / self.low) / math.log(self.high / self.low)
        return (values - self.low) / (self.high - self.low)

    def ticks(self, wanted: int = 5) -> list[tuple[float, str]]:
        """(position along the axis, text) of about `wanted` round values within the range, in ascending order."""
        values, step = self._round_values(wanted)
        decimals = _decimals(step) if step else None
        return [(float(self.fraction(v)), _tick(v, decimals)) for v in values]

    def _round_values(self, wanted: int) -> tuple[list[float], float | None]:
        decades = math.log10(self.high / self.low) if self.log else 0
        if decades > 0.7:
            steps = (1, 2, 5) if decades < 2.2 else (1,)
            exponents = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
            values = [s * 10.0**e for e in exponents for s in steps]
            return [v for v in values if self.low * 0.999 <= v <= self.high * 1.001], None
        step = round_step((self.high - self.low) / wanted)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [n * step for n in range(first, last + 1)], step


def _decimals(step: float) -> int:
    """The fewest decimals that print multiples of `step` exactly: 1 for 0.2, 2 for 0.25."""
    return next((d for d in range(12) if abs(round(step, d) - step) < step * 1e-6), 12)


def _tick(value: float, decimals: int | None) -> str:
    if decimals is None:
        small = value < 1e-3 or value >= 1e5
        return f"10{superscript(round(math.log10(value)))}" if small else f"{value:,g}"
    return format_signed(value, f",.{decimals}f")


def round_step(least: float) -> float:
    """The smallest number of the form 1, 2, 2.5 or 5 × 10ⁿ that is at least `least`, which must be above 0."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(s * power for s in (1, 2, 2.5, 5, 10) if s * power >= least * (1 - 1e-9))


def spanning(values: Iterable[float], label: str, margin: float = 0.04) -> Axis:
    """A linear axis that holds all values, wider by the share `margin` of their range at each end.

    If all values are the same, it extends by a tenth of the value, but at least 0.5, to both sides. Without values it
    holds 0 to 1.
    """
    array = np.fromiter(values, dtype=float)
    low, high = (float(array.min()), float(array.max())) if len(array) else (0.0, 1.0)
    pad = (high - low) * margin or max(abs(high) * 0.1, 0.5)
    return Axis(low - pad, high + pad, label)


def upward(values: Iterable[float], label: str) -> Axis:
    """A linear axis from 0 to 6 % above the largest value; 0 to 1 without values."""
    return Axis(0.0, max(values, default=0.0) * 1.06 or 1.0, label)


def logarithmic(values: Iterable[float], label: str) -> Axis:
    """A logarithmic axis that holds all values. If any is not above 0, a linear axis from 0 instead."""
    array = np.fromiter(values, dtype=float)
    if not len(array) or array.min() <= 0:
        return upward(array.tolist(), label)
    return Axis(float(array.min()) * 0.9, float(array.max()) * 1.1, label, log=True)


@dataclass(frozen=True)
class Mark:
    """One SVG path. `style` names classes of report.css; `tip` is the text shown when the pointer is on the path."""

    d: str
    style: str
    tip: str = ""


@dataclass(frozen=True)
class Named(Axis):
    """An axis with names at equal distances, the first at 0.5, instead of numbers; it goes from 0 to their number."""

    names: tuple[str, ...] = ()

    def ticks(self, wanted: int = 5) -> list[tuple[float, str]]:  # noqa: ARG002  all names are shown
        """(position along the axis, name) of every name."""
        return [((n + 0.5) / len(self.names), name) for n, name in enumerate(self.names)]


def named(names: Sequence[str], label: str) -> Named:
    """An axis with these names."""
    return Named(0.0, float(max(len(names), 1)), label, names=tuple(names))


@dataclass(frozen=True)
class Text:
    """A text within a chart, at `x`, `y` in user units; `anchor` is start, middle or end."""

    x: float
    y: float
    text: str
    anchor: str = "start"


@dataclass(frozen=True)
class Chart:
    """Marks on an x and a y axis. `alt_text` describes the chart for readers who cannot see it; `height` in user units.

    The methods that draw take values in the units of the axes and append to `marks`; later marks cover earlier ones.
    """

    x: Axis
    y: Axis
    alt_text: str
    height: int = 260
    marks: list[Mark] = field(default_factory=list)
    texts: list[Text] = field(default_factory=list)
    frame: bool = True  # draw the two axes
    points: bool = False  # the script names the material under the pointer

    width = WIDTH
    right = WIDTH - RIGHT
    top = TOP

    @cached_property
    def left(self) -> float:
        """x of the y axis, in user units; to its left is room for the label and the longest tick text."""
        return max(46.0, 28 + 6.6 * max((len(text) for _, text in self.y.ticks()), default=0))

    @property
    def bottom(self) -> int:
        """y of the x axis, in user units from the top."""
        return self.height - BOTTOM

    def across(self, values: ArrayLike) -> NDArray[np.float64]:
        """Values on the x axis to user units from the left; same shape."""
        return self.left + self.x.fraction(values) * (self.right - self.left)

    def down(self, values: ArrayLike) -> NDArray[np.float64]:
        """Values on the y axis to user units from the top; same shape."""
        return self.bottom - self.y.fraction(values) * (self.bottom - self.top)

    def line(self, x: ArrayLike, y: ArrayLike, style: str) -> None:
        """Draw a line through the points `x`, `y` (n,); a single point is drawn as a dot."""
        places = [f"{a:.1f} {b:.1f}" for a, b in zip(self.across(x), self.down(y), strict=True)]
        if len(places) == 1:
            self.dots(x, y, f"{style} dot")
        elif places:
            self.marks.append(Mark("M" + "L".join(places), style))

    def dots(self, x: ArrayLike, y: ArrayLike, style: str, tip: str = "") -> None:
        """Draw round dots at `x`, `y` (n,) as one path with one `tip`."""
        places = zip(self.across(x), self.down(y), strict=True)
        path = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in places)
        if path:
            self.marks.append(Mark(path, style, tip))

    def bars(self, edges: Sequence[float], heights: Sequence[float], style: str, tips: Sequence[str]) -> None:
        """Draw a histogram of n columns: `edges` (n + 1,), `heights` (n,) from 0 up, `tips` (n,)."""
        x, y = self.across(edges), self.down(heights)
        for a, b, top, height, tip in zip(x[:-1], x[1:], y, heights, tips, strict=True):
            if height > 0:
                path = f"M{a + 0.5:.1f} {self.bottom}V{top:.1f}H{max(b - 0.5, a + 1):.1f}V{self.bottom}Z"
                self.marks.append(Mark(path, style, tip))

    def outline(self, edges: Sequence[float], heights: Sequence[float], style: str) -> None:
        """Draw the outline of a histogram with `edges` (n + 1,) and `heights` (n,)."""
        steps = np.repeat(np.asarray(edges, dtype=float), 2)
        tops = np.concatenate([[0.0], np.repeat(np.asarray(heights, dtype=float), 2), [0.0]])
        self.line(steps, tops, style)

    def zones(self, x: ArrayLike, tips: Sequence[str]) -> None:
        """Add an invisible strip around each `x` (n,), as high as the chart, that shows its tip of `tips` (n,)."""
        centres = self.across(x)
        middle = (centres[1:] + centres[:-1]) / 2
        edges = np.concatenate([[float(self.left)], middle, [float(self.right)]])
        for a, b, tip in zip(edges[:-1], edges[1:], tips, strict=True):
            self.marks.append(Mark(f"M{a:.1f} {self.top}H{b:.1f}V{self.bottom}H{a:.1f}Z", "zone", tip))


@dataclass(frozen=True)
class Figure:
    """A panel of the page: charts one below the other, a legend, and a caption that says how to read them."""

    title: str
    charts: list[Chart]
    caption: str
    key: list[tuple[str, str]] = field(default_factory=list)  # (style, text)
    numbers: dict[str, list[float]] = field(default_factory=dict)  # columns by name and unit, for the reader's CSV

    @property
    def has_numbers(self) -> bool:
        """Whether the reader can save numbers: `numbers`, or the materials of a chart with named points."""
        return bool(self.numbers) or any(chart.points for chart in self.charts)

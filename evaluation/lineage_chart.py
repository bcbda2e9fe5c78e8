"""The test error of the champions of one source and target over time, as a chart of plain values."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from evaluation.axes import Axis, Chart, Figure, upward
from evaluation.formatting import Scale, significant
from storage.artefact import format_minute
from storage.champions import Decision, Lineage
from storage.registry import Card

MINUTE, HOUR, DAY = 60, 3600, 86400
STEPS = [n * MINUTE for n in (1, 2, 5, 10, 15, 30)] + [n * HOUR for n in (1, 2, 3, 6, 12)]
STEPS += [n * DAY for n in (1, 2, 4, 7, 14, 30, 60, 91, 182)]
YEAR = 365 * DAY


@dataclass(frozen=True)
class TimeAxis(Axis):
    """A range of times in seconds since 1970, with times of day or dates (UTC) as its ticks."""

    def ticks(self, wanted: int = 4) -> list[tuple[float, str]]:
        """(fraction, text) of round times within the range."""
        span = self.high - self.low
        step = next((s for s in STEPS if span / s <= wanted), YEAR * math.ceil(span / wanted / YEAR))
        layout = "%H:%M" if step < DAY else "%-d %b" if step < 30 * DAY else "%b %Y"
        moments = [n * step for n in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]
        return [(float(self.fraction(m)), datetime.fromtimestamp(m, UTC).strftime(layout)) for m in moments]


def time_axis(times: list[float]) -> TimeAxis:
    """An axis around all times (seconds since 1970); around a lone one, of an hour."""
    first, last = min(times), max(times)
    margin = (last - first) * 0.05 or HOUR / 2
    days = [datetime.fromtimestamp(t, UTC).date() for t in (first - margin, last + margin)]
    shown = f"{days[0]:%-d %b %Y}, " if days[1] - days[0] <= timedelta(days=1) else ""
    return TimeAxis(first - margin, last + margin, f"{shown}UTC")


def lineage_figure(lineage: Lineage, cards: Mapping[str, Card], scale: Scale) -> Figure | None:
    """The champion's test error as steps, and a dot for each decision. None where no model has a test error.

    Without a chart, in words alone, where there is one decision only.
    `cards` has the card of each model by its folder; `scale` is the unit in which errors are shown.
    """
    points = [(_seconds(d), error, d) for d in lineage.decisions if (error := _error(cards.get(d.model))) is not None]
    if not points:
        return None
    card = cards[points[-1][2].model]
    name = f"Test {measure_name(card)}"
    shown = {model: (_error(known) or 0.0) * scale.factor for model, known in cards.items()}
    label = f"{name} ({scale.unit})" if scale.unit else name
    heights = [shown[decision.model] for _, _, decision in points]
    y = upward(heights, label) if card.task == "regression" else Axis(0.5 if min(heights) >= 0.5 else 0.0, 1.0, label)
    alt_text = f"{name} of the champions of {lineage.name} over time, {len(points)} decisions."
    chart = Chart(time_axis([at for at, _, _ in points]), y, alt_text, height=170)
    _draw_steps(chart, [(at, shown[d.model]) for at, _, d in points if d.promoted], points[-1][0])
    for at, error, decision in points:
        style = "dot s0" if decision.promoted else "dot s5"
        chart.dots([at], [shown[decision.model]], style, _tip(decision, f"{name} {scale.with_unit(error)}"))
    key = [("line s0", "champion")]
    if not all(decision.promoted for _, _, decision in points):
        key.append(("line s5", "not promoted"))
    caption = _caption(lineage, cards, scale)
    if len(points) == 1:
        return Figure(lineage.name, [], caption)
    numbers = {
        "seconds since 1970": [at for at, _, _ in points],
        label: heights,
        "promoted": [float(decision.promoted) for _, _, decision in points],
    }
    return Figure(lineage.name, [chart], caption, key, numbers)


def measure_name(card: Card) -> str:
    """The card's measure of error, as it is printed: MAE, ROC-AUC."""
    return card.metric.upper().replace("_", "-")


def _draw_steps(chart: Chart, promotions: list[tuple[float, float]], end: float) -> None:
    corners: list[tuple[float, float]] = []
    for at, error in promotions:
        if corners:
            corners.append((at, corners[-1][1]))
        corners.append((at, error))
    if corners:
        corners.append((end, corners[-1][1]))
        chart.line([x for x, _ in corners], [y for _, y in corners], "line s0")


def _error(card: Card | None) -> float | None:
    return card.test if card else None


def _seconds(decision: Decision) -> float:
    return datetime.fromisoformat(decision.at).timestamp()


def _tip(decision: Decision, error: str) -> str:
    became = "back again" if decision.kind == "rollback" else "promoted" if decision.promoted else "not promoted"
    return f"{decision.run}\n{error}\n{became} {format_minute(decision.at)}: {decision.reason}"


def _caption(lineage: Lineage, cards: Mapping[str, Card], scale: Scale) -> str:
    champion = lineage.champion
    if champion is None:
        return "No champion."
    card = cards.get(champion.model)
    if card is None:
        return f"Champion {champion.run} since {champion.at[:10]}."
    error = scale.with_unit(card.test) if scale.unit else significant(card.test)
    note = f" {card.note}" if card.note else ""
    return (
        f"Champion {champion.run} since {champion.at[:10]}: test {measure_name(card)} {error}, "
        f"baseline {scale.with_unit(card.baseline)}.{note}"
    )

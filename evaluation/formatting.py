"""Numbers and names as text for readers."""

import math
import re
import statistics
from collections.abc import Iterable
from typing import Any, NamedTuple

from storage.units import ending_of

MISSING = "–"


class Scale(NamedTuple):
    """The unit in which errors are shown, and the factor to it from the unit of the target."""

    unit: str
    factor: float

    def show(self, value: float | None) -> str:
        """Text of an error that is given in the unit of the target; the text has no unit."""
        return significant(None if value is None else value * self.factor)

    def with_unit(self, value: float | None) -> str:
        """Text of an error that is given in the unit of the target; the text has the shown unit."""
        return f"{self.show(value)} {self.unit}".strip()


def error_scale(unit: str, typical: float | None) -> Scale:
    """The scale for errors like `typical` (in `unit`): meV for errors below 0.1 eV, otherwise `unit` itself."""
    if unit.startswith("eV") and typical is not None and typical < 0.1:
        return Scale(f"m{unit}", 1000.0)
    return Scale(unit, 1.0)


def factor_between(unit: str, wanted: str) -> float:
    """The factor from `unit` to `wanted`. Raises ValueError if they differ by more than the prefix milli."""
    if unit == wanted:
        return 1.0
    if unit == f"m{wanted}":
        return 1e-3
    if wanted == f"m{unit}":
        return 1e3
    raise ValueError(f"no factor from {unit!r} to {wanted!r}")


def significant(value: float | None, digits: int = 3) -> str:
    """`value` with `digits` significant digits, thousands separators and the sign −; a dash for None, NaN, infinity."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if exponent < -4:
        return f"{format_signed(value, f'.{digits - 1}f', 10.0**-exponent)}×10{superscript(exponent)}"
    return format_signed(value, f",.{max(0, digits - 1 - exponent)}f")


def decimals(errors: Iterable[float]) -> int:
    """The number of decimals that shows the median of `errors` with three significant digits."""
    sizes = [abs(error) for error in errors if error]
    return max(0, 2 - math.floor(math.log10(statistics.median(sizes)))) if sizes else 3


def fixed(value: float, decimals: int) -> str:
    """`value` with a given number of decimals, for a column of numbers."""
    return format_signed(value, f",.{decimals}f")


def plus_minus(value: float, spread: float) -> str:
    """39.1 ± 2.6: the spread with two significant digits, the value with as many decimals; no ± for no spread."""
    if not math.isfinite(value) or not math.isfinite(spread) or spread <= 0:
        return significant(value)
    places = max(0, 1 - math.floor(math.log10(float(f"{spread:.1e}"))))
    return f"{fixed(value, places)} ± {fixed(spread, places)}"


def format_signed(value: float, layout: str, factor: float = 1.0) -> str:
    """`value` × `factor` in the format `layout`, with − for a negative number, and no sign if it is rounded to zero."""
    text = format(value * factor, layout)
    return text.replace("-", "−") if re.search("[1-9]", text) else text.removeprefix("-")


def superscript(number: int) -> str:
    """An integer in superscript digits."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def duration(seconds: float) -> str:
    """Seconds as 12.3 s, 4 min 10 s or 2 h 5 min."""
    if seconds < 60:
        return f"{significant(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def throughput(structures: float, edges: float) -> str:
    """What a training works through: 740 structures/s, 102,600 edges/s."""
    return f"{significant(structures)} structures/s, {round(edges, 3 - len(str(int(edges)))):,.0f} edges/s"


def processes(count: int) -> str:
    """1 process, 2 processes."""
    return f"{count:,} process" if count == 1 else f"{count:,} processes"


def format_target(target: str) -> str:
    """The name of a target without its unit: `formation_energy_per_atom_ev` becomes "formation energy"."""
    return target[: len(target) - len(ending_of(target))].replace("_", " ").strip() or target


def format_count(number: int, noun: str) -> str:
    """1 structure, 2 structures, 48,399 structures."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def verdict(metrics: dict[str, Any], scale: Scale) -> str:
    """The report in one sentence: the test error, compared with the baseline, and the number of test rows."""
    test = metrics["test"]
    if not test["count"]:
        return "No test rows: nothing is claimed about new materials."
    rows = format_count(test["count"], "test structure")
    if metrics["task"] == "classification":
        return (
            f"Test ROC-AUC {significant(test['roc_auc'])}; {share(test['accuracy'])} put in the right class, "
            f"against {share(test['baseline_accuracy'])} by always naming the more frequent one; {rows}."
        )
    return f"Test MAE {scale.with_unit(test['mae'])}{_against_mean(test['mae'], test['baseline_mae'])}; {rows}."


def _against_mean(error: float, baseline: float | None) -> str:
    if not baseline or not error:
        return ""
    ratio = baseline / error
    if ratio >= 1:
        times = f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.1f}"
        return f", {times}× better than predicting the mean"
    return f", {1 / ratio:.1f}× worse than predicting the mean"


def share(value: float | None) -> str:
    """0.912 becomes 91.2 %; None becomes a dash."""
    return MISSING if value is None else f"{value:.1%}".replace("%", " %")


def format_signed_share(value: float) -> str:
    """0.0312 becomes +3.1 %, −0.0312 becomes −3.1 %."""
    return format_signed(value, "+.1f", 100.0) + " %"

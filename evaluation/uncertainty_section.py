"""The section of the report on an ensemble's uncertainty: two figures and a table, as plain values."""

from typing import Any

from evaluation.axes import Axis, Chart, Figure, upward
from evaluation.formatting import Scale, share, significant

HEIGHT = 330


def gather(found: dict[str, Any] | None, scale: Scale) -> dict[str, Any] | None:
    """The section by the names that the template uses; `found` is `uncertainty` of metrics.json. None without one."""
    if found is None:
        return None
    return {
        "calibration": calibration_figure(found),
        "rejection": rejection_figure(found["rejection"], scale),
        "levels": [{name: share(row[name]) for name in ("expected", "observed")} for row in found["coverage"]],
        "rows": rows(found, scale),
        "caption": _caption(found, scale),
    }


def rows(found: dict[str, Any], scale: Scale) -> list[tuple[str, str]]:
    """(label, text) of the numbers that are no curve."""
    interval = found["interval"]
    return [
        ("Values in their interval", f"{share(interval['observed'])}, promised {share(interval['promised'])}"),
        ("Median width of an interval", scale.with_unit(interval["median_width"])),
        ("Uncertainty, root mean square", scale.with_unit(found["root_mean_square"])),
        ("Negative log-likelihood", significant(found["negative_log_likelihood"])),
        ("The same, one uncertainty for all", significant(found["constant_negative_log_likelihood"])),
        ("Miscalibration area", significant(found["miscalibration_area"])),
        ("Rank correlation with the error", significant(found["rank_correlation"])),
    ]


def _caption(found: dict[str, Any], scale: Scale) -> str:
    set_by = found["calibration"]
    factor, quantile = significant(set_by["factor"]), significant(set_by["quantile"])
    how = f"{_what_is_calibrated(found['members'])}, calibrated on {set_by['rows']:,} validation structures: "
    if found.get("relative"):
        return (
            f"{how}uncertainty = predicted × {factor} × √(deviation² + floor²), with the deviation of the logarithms, "
            f"floor {significant(set_by['floor'])}; the interval is a factor exp({quantile} × uncertainty / predicted) "
            "below and above the prediction."
        )
    return (
        f"{how}uncertainty = {factor} × √(deviation² + floor²), floor {scale.with_unit(set_by['floor'])}; "
        f"interval = predicted ± {quantile} × uncertainty."
    )


def _what_is_calibrated(members: int) -> str:
    return "The deviation that the model predicts" if members == 1 else f"The deviation of {members} members"


def calibration_figure(found: dict[str, Any]) -> Figure:
    """The observed share of test rows within each central interval of a normal distribution."""
    curve, area = found["calibration_curve"], significant(found["miscalibration_area"])
    axes = Axis(0.0, 1.0, "Expected share in the interval"), Axis(0.0, 1.0, "Observed share")
    chart = Chart(*axes, f"Calibration curve, miscalibration area {area}.", height=HEIGHT)
    chart.line([0, 1], [0, 1], "diagonal")
    chart.line(curve["expected"], curve["observed"], "line s0")
    tips = [f"expected {share(e)}, observed {share(o)}" for e, o in zip(*curve.values(), strict=True)]
    chart.zones(curve["expected"], tips)
    caption = (
        "On the dashed line, errors are as large as the uncertainties say; below it, larger; above it, smaller. "
        f"The area between the two is {area}."
    )
    numbers = {"expected share": curve["expected"], "observed share": curve["observed"]}
    return Figure("Calibration", [chart], caption, numbers=numbers)


def rejection_figure(found: dict[str, Any], scale: Scale) -> Figure:
    """The MAE of the test rows that are left without the most uncertain ones, and at best."""
    unit = f" ({scale.unit})" if scale.unit else ""
    rejected = [100 * value for value in found["rejected"]]
    left, best = ([value * scale.factor for value in found[name]] for name in ("mae", "best_mae"))
    x = Axis(0.0, 100.0, "Most uncertain structures left out (%)")
    y = upward([*left, *best], f"MAE of the others{unit}")
    chart = Chart(x, y, "MAE without the most uncertain structures.", height=HEIGHT)
    chart.line([0, rejected[-1]], [left[0], left[0]], "line s5")
    chart.line(rejected, best, "line s1")
    chart.line(rejected, left, "line s0")
    tips = [
        f"without {r:.0f} %: MAE {significant(one)} {scale.unit}, at best {significant(other)}"
        for r, one, other in zip(rejected, left, best, strict=True)
    ]
    chart.zones(rejected, tips)
    key = [("line s0", "by uncertainty"), ("line s1", "by the error itself"), ("line s5", "at random")]
    caption = "The steeper it falls, the better the uncertainty tells which predictions to trust."
    numbers = {"left out (%)": rejected, f"MAE of the others{unit}": left, f"at best{unit}": best}
    return Figure("Rejection", [chart], caption, key, numbers)

"""Program: the report of a learning curve: the error against the number of training structures, and a goal's need."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa

from evaluation.formatting import Scale, error_scale, plus_minus, share, significant
from evaluation.power_law import PowerLaw, fit, structures_for
from evaluation.study_figures import power_figure
from evaluation.study_models import TrainedModel
from evaluation.study_page import Number, Section, StudyAbout, StudyPage, Table, write
from storage.errors import InputError
from storage.program import Facts, Spec, main
from storage.schemas import CURVE, write_table

Rows = list[dict[str, Any]]


class CurveSpec(Spec):
    """The models, and the error that is wanted, in the unit of the target."""

    about: StudyAbout
    models: list[TrainedModel]
    goal: float | None = None


def build(spec: CurveSpec) -> Facts:
    """Write the page, curve.parquet and fit.json. Raises InputError if the shares are of the same number of rows."""
    rows = [_row(model) for model in spec.models]
    counts, errors, shares = ([row[name] for row in rows] for name in ("train", "mae", "share"))
    if min(counts) == max(counts):
        raise InputError(f"shares: all are {counts[0]:,} training rows; choose others")
    write_table(pa.Table.from_pylist(rows, CURVE), spec.output / "curve.parquet")
    law = fit(counts, errors, shares)
    needed = structures_for(law, spec.goal) if spec.goal else None
    found: dict[str, float | None] = {
        "exponent": law.exponent,
        "low": law.low,
        "high": law.high,
        "log_error_at_1": law.intercept,
    }
    found |= {"goal": spec.goal, "structures": needed[0], "from": needed[1], "to": needed[2]} if needed else {}
    text = json.dumps({name: _finite(value) for name, value in found.items()}, indent=1, allow_nan=False)
    (spec.output / "fit.json").write_text(text, encoding="utf-8")
    return write(page_of(spec, rows, law), spec.output)


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _row(model: TrainedModel) -> dict[str, Any]:
    errors = model.errors("regression")
    return {
        "share": model.parameters["split"].get("train_share", 1.0),
        "seed": model.parameters["train"]["seed"],
        "train": model.split["train"],
        "epochs": model.epochs,
        "mae": errors["mae"],
        "rmse": errors["rmse"],
    }


def page_of(spec: CurveSpec, rows: Rows, law: PowerLaw) -> StudyPage:
    """The page: the verdict is the exponent, what twice the data gives, and what the goal needs."""
    scale = error_scale(spec.about.unit, min(row["mae"] for row in rows))
    few, many = (f(row["train"] for row in rows) for f in (min, max))
    best = float(np.mean([row["mae"] for row in rows if row["train"] == many]))
    exponent = f"{law.exponent:.2f}{_interval(law.low, law.high)}".replace("-", "−")
    verdict = (
        f"The test MAE falls as N^−b with b = {exponent} from {few:,} to {many:,} training structures: {_twice(law)}."
    )
    goal = about_goal(law, spec.goal, scale, many) if spec.goal else about_half(law, many)
    counts = [Number("Exponent b", f"{law.exponent:.2f}".replace("-", "−"))]
    counts += (
        [Number("Its 95 % interval", f"{law.low:.2f} to {law.high:.2f}".replace("-", "−"))] if law.sizes > 2 else []
    )
    counts += [Number(f"MAE at {many:,}", scale.show(best), scale.unit), Number("Models", str(len(rows)))]
    figure = power_figure(rows, law, scale, spec.goal)
    return StudyPage(
        about=spec.about,
        verdict=f"{verdict} {goal}",
        headline=f"MAE falls as N^−b, b = {exponent}; {scale.with_unit(best)} at {many:,} structures",
        models=len(rows),
        numbers=counts,
        sections=[
            Section(
                "The learning curve",
                tables=[_table(rows, law, scale, _how_long(rows, spec))],
                figures=[(figure, "half")],
            )
        ],
    )


def _interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f" (95 % interval {low:.2f} to {high:.2f})".replace("-", "−")


def _twice(law: PowerLaw) -> str:
    change = 1 - 2**-law.exponent
    return f"twice the data, {share(abs(change))} {'less' if change > 0 else 'more'} error"


def about_goal(law: PowerLaw, goal: float, scale: Scale, largest: int) -> str:
    """How many structures the goal (in the unit of the target) needs, and how far beyond the data that is."""
    wanted = scale.with_unit(goal)
    middle, low, high = structures_for(law, goal)
    if not math.isfinite(middle) or middle > 1e12:
        return f"For {wanted} the line gives no number of structures: the error hardly falls."
    needs = f"For {wanted} the line asks for about {_about(middle)} training structures"
    if math.isnan(low):
        ends = "no interval" if law.sizes < 3 else "the data do not bound that: the exponent's interval holds 0"
        return f"{needs} ({ends}). {_caution(middle, largest)}"
    return f"{needs} (95 % interval {_about(low)} to {_about(high)}). {_caution(middle, largest)}"


def about_half(law: PowerLaw, largest: int) -> str:
    """What half the error would need."""
    if law.exponent <= 0.01:
        return "More data of this kind would hardly help."
    factor = 2 ** (1 / law.exponent)
    return f"Half the error would need {significant(factor, 2)} times the data. {_caution(factor * largest, largest)}"


def _caution(needed: float, largest: int) -> str:
    if needed <= largest:
        return "That is within the range that was measured."
    return (
        f"That is {significant(needed / largest, 2)} times the largest training set, an extrapolation: the line holds "
        "as long as the model is large enough and the labels are exact enough, and it cannot say for how long."
    )


def _about(count: float) -> str:
    """A number of structures with two significant digits."""
    if count > 1e15:
        return "10¹⁵ or more"
    return f"{float(f'{count:.1e}'):,.0f}"


def _table(rows: Rows, law: PowerLaw, scale: Scale, how_long: str) -> Table:
    cells = []
    for part in sorted({row["share"] for row in rows}):
        found = [row for row in rows if row["share"] == part]
        count = float(np.mean([row["train"] for row in found]))
        errors = np.array([row["mae"] for row in found]) * scale.factor
        spread = float(errors.std(ddof=1)) if len(errors) > 1 else 0.0
        line = scale.show(law.error(count))
        cells.append([f"{part:.4g}", f"{count:,.0f}", plus_minus(float(errors.mean()), spread), line, _epochs(found)])
    unit = f" ({scale.unit})" if scale.unit else ""
    seeds = len({row["seed"] for row in rows})
    what = f"Mean ± standard deviation over {seeds} seeds" if seeds > 1 else "One model a share"
    return Table(
        "Error by training structures",
        ["Share", "Structures", f"Test MAE{unit}", f"Line{unit}", "Epochs"],
        cells,
        caption=f"{what}: another seed has other initial weights and another part of "
        "the training rows. The test rows are the same for all; a smaller part lies within a larger one. "
        f"{how_long}. The line is fitted to the means of the logarithms; its interval is Student's t of their scatter "
        "about it.",
        width="half",
    )


def _how_long(rows: Rows, spec: CurveSpec) -> str:
    minutes = spec.about.configuration.get("train", {}).get("minutes")
    if minutes:
        return f"Each training took {minutes:g} minutes, however many epochs that were"
    if len({row["epochs"] for row in rows}) > 1:
        return "The number of epochs grows as the rows become fewer, so that their steps are not as few"
    return "All models saw their rows equally often, so those with few rows took fewer steps"


def _epochs(rows: Rows) -> str:
    few, many = (f(row["epochs"] for row in rows) for f in (min, max))
    return f"{few:,}" if few == many else f"{few:,}–{many:,}"


if __name__ == "__main__":
    main(CurveSpec, build)

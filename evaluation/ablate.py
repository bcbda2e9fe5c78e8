"""Program: the report of an ablation: how much worse a model is without one of its parts, with intervals."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from evaluation.bootstrap import relative_difference
from evaluation.formatting import Scale, error_scale, format_count, format_signed_share, plus_minus, significant
from evaluation.study_figures import Difference, difference_figure, learning_curves
from evaluation.study_models import TrainedModel, absolute_errors
from evaluation.study_page import Number, Section, StudyAbout, StudyPage, Table, write
from storage.program import Facts, Spec, main
from storage.schemas import ABLATION, write_table

GATE = {"model": {"gate": False}}  # the only difference of the variant that the textbook predicts something for
PREDICTED = (0.5, 1.0)  # of the error, in the textbook's exercise 9


class AblateSpec(Spec):
    """The models by variant, one a seed, the full model's first; and the settings in which each variant differs."""

    about: StudyAbout
    variants: dict[str, list[TrainedModel]]
    settings: dict[str, dict[str, Any]]


def build(spec: AblateSpec) -> Facts:
    """Write the page and ablation.parquet."""
    models = [model for found in spec.variants.values() for model in found]
    errors = absolute_errors(models)
    ends = np.cumsum([len(found) for found in spec.variants.values()])
    by_variant = dict(zip(spec.variants, np.split(errors, ends[:-1]), strict=True))
    full = next(iter(spec.variants))
    found = {
        name: Difference(name, *((0.0, 0.0, 0.0) if name == full else relative_difference(rows, by_variant[full])))
        for name, rows in by_variant.items()
    }
    rows = [_row(spec, name, by_variant[name], found[name]) for name in spec.variants]
    write_table(pa.Table.from_pylist(rows, ABLATION), spec.output / "ablation.parquet")
    return write(page_of(spec, rows, list(found.values())[1:], errors), spec.output)


def _row(spec: AblateSpec, name: str, errors: NDArray[np.float64], found: Difference) -> dict[str, Any]:
    means = errors.mean(axis=1)
    return {
        "variant": name,
        "settings": json.dumps(spec.settings[name], ensure_ascii=False),
        "seeds": len(means),
        "parameters": spec.variants[name][0].weights,
        "mae": float(means.mean()),
        "mae_deviation": float(means.std(ddof=1)) if len(means) > 1 else None,
        "difference": found.middle,
        "low": found.low,
        "high": found.high,
    }


def page_of(
    spec: AblateSpec, rows: list[dict[str, Any]], found: list[Difference], errors: NDArray[np.float64]
) -> StudyPage:
    """The page. `rows` are those of the table, `found` the differences from the full model."""
    scale = error_scale(spec.about.unit, rows[0]["mae"])
    without_gate = next((each for each in found if spec.settings[each.name] == GATE), None)
    largest = max(found, key=lambda each: each.middle)
    structures = format_count(errors.shape[1], "test structure")
    seeds = f"{format_count(rows[0]['seeds'], 'seed')} each"
    head = f"The full model's test MAE is {_error(rows[0], scale)} {scale.unit}".rstrip()
    said = about_gate(without_gate) if without_gate else f"The largest difference is {largest.name}: {largest.text}."
    numbers = [
        Number("Full model, MAE", _error(rows[0], scale), scale.unit),
        *([Number("Without the gate", format_signed_share(without_gate.middle))] if without_gate else []),
        Number("Variants", str(len(found))),
        Number("Seeds", str(rows[0]["seeds"])),
        Number("Test structures", f"{errors.shape[1]:,}"),
    ]
    first = without_gate or largest
    return StudyPage(
        about=spec.about,
        verdict=f"{said} {head} on {structures}, {seeds}.",
        headline=f"{first.name}: {first.text}; full model {_error(rows[0], scale)} {scale.unit}".rstrip(),
        models=sum(row["seeds"] for row in rows),
        numbers=numbers,
        sections=_sections(spec, rows, found, scale),
    )


def about_gate(found: Difference) -> str:
    """Whether the loss that the textbook predicts without the gate shows, in a sentence that says how sure that is."""
    low, high = PREDICTED
    predicted = "50–100 %"
    if found.low >= low and found.high <= high:
        ends = f"the loss of {predicted} that the textbook predicts shows"
    elif found.low > high:
        ends = f"more than the {predicted} that the textbook predicts"
    elif found.high >= low:
        ends = f"the interval does not decide whether the loss of {predicted} that the textbook predicts shows"
    elif found.low > 0:
        ends = f"a loss, but not the {predicted} that the textbook predicts"
    elif found.high >= 0:
        ends = f"no loss that can be told from zero; the {predicted} that the textbook predicts does not show"
    else:
        ends = f"no loss but a gain; the {predicted} that the textbook predicts does not show"
    return f"Without the gate the MAE changes by {found.text}: {ends}."


def _sections(spec: AblateSpec, rows: list[dict[str, Any]], found: list[Difference], scale: Scale) -> list[Section]:
    predicted = {each.name: PREDICTED for each in found if spec.settings[each.name] == GATE}
    histories = {name: models[0].learning() for name, models in spec.variants.items()}
    learning = learning_curves(histories, scale, "The first seed of each, on the validation rows that all share.")
    figures = [(difference_figure(found, predicted), "half"), *([(learning, "half")] if learning else [])]
    tables = [_table(rows, found, scale), _settings_table(rows)]
    return [Section("What each part is worth", tables=tables, figures=figures)]


def _table(rows: list[dict[str, Any]], found: list[Difference], scale: Scale) -> Table:
    ends = ["", *(f"{format_signed_share(each.low)} to {format_signed_share(each.high)}" for each in found)]
    middles = ["", *(format_signed_share(each.middle) for each in found)]
    cells = [
        [row["variant"], _error(row, scale), middle, end] for row, middle, end in zip(rows, middles, ends, strict=True)
    ]
    unit = f" ({scale.unit})" if scale.unit else ""
    return Table(
        "The variants",
        ["Variant", f"Test MAE{unit}", "Difference", "95 % interval"],
        cells,
        caption="MAE: mean ± standard deviation over the seeds. The interval is a bootstrap over test structures, the "
        "same for both models, and over each model's seeds: it holds what other test structures of this kind and other "
        f"seeds would change, not what another data set would. {_about_seeds(rows[0]['seeds'])}",
        best=0,
        width="half",
    )


def _settings_table(rows: list[dict[str, Any]]) -> Table:
    cells = [[row["variant"], _settings(json.loads(row["settings"])), f"{row['parameters']:,}"] for row in rows]
    return Table("Their settings", ["Variant", "Settings", "Weights"], cells, words=2, width="half")


def _about_seeds(seeds: int) -> str:
    if seeds == 1:
        return "With one seed, it knows nothing of seeds: small differences may be chance."
    return f"From {seeds} seeds their spread is known only roughly." if seeds < 5 else ""


def _settings(changed: dict[str, Any]) -> str:
    said = [f"{group}.{key}={json.dumps(value)}" for group, values in changed.items() for key, value in values.items()]
    return ", ".join(said) or "as given"


def _error(row: dict[str, Any], scale: Scale) -> str:
    if row["mae_deviation"] is None:
        return significant(row["mae"] * scale.factor)
    return plus_minus(row["mae"] * scale.factor, row["mae_deviation"] * scale.factor)


if __name__ == "__main__":
    main(AblateSpec, build)

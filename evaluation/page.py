"""Program: make a report, report.html (one file that needs no network) and summary.md, from stored tables."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from evaluation import figures, formatting, uncertainty_section, zeros
from evaluation.html import render
from evaluation.metrics import SPLITS
from evaluation.parity import label_points, parity_figure
from evaluation.summary import summary
from storage.program import Facts, Spec, main

log = logging.getLogger(__name__)

N_EXAMPLES = 20  # rejected and conflicting rows that are listed; all of them are in the tables


class Subject(BaseModel):
    """What is learned from what, and with which settings: of one run, or in common of all models of a study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run: str
    source: str
    title: str
    note: str
    target: str
    unit: str
    task: str
    configuration: dict[str, Any]

    @property
    def relative(self) -> bool:
        """Whether an error counts relative to the value: the network learned logarithms."""
        return bool(self.configuration.get("model", {}).get("head") == "log")


class Auxiliary(BaseModel):
    """How well a property is learned beside the target; None where no validation row has it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    validation_mae: float | None

    @property
    def text(self) -> str:
        """Its error, as the page tells it."""
        return "no value" if self.validation_mae is None else f"{self.validation_mae:.4g} {self.unit}".rstrip()


class About(Subject):
    """What the page says about the run that is not in its tables: names, counts, settings and cost."""

    date: str
    rows: int
    accepted: int
    rejected: int
    by_rule: dict[str, int]
    conflicts: int
    split: dict[str, int]
    split_by: str
    parameters: int
    epochs: int
    kept_epoch: int  # 0 where the members of an ensemble kept different ones
    members: int = 1
    seconds: float
    structures_per_second: float
    edges_per_second: float
    data_wait: float  # share of the time
    peak_memory_mib: int  # of one process
    processes: int
    auxiliary: dict[str, Auxiliary] = {}
    data: str  # resident or streaming
    device: str
    graph_edges: int
    atoms: int
    orbits: int
    material_page: str | None = None  # address of a material's page, with {id}


class ReportSpec(Spec):
    """Paths of the tables of one run. `evaluation` is the folder that evaluation.evaluate wrote."""

    evaluation: Path
    comparison: Path | None = None
    predictions: Path
    history: Path
    gates: Path | None = None
    rejected: list[Path] = Field([], description="Tables of rejected rows.")
    conflicts: Path | None = None
    about: About


def build(spec: ReportSpec) -> Facts:
    """Write report.html and summary.md; return the size of the page and its first sentence."""
    view = gather(spec)
    page = render("report.html.jinja", view)
    (spec.output / "report.html").write_text(page, encoding="utf-8")
    (spec.output / "summary.md").write_text(summary(view), encoding="utf-8")
    log.info("report.html: %s", formatting.format_count(len(page.encode()), "byte"))
    return {"bytes": len(page.encode()), "verdict": view["verdict"]}


def gather(spec: ReportSpec) -> dict[str, Any]:
    """Read the tables and compute all that the page and the summary show, by the name that the template uses."""
    about = spec.about
    metrics = json.loads((spec.evaluation / "metrics.json").read_text(encoding="utf-8"))
    errors = pq.read_table(spec.evaluation / "errors.parquet").to_pylist()
    predictions = _rows(spec.predictions, ["material_id", "formula", "split", "target", "predicted"])
    predictions = predictions[predictions["split"].isin(SPLITS)]
    yes_or_no = about.task == "classification"
    scale = formatting.error_scale(about.unit, metrics["test"].get("mae"))
    by = None if yes_or_no else scale
    worst = pq.read_table(spec.evaluation / "worst.parquet").to_pylist()
    view = {
        "about": about,
        "metrics": metrics,
        "name": formatting.format_target(about.target),
        "scale": scale,
        "yes_or_no": yes_or_no,
        "verdict": formatting.verdict(metrics, scale),
        "positive": _positive(about),
        "splits": [(name, metrics[name]) for name in SPLITS if metrics[name]["count"]],
        "elements": figures.group_rows(errors, "elements", by),
        "systems": figures.group_rows(errors, "crystal_system", by),
        "space_groups": figures.group_rows(errors, "space_group", by),
        "distances": figures.group_rows(errors, "distance", by),
        "distance": distance_note(metrics["distance"]),
        "zeros": figures.group_rows(errors, "zero", by),
        "zero_note": _zero_note(metrics.get("zeros"), scale),
        "periodic": figures.element_cells(errors, by),
        "gates": figures.gate_figure(_optional(spec.gates), metrics["gates"]),
        "learning": figures.learning_figure(_rows(spec.history), about.kept_epoch, scale, errors=not yes_or_no),
        "worst": worst,
        "places": formatting.decimals(row["error"] for row in worst),
        "rejected": [row for path in spec.rejected for row in _first(path)][:N_EXAMPLES],
        "conflicts": _first(spec.conflicts) if spec.conflicts else [],
        "settings": settings(about.configuration),
        "comparison": comparison_rows(spec.comparison, scale, about.unit),
        "uncertainty": uncertainty_section.gather(metrics.get("uncertainty"), scale),
        "epochs": _epochs(about),
    }
    return view | (_of_classes(predictions, metrics) if yes_or_no else _of_values(predictions, view))


def _zero_note(found: dict[str, Any] | None, scale: formatting.Scale) -> str:
    return zeros.note(found, scale.with_unit(found["threshold"])) if found else ""


def _of_values(predictions: pd.DataFrame, view: dict[str, Any]) -> dict[str, Any]:
    about: About = view["about"]
    caption = f"{about.note} " if about.note else ""
    parity = parity_figure(predictions, view["name"], about.unit, caption, log=about.relative)
    points = label_points(predictions, parity.charts[0])
    relative = about.relative
    residuals = figures.ratio_figure(predictions) if relative else figures.residual_figure(predictions, view["scale"])
    if len(points["id"]) < len(predictions):
        kept = f"{len(points['id']):,} of {len(predictions):,} structures, those of the test split first"
        parity = replace(parity, caption=f"{caption}The page names {kept}; its CSV has these alone.")
    return {
        "main": [parity],
        "beside": [f for f in (residuals,) if f],
        "points": points,
        "published": published_rows(view),
    }


def _of_classes(predictions: pd.DataFrame, metrics: dict[str, Any]) -> dict[str, Any]:
    shown = [figures.roc_figure(predictions, metrics["test"]["roc_auc"]), figures.reliability_figure(predictions)]
    return {
        "main": [f for f in shown if f],
        "beside": [f for f in (figures.probability_figure(predictions),) if f],
        "points": None,
        "published": [],
    }


def comparison_rows(path: Path | None, scale: formatting.Scale, unit: str) -> dict[str, Any] | None:
    """The decision about promotion, and tables of (label, text): errors of both models, and how the data changed."""
    if path is None:
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    errors, drift = found["errors"], found["drift"]
    shown: dict[str, Any] = {"promoted": found["promoted"], "reason": found["reason"], "errors": [], "drift": []}
    if errors and errors["common"]:
        interval = " to ".join(formatting.format_signed_share(errors[f"worse_{end}"]) for end in ("low", "high"))
        shown["errors"] = [
            ("Test materials in common", f"{errors['common']:,}"),
            ("MAE of the champion", scale.with_unit(errors["champion_mae"])),
            ("MAE of this model", scale.with_unit(errors["challenger_mae"])),
            ("Difference", f"{formatting.format_signed_share(errors['worse'])} ({interval})"),
        ]
    if drift:
        shown["drift"] = drift_rows(drift, unit)
    return shown


def drift_rows(drift: dict[str, Any], unit: str) -> list[tuple[str, str]]:
    """(label, text) for each way in which the data differs from the champion's."""
    elements = {name: ", ".join(drift[name]) or "none" for name in ("new_elements", "gone_elements")}
    means = (f"{formatting.significant(drift[n])} {unit}".strip() for n in ("champion_mean", "mean"))
    spreads = (f"{formatting.significant(drift[n])}" for n in ("champion_standard_deviation", "standard_deviation"))
    return [
        ("Materials", f"{drift['champion_materials']:,} → {drift['materials']:,}"),
        ("New, gone", f"{drift['new']:,}, {drift['gone']:,}"),
        ("New elements", elements["new_elements"]),
        ("Elements gone", elements["gone_elements"]),
        ("Mean of the target", " → ".join(means)),
        ("Its standard deviation", " → ".join(spreads)),
        ("Largest gap of its distributions", formatting.share(drift["distance"])),
    ]


def published_rows(view: dict[str, Any]) -> list[dict[str, Any]]:
    """Published test errors and this run's, the smallest first, each with the width of its bar in %."""
    scale, metrics = view["scale"], view["metrics"]
    rows = [{**row, "ours": False} for row in metrics["published"]]
    own = metrics["test"]["mae"]
    if rows and own is not None:
        mine = {"method": "This run", "mae": own, "mae_high": own, "source": view["about"].run, "protocol": ""}
        rows.append({**mine, "ours": True})
    top = max((row["mae_high"] for row in rows), default=1.0) or 1.0
    for row in rows:
        row["text"] = scale.show(row["mae"]) if row["ours"] else _as_published(row, scale)
        row["width"] = round(row["mae_high"] / top * 100, 1)
    return sorted(rows, key=lambda row: row["mae"])


def _as_published(row: dict[str, Any], scale: formatting.Scale) -> str:
    """Text of a published error with the digits that were published: 22, not 22.0."""
    low, high = (f"{row[end] * scale.factor:.6g}" for end in ("mae", "mae_high"))
    return low if low == high else f"{low}–{high}"


def distance_note(distance: dict[str, Any] | None) -> str:
    """How far the test structures lie from the training structures, in a sentence; empty without either."""
    if distance is None:
        return ""
    mean, median = (formatting.share(distance[name]) for name in ("mean", "median"))
    count = formatting.format_count(distance["of"], "test structure")
    return (
        "Distance: the share of atoms that would have to be others to make the composition that of the nearest "
        f"training structure; mean {mean}, median {median} of {count}."
    )


def _epochs(about: About) -> str:
    kept = f", weights of {about.kept_epoch}" if about.kept_epoch else ""
    return f"{about.epochs}{kept}" + (f"; {about.members} members, whose times add up" if about.members > 1 else "")


def _positive(about: About) -> str:
    """A sentence that says what the positive class is; empty for the task regression."""
    train = about.configuration.get("train", {})
    return f"Positive: {about.target} above {train['threshold']:g}." if "threshold" in train else ""


def settings(configuration: dict[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The configuration as (group, [(name, value as text)]); settings outside of a group are in the group ""."""
    loose = {name: value for name, value in configuration.items() if not isinstance(value, dict)}
    groups = {"": loose} if loose else {}
    groups |= {name: value for name, value in configuration.items() if isinstance(value, dict)}
    return [(group, [(name, _setting(value)) for name, value in rows.items()]) for group, rows in groups.items()]


def _setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rows(path: Path, columns: list[str] | None = None) -> pd.DataFrame:
    return pq.read_table(path, columns=columns).to_pandas()


def _optional(path: Path | None) -> pd.DataFrame | None:
    return _rows(path) if path else None


def _first(path: Path) -> list[dict[str, Any]]:
    """The first N_EXAMPLES rows of a table, without reading the rest."""
    for batch in pq.ParquetFile(path).iter_batches(batch_size=N_EXAMPLES):
        return list(batch.to_pylist())
    return []


if __name__ == "__main__":
    main(ReportSpec, build)

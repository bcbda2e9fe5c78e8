"""Program: the report over the folds of a cross-validation, its tables, and its record in Matbench's format."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from evaluation import figures, metrics
from evaluation.evaluate import errors_by_group
from evaluation.formatting import Scale, error_scale, format_count, format_target, plus_minus, share, significant
from evaluation.matbench_record import is_complete, record
from evaluation.parity import label_points, parity_figure
from evaluation.published import published_over_folds
from evaluation.study_figures import learning_curves
from evaluation.study_models import TrainedModel
from evaluation.study_page import Number, Section, StudyAbout, StudyPage, Table, write
from storage.matbench import FOLDS
from storage.program import Facts, Spec, main
from storage.schemas import FOLDS as FOLDS_TABLE
from storage.schemas import OUT_OF_FOLD, write_table

Rows = list[dict[str, Any]]


class CrossvalidateSpec(Spec):
    """The models by the number of their fold, the number of all `folds`, and the published `column` that says them."""

    about: StudyAbout
    models: dict[int, TrainedModel]
    folds: int
    column: str | None = None
    stamp: str  # the time at which the last training ended, as Matbench writes it


def build(spec: CrossvalidateSpec) -> Facts:
    """Write the page, predictions.parquet, folds.parquet and record.json."""
    tests = {fold: model.test_rows() for fold, model in spec.models.items()}
    rows = [_row(fold, model, spec.about.task) for fold, model in spec.models.items()]
    everything = pa.concat_tables(
        table.append_column("fold", pa.array([fold] * len(table), pa.int32())) for fold, table in tests.items()
    )
    write_table(everything.select(OUT_OF_FOLD.names).cast(OUT_OF_FOLD), spec.output / "predictions.parquet")
    write_table(pa.Table.from_pylist(rows, FOLDS_TABLE), spec.output / "folds.parquet")
    made = record(
        spec.about.title,
        tests,
        {fold: {**model.parameters, "kept_epoch": model.kept_epoch} for fold, model in spec.models.items()},
        kind=spec.about.task,
        stamp=spec.stamp,
        metadata={"program": "cgcnn-flows", "target": spec.about.target, "configuration": spec.about.configuration},
    )
    (spec.output / "record.json").write_text(json.dumps(made, allow_nan=False), encoding="utf-8")
    page = page_of(spec, rows, everything, complete=is_complete(spec.about.title, tests))
    return write(page, spec.output)


def _row(fold: int, model: TrainedModel, task: str) -> dict[str, Any]:
    counts = {name: model.split.get(name, 0) for name in ("train", "validation", "test")}
    how = {"epochs": model.epochs, "kept_epoch": model.kept_epoch}
    return {"fold": fold, **counts, **how, **model.errors(task)}


def page_of(spec: CrossvalidateSpec, rows: Rows, everything: pa.Table, *, complete: bool) -> StudyPage:
    """The page. `rows` are the folds, `everything` the predictions of all of their test rows."""
    about, classes = spec.about, spec.about.task == "classification"
    main_one = "roc_auc" if classes else "mae"
    scale = Scale("", 1.0) if classes else error_scale(about.unit, mean_of(rows, "mae")[0])
    found = f"{plus_minus(*(v * scale.factor for v in mean_of(rows, main_one)))} {scale.unit}".strip()
    whole = len(rows) == spec.folds
    folds = f"{spec.folds} folds" if whole else f"{len(rows)} of {spec.folds} folds"
    structures = format_count(len(everything), "structure")
    name = "ROC-AUC" if classes else "MAE"
    undefined = _undefined(rows) if classes else ""
    beside = _beside(rows, classes=classes)
    verdict = (
        f"Test {name} {found} over {folds} ({undefined or 'mean ± standard deviation'}){beside}. "
        f"Each of {structures} was predicted by the one model that had not seen it."
    )
    matbench = about.title if complete and spec.column else None
    baseline = "" if classes else f"; baseline {scale.show(mean_of(rows, 'baseline_mae')[0])}"
    return StudyPage(
        about=about,
        verdict=verdict,
        headline=f"test {name} {found} over {folds}{f' ({undefined}){beside}' if undefined else ''}, "
        f"{structures}{baseline}",
        models=len(rows),
        numbers=_numbers(rows, scale, found, classes=classes),
        sections=_sections(spec, rows, everything, scale, matbench),
        points=None if classes else label_points(_frame(everything), _parity(spec, everything).charts[0]),
    )


def mean_of(rows: Rows, name: str) -> tuple[float, float]:
    """Mean and standard deviation over the folds (divided by their number, as Matbench does); NaN if undefined."""
    values = np.array([np.nan if row[name] is None else row[name] for row in rows], dtype=float)
    return float(values.mean()), float(values.std())


def _undefined(rows: Rows) -> str:
    """Why the mean ROC-AUC is not defined; "" if it is. A mean over the other folds would be of other rows."""
    folds = [str(row["fold"]) for row in rows if row["roc_auc"] is None]
    if not folds:
        return ""
    which = f"fold {folds[0]} has" if len(folds) == 1 else f"folds {', '.join(folds)} have"
    return f"{which} test rows of one class alone, and so no ROC-AUC"


def _beside(rows: Rows, *, classes: bool) -> str:
    if classes:
        return f", {share(mean_of(rows, 'accuracy')[0])} put in the right class"
    ratio = mean_of(rows, "baseline_mae")[0] / (mean_of(rows, "mae")[0] or np.nan)
    return f", {ratio:.1f}× better than predicting the mean" if ratio > 1 else ", no better than predicting the mean"


def _numbers(rows: Rows, scale: Scale, found: str, *, classes: bool) -> list[Number]:
    test = Number("Structures predicted", f"{sum(row['test'] for row in rows):,}")
    if classes:
        rest = [Number(label, share(mean_of(rows, name)[0])) for label, name in CLASS_NUMBERS]
        return [Number("Test ROC-AUC", found), *rest, Number("Folds", str(len(rows))), test]
    value, _, unit = found.partition(f" {scale.unit}") if scale.unit else (found, "", "")
    rmse, r2, base = (mean_of(rows, name) for name in ("rmse", "r2", "baseline_mae"))
    return [
        Number("Test MAE", value, scale.unit + unit),
        Number("RMSE", plus_minus(rmse[0] * scale.factor, rmse[1] * scale.factor), scale.unit),
        Number("R²", significant(r2[0])),
        Number("Mean predictor, MAE", scale.show(base[0]), scale.unit),
        Number("Folds", str(len(rows))),
        test,
    ]


CLASS_NUMBERS = (("Accuracy", "accuracy"), ("Accuracy of the more frequent class", "baseline_accuracy"))
COLUMNS = [("Test MAE", "mae"), ("RMSE", "rmse"), ("R²", "r2"), ("Mean predictor", "baseline_mae")]
CLASS_COLUMNS = [("ROC-AUC", "roc_auc"), ("Accuracy", "accuracy"), ("More frequent class", "baseline_accuracy")]
OF_THE_TARGET = {"mae", "rmse", "baseline_mae"}


def _sections(
    spec: CrossvalidateSpec, rows: Rows, everything: pa.Table, scale: Scale, matbench: str | None
) -> list[Section]:
    classes = spec.about.task == "classification"
    histories = {f"fold {fold}": model.learning() for fold, model in spec.models.items()}
    learning = learning_curves(histories, scale, "Each on validation rows of its own.", errors=not classes)
    frame = _frame(everything)
    predicted = figures.reliability_figure(frame) if classes else _parity(spec, everything)
    errors = errors_by_group(everything, spec.about.task).to_pylist()
    tables = [fold_table(spec, rows, scale, matbench), rows_table(rows), *_published(spec, rows, scale)]
    groups = [
        _groups(errors, "elements", "By number of elements", None if classes else scale),
        _groups(errors, "crystal_system", "By crystal system", None if classes else scale),
        _groups(errors, "space_group", "By space group (the ten most frequent)", None if classes else scale),
    ]
    return [
        Section("The folds", tables=tables),
        Section(
            "All test rows of all folds",
            tables=[table for table in groups if table],
            figures=[(figure, "half") for figure in (predicted, learning) if figure],
        ),
    ]


def fold_table(spec: CrossvalidateSpec, rows: Rows, scale: Scale, matbench: str | None) -> Table:
    """The errors fold by fold, then their mean and standard deviation. The caption says what chose what."""
    columns = CLASS_COLUMNS if spec.about.task == "classification" else COLUMNS
    unit = f" ({scale.unit})" if scale.unit else ""
    head = [f"{label}{unit if name in OF_THE_TARGET else ''}" for label, name in columns]
    factor = {name: scale.factor if name in OF_THE_TARGET else 1.0 for _, name in columns}
    cells = [
        [f"fold {row['fold']}"]
        + [significant(None if row[name] is None else row[name] * factor[name]) for _, name in columns]
        for row in rows
    ]
    means = [plus_minus(*(value * factor[name] for value in mean_of(rows, name))) for _, name in columns]
    return Table(
        "Errors of each fold's test rows",
        ["Fold", *head],
        [*cells, ["mean ± deviation", *means]],
        caption=f"{_drawn(spec, matbench)} Nothing about a fold's test rows chose anything: its validation rows, which "
        "are watched in training and may choose the epoch, are cut from its training rows by hash, and the target is "
        "scaled by its training rows. The settings are the same in all folds. The deviation is the standard deviation "
        "of the folds, divided by their number as Matbench's is; it is no interval of the mean.",
        best=len(rows),
        width="wide",
    )


def rows_table(rows: Rows) -> Table:
    """How many rows each fold's model has, and which epoch's weights were kept."""
    cells = [
        [
            f"fold {row['fold']}",
            *(f"{row[name]:,}" for name in metrics.SPLITS),
            f"{row['kept_epoch']} of {row['epochs']}",
        ]
        for row in rows
    ]
    return Table("Their rows and epochs", ["Fold", "Train", "Valid.", "Test", "Epoch"], cells, width="third")


def _drawn(spec: CrossvalidateSpec, matbench: str | None) -> str:
    if matbench:
        return (
            f"The folds are those of the Matbench task {matbench}; record.json is a record of it in Matbench's format."
        )
    if spec.column:
        return f"The folds are those that the source publishes ({spec.column}). record.json has Matbench's layout."
    group = spec.models[min(spec.models)].parameters["split"]["group"].replace("_", " ")
    return f"The folds were drawn by a hash of the {group}. record.json has Matbench's layout."


def _published(spec: CrossvalidateSpec, rows: Rows, scale: Scale) -> list[Table]:
    about = spec.about
    if about.task == "classification" or not len(rows) == spec.folds == FOLDS:
        return []
    known = published_over_folds(about.title, about.target, about.unit, same_folds=spec.column is not None)
    if not known:
        return []
    mean, deviation = (value * scale.factor for value in mean_of(rows, "mae"))
    ours = ["These models", about.run, plus_minus(mean, deviation)]
    cells = [[str(k["method"]), str(k["source"]), f"{float(k['mae']) * scale.factor:.6g}"] for k in known]
    place = sum(float(k["mae"]) * scale.factor < mean for k in known)  # they come the smallest first
    same = "Means over the same five folds." if spec.column else "Means over five folds, but not the same ones."
    head = ["Method", "Source", f"MAE ({scale.unit})" if scale.unit else "MAE"]
    return [Table("Published errors", head, [*cells[:place], ours, *cells[place:]], caption=same, words=2, best=place)]


HEADS = {"elements": "Elements", "crystal_system": "System", "space_group": "Space group"}


def _groups(errors: Rows, kind: str, title: str, scale: Scale | None) -> Table | None:
    rows = figures.group_rows(errors, kind, scale)
    if not rows:
        return None
    unit = f" ({scale.unit})" if scale and scale.unit else ""
    head = [HEADS[kind], f"MAE{unit}" if scale else "Wrong", "Structures"]
    return Table(title, head, [[row["key"], row["text"], f"{row['count']:,}"] for row in rows], width="half")


def _frame(everything: pa.Table) -> Any:
    return everything.select(["material_id", "formula", "split", "target", "predicted"]).to_pandas()


def _parity(spec: CrossvalidateSpec, everything: pa.Table) -> Any:
    caption = "Every structure once, by the model of the fold in which it is a test row."
    about = spec.about
    return parity_figure(_frame(everything), format_target(about.target), about.unit, caption, log=about.relative)


if __name__ == "__main__":
    main(CrossvalidateSpec, build)

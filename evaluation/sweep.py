"""Program: the page of a sweep, its trials as a table, and the best configuration as a file."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from evaluation.formatting import Scale, duration, error_scale, format_count, share, significant
from evaluation.study_page import Number, Section, StudyAbout, StudyPage, Table, write
from evaluation.sweep_figures import (
    Trial,
    history_figure,
    importance_figure,
    parallel_figure,
    short,
    slice_figure,
    value_text,
)
from storage.program import Facts, Spec, main
from storage.schemas import TRIALS, write_table

MOST_ROWS = 200  # of the page's table; trials.parquet has all
STATES = {"complete": "finished", "pruned": "pruned", "fail": "failed"}


class SweepSpec(Spec):
    """The trials as rows of TRIALS (with `parameters` as they are), stage and number of the best, and an evaluation.

    It is that of `model`, a folder of the store: the best, or the ensemble of `members` (stage and number of each).
    `importances` are shares by key, `settings` is the configuration of the model as YAML.
    """

    about: StudyAbout
    metrics: Path
    trials: list[dict[str, Any]]
    best: tuple[int, int]
    importances: dict[str, float]
    settings: str
    members: tuple[tuple[int, int], ...] = ()
    model: str = ""


def build(spec: SweepSpec) -> Facts:
    """Write trials.parquet, best.yaml, and the page."""
    rows = [{**row, "parameters": json.dumps(row["parameters"], ensure_ascii=False)} for row in spec.trials]
    write_table(pa.Table.from_pylist(rows, schema=TRIALS), spec.output / "trials.parquet")
    (spec.output / "best.yaml").write_text(spec.settings, encoding="utf-8")
    facts = write(page_of(spec, json.loads(spec.metrics.read_text(encoding="utf-8"))), spec.output)
    return facts | ({"model": spec.model, "members": len(spec.members)} if spec.members else {})


def page_of(spec: SweepSpec, metrics: dict[str, Any]) -> StudyPage:
    """All that the page shows."""
    about, best = spec.about, next(row for row in spec.trials if (row["stage"], row["number"]) == spec.best)
    plain = about.task == "classification"
    scale = Scale("", 1.0) if plain else error_scale(about.unit, best["validation_error"])
    trials = [_drawn(row, spec.best, scale) for row in spec.trials]
    counts = {state: sum(row["state"] == state for row in spec.trials) for state in STATES}
    validation = scale.with_unit(best["validation_error"])
    name, test = _test(metrics, scale)
    models = len([row for row in spec.trials if row["model"]])
    said = ", ".join(f"{counts[state]} {text}" for state, text in STATES.items() if counts[state])
    whose, kind = (f"the ensemble of {len(spec.members)}", "ensemble") if spec.members else ("the best", "model")
    verdict = (
        f"Best of {format_count(len(spec.trials), 'trial')} by validation error: {_label(best)}, {validation}, with "
        f"{_settings(best)}. {_together(spec, metrics, best, scale)}"
        f"{name} {test}: the test structures were evaluated for this {kind} alone, after it was chosen."
    )
    tested = f"{name[:1].lower()}{name[1:]} {test}{f' of {whose}' if spec.members else ''}"
    return StudyPage(
        about=about,
        verdict=verdict,
        headline=f"validation {validation}, {tested}; best of {len(spec.trials):,} trials",
        models=models,
        numbers=[
            Number("Validation error of the best", *_split(validation, scale)),
            Number(f"{name}, of {whose} alone", *_split(test, scale)),
            Number("Trials", f"{len(spec.trials):,}"),
            Number("Pruned", f"{counts['pruned']:,}"),
            Number("Time of all trainings", duration(sum(row["seconds"] or 0.0 for row in spec.trials))),
        ],
        sections=[*_ensemble(spec, metrics, scale), *_sections(spec, trials, scale, said)],
    )


def _settings(row: dict[str, Any]) -> str:
    return ", ".join(f"{short(key)} {value_text(value)}" for key, value in row["parameters"].items())


def _together(spec: SweepSpec, metrics: dict[str, Any], best: dict[str, Any], scale: Scale) -> str:
    """A sentence about the ensemble, whose members may be too far behind the best; nothing where there is none."""
    if not spec.members:
        return ""
    error, found = metrics["validation"].get("mae"), ""
    if error is not None:
        where = "above" if error > best["validation_error"] else "not above"
        found = f", with a validation error of {scale.with_unit(error)}, {where} that of the best alone"
    return f"An ensemble of {len(spec.members)} trials predicts together{found}. "


def _ensemble(spec: SweepSpec, metrics: dict[str, Any], scale: Scale) -> list[Section]:
    """The members, the best first, and what they are together; nothing where there is no ensemble."""
    if not spec.members:
        return []
    by_place = {(row["stage"], row["number"]): row for row in spec.trials}
    members = [by_place[place] for place in spec.members]
    rows = [[_label(row), _settings(row), scale.show(row["validation_error"])] for row in members]
    error = metrics["validation"].get("mae")  # a classification has none
    rows += [] if error is None else [["together", "the mean of what they predict", scale.show(error)]]
    name, test = _test(metrics, scale)
    caption = f"The best trials that were trained to their end on the graphs of the best one. {name} together: {test}. "
    if "uncertainty" in metrics:
        held = metrics["uncertainty"]["interval"]
        observed, promised = share(held["observed"]), share(held["promised"])
        caption += f"Of the test values {observed} lie in their intervals, promised are {promised}. "
    caption += f"The model is {spec.model} of the store."
    head = ["trial", "settings", f"validation error{_unit(scale)}"]
    best = None if error is None else len(members)
    return [Section("The ensemble", tables=[Table("", head, rows, caption, words=2, best=best)])]


def _unit(scale: Scale) -> str:
    return f" ({scale.unit})" if scale.unit else ""


def _test(metrics: dict[str, Any], scale: Scale) -> tuple[str, str]:
    """The name and the text of the winner's error on the test rows."""
    name = metrics["metric"]
    value = metrics["test"][name]
    return f"Test {name.upper().replace('_', '-')}", scale.with_unit(value) if name == "mae" else significant(value)


def _split(text: str, scale: Scale) -> tuple[str, str]:
    return (
        (text.removesuffix(scale.unit).strip(), scale.unit) if scale.unit and text.endswith(scale.unit) else (text, "")
    )


def _label(row: dict[str, Any]) -> str:
    return f"trial {row['number']}" if row["stage"] == 1 else f"fine trial {row['number']}"


def _drawn(row: dict[str, Any], best: tuple[int, int], scale: Scale) -> Trial:
    error = row["validation_error"]
    return Trial(
        label=_label(row),
        state=row["state"],
        error=None if error is None else error * scale.factor,
        parameters=row["parameters"],
        best=(row["stage"], row["number"]) == best,
    )


def _sections(spec: SweepSpec, trials: list[Trial], scale: Scale, said: str) -> list[Section]:
    keys = list(dict.fromkeys(key for row in spec.trials for key in row["parameters"]))
    varied = [key for key in keys if len({value_text(t.parameters.get(key)) for t in trials}) > 1]
    complete = sum(trial.state == "complete" for trial in trials)
    important = importance_figure(spec.importances, complete)
    parallel = parallel_figure(varied, trials, scale)
    figures = [(history_figure(trials, scale), "half" if parallel else "full")]
    figures += [(parallel, "half")] if parallel else []
    by_key = [(important, "third")] if important else []
    by_key += [(slice_figure(key, trials, scale), "third") for key in varied]
    sections = [Section("The search", figures=figures), Section("Key by key", figures=by_key)]
    sections = [section for section in sections if section.figures]
    return [*sections, Section("The trials", tables=_tables(spec, keys, scale, said))]


def _tables(spec: SweepSpec, keys: list[str], scale: Scale, said: str) -> list[Table]:
    """Trials with an error, the best of those that finished first; then those that failed, with their reason."""
    ranked = sorted(
        (row for row in spec.trials if row["validation_error"] is not None),
        key=lambda row: (row["state"] != "complete", row["validation_error"]),
    )
    head = ["trial", "", *map(short, keys), "epochs", "time", f"validation error{_unit(scale)}"]
    rows = [
        [
            _label(row),
            STATES[row["state"]],
            *(value_text(row["parameters"].get(key)) for key in keys),
            f"{row['epochs']:,}",
            duration(row["seconds"]),
            scale.show(row["validation_error"]),
        ]
        for row in ranked[:MOST_ROWS]
    ]
    caption = (
        f"{said}. Pruned trials were ended early; their errors are those of their last epochs.{_rows_differ(spec)}"
    )
    caption += f" The best {MOST_ROWS} of {len(ranked)}; trials.parquet has all." if len(ranked) > MOST_ROWS else ""
    tables = [Table("", head, rows, caption, words=2, best=0)]
    failed = [row for row in spec.trials if row["state"] == "fail"]
    if failed:
        reasons = [
            [_label(row), ", ".join(f"{short(k)} {value_text(v)}" for k, v in row["parameters"].items()), row["reason"]]
            for row in failed
        ]
        tables.append(Table("Failed", ["trial", "settings", "reason"], reasons, words=3))
    return tables


def _rows_differ(spec: SweepSpec) -> str:
    """A sentence where graphs rejected other structures in some trials: their errors are not of the same rows."""
    counts = {row["validation_rows"] for row in spec.trials if row["validation_rows"]}
    return (
        f" Not all errors are of the same validation structures: {min(counts):,} to {max(counts):,} of them."
        if len(counts) > 1
        else ""
    )


if __name__ == "__main__":
    main(SweepSpec, build)

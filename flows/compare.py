"""`cgcnn compare`: the settings in which runs differ, and their errors on the same test materials."""

import json
from itertools import combinations
from pathlib import Path
from typing import Any

from evaluation.common_materials import errors_in_common
from evaluation.config import PromotionConfig
from evaluation.formatting import Scale, error_scale, format_count, format_signed_share, significant
from flows.config import keys
from flows.show import existing
from storage.artefact import format_minute
from storage.errors import InputError
from storage.names import split_path
from storage.registry import Card, Run, card_of, champion_model, runs
from storage.store import Store

CONFIG = PromotionConfig()  # how differences are drawn, as for promotions


def compare(wanted: list[str], root: str, *, as_json: bool) -> str:
    """The comparison as text, or as JSON. Raises InputError where the runs are not of one target, unit and task."""
    if len(wanted) < 2:
        raise InputError("compare: one run is nothing to compare; name two or more, as `cgcnn show` lists them")
    store = existing(root).absolute()
    chosen = [_run_of(name, store) for name in wanted]
    for (name, one), (other_name, other) in combinations(zip(wanted, chosen, strict=True), 2):
        if one.card.model == other.card.model:
            raise InputError(f"{name} and {other_name} are the same run, {one.card.run}")
    first, *others = [run.card for run in chosen]
    for card in others:
        if (card.target, card.unit, card.task) != (first.target, first.unit, first.task):
            raise InputError(
                f"{first.run} is about {_about(first)}, {card.run} about {_about(card)}; "
                "runs of one target, unit and task can be compared"
            )
    settings = [_settings(run.card, store) for run in chosen]
    differing = differences(settings)
    if first.task == "classification" and "train.threshold" in differing:
        raise InputError(f"{first.run} and the others differ in train.threshold: their classes are not the same")
    tables = [_predictions(run.card, store) for run in chosen]
    found = errors_in_common(tables, classes=first.task == "classification", config=CONFIG)
    if as_json:
        return _as_json(chosen, differing, found, store)
    return "\n".join([*_named(chosen), "", *_settings_lines(differing), "", *_error_lines(first, found)])


def differences(settings: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The keys whose values are not the same in all, with the value of each.

    Where a key is not there it is the default, which reports leave out of newer settings; None where it has none.
    """
    defaults = {key: field.default for key, field in keys().items()}
    known = dict.fromkeys(key for each in settings for key in each)
    values = {key: [each.get(key, defaults.get(key)) for each in settings] for key in known}
    return {key: found for key, found in values.items() if any(value != found[0] for value in found)}


def _run_of(wanted: str, store: Store) -> Run:
    model = champion_model(wanted, store) or card_of(wanted, store).model
    found = next((run for run in runs(store) if run.card.model == model), None)
    if found is None:
        raise InputError(f"{wanted}: the card of {store.location(model)} is lost; the same `cgcnn retrain` makes it")
    return found


def _about(card: Card) -> str:
    return " ".join(f"{card.target} {card.unit}".split()) + (f" ({card.task})" if card.task != "regression" else "")


def _settings(card: Card, store: Store) -> dict[str, Any]:
    """What a run was told, by dotted key, and how much data it had: as its report has it."""
    step, key, _ = card.report.split("/")
    report = store.read(step, key)
    if report is None:
        raise InputError(
            f"{card.run}: its report {store.location(card.report)} is lost; `cgcnn retrain` makes it again"
        )
    about = report.parameters["extra_key"]
    found = {"source": card.source, "rows": about["rows"], "accepted": about["accepted"]}
    for group, values in about["configuration"].items():
        of_group = {f"{group}.{name}": value for name, value in values.items()} if isinstance(values, dict) else None
        found |= {group: values} if of_group is None else of_group
    return found


def _predictions(card: Card, store: Store) -> Path:
    faults: list[str] = []
    if store.find(*split_path(card.model), faults.append) is None:
        raise InputError(f"{card.run}: its predictions {store.location(card.predictions)} are lost or damaged")
    return store.folder(*split_path(card.model)) / Path(card.predictions).name


def _as_json(chosen: list[Run], differing: dict[str, list[Any]], found: dict[str, Any], store: Store) -> str:
    listed = [run.to_dict(store) | {"in_common": errors} for run, errors in zip(chosen, found["runs"], strict=True)]
    whole = {
        "runs": listed,
        "differences": differing,
        "common": found["common"],
        "confidence": CONFIG.confidence,
    }
    return json.dumps(whole, indent=1, ensure_ascii=False)


def _named(chosen: list[Run]) -> list[str]:
    return [
        f"{n}  {run.card.run}  {format_minute(run.finished)} UTC{f'  ({run.card.note})' if run.card.note else ''}"
        for n, run in enumerate(chosen, start=1)
    ]


def _settings_lines(differing: dict[str, list[Any]]) -> list[str]:
    if not differing:
        return ["the same settings"]
    texts = {key: [_text(value) for value in values] for key, values in differing.items()}
    heads = [str(n) for n in range(1, len(next(iter(texts.values()))) + 1)]
    rows = [["settings that differ", *heads], *([f"  {key}", *values] for key, values in texts.items())]
    widths = [max(len(row[n]) for row in rows) for n in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _error_lines(first: Card, found: dict[str, Any]) -> list[str]:
    tests = ", ".join(f"{run['test']:,}" for run in found["runs"])
    common = f"{format_count(found['common'], 'test material')} in common (of {tests})"
    if "mae" not in found["runs"][0]:
        return [f"{common}: too few to compare"]
    classes = first.task == "classification"
    scale = error_scale("" if classes else first.unit, found["runs"][0]["mae"])
    what = "error of the probability" if classes else "test MAE"
    lines = [f"{common}; {what}, and its difference from the first with its {CONFIG.confidence:.0%} interval"]
    mae = found["runs"][0]["mae"]
    for n, run in enumerate(found["runs"], start=1):
        lines.append(f"  {n}  {scale.with_unit(run['mae'])}{_difference(run, mae, scale)}{_ranking(run)}")
        if run["relabelled"]:
            labels = format_count(run["relabelled"], "label")
            lines.append(f"     {labels} of its own differ; the first run's were taken")
    return lines


def _difference(run: dict[str, Any], first: float, scale: Scale) -> str:
    if "difference" not in run:
        return ""
    middle, low, high = (_plus(run[name], scale) for name in ("difference", "low", "high"))
    relative = f", {format_signed_share(run['difference'] / first)}" if first else ""
    return f"  {f'{middle} {scale.unit}'.strip()} ({low} to {high}){relative}"


def _plus(value: float, scale: Scale) -> str:
    return f"{'+' if value > 0 else ''}{scale.show(value)}"


def _ranking(run: dict[str, Any]) -> str:
    return f"  ROC-AUC {significant(run['roc_auc'])}" if "roc_auc" in run else ""

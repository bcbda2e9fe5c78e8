"""The program of the ensemble step: models trained on the same rows → one model with an uncertainty.

They differ in their seeds, or in the settings of their networks and trainings.

The result is a model's folder as a training writes it, with the weights of all members, and the mean of what they
predict. One model that predicts its deviation may stand alone: then this calibrates it.
"""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gnn.model_card import CARD, Calibration, ModelCard, read_card
from gnn.uncertainty import Floats, calibrate, combine, floor_of, mean_and_spread
from storage import schemas
from storage.errors import InputError
from storage.program import Facts, Spec, main
from storage.registry import WEIGHTS, weights_of

log = logging.getLogger(__name__)

SAME = ("target", "unit", "split", "split_by", "start_from")  # facts; the last where there is one
DIFFERENT = ("data", "device")


class EnsembleSpec(Spec):
    """The folders of the trained members and the facts of their trainings, in the order of the members; `coverage` is
    the share of new structures whose value the intervals are to hold.
    """

    members: list[Path]
    facts: list[dict[str, Any]]
    coverage: float


def build(spec: EnsembleSpec) -> Facts:
    """Write the weights, model.json, predictions, history and, where all members have the same gates, gates.parquet."""
    card = _common_card(spec.members)
    tables = [pq.read_table(folder / "predictions.parquet") for folder in spec.members]
    _refuse_other_rows(tables)
    values, deviations = _columns(tables, "predicted"), _columns(tables, "predicted_deviation")
    _refuse_divergence(values)
    if deviations is not None:
        _refuse_divergence(deviations)
    card = card.model_copy(update={"members": len(tables)})
    if card.task == "regression":
        mean, spread = mean_and_spread(values, deviations, relative=card.relative)
        target = np.asarray(tables[0]["target"].to_numpy(), dtype=float)
        if card.relative:
            mean, target = np.log(mean), np.log(target)
        found = _calibrated(tables[0]["split"].to_numpy(), target, mean, spread, spec.coverage)
        card = card.model_copy(update={"calibration": found})
    for folder, name in zip(spec.members, weights_of(card.members), strict=True):
        shutil.copyfile(folder / WEIGHTS, spec.output / name)
    (spec.output / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")
    schemas.write_table(_predictions(tables[0], combine(values, deviations, card)), spec.output / "predictions.parquet")
    schemas.write_table(mean_history([_read(f, "history") for f in spec.members]), spec.output / "history.parquet")
    gates = [_read(f, "gates") for f in spec.members if (f / "gates.parquet").exists()]
    if len(gates) == len(spec.members) and _of_the_same_bins(gates):
        schemas.write_table(mean_gates(gates), spec.output / "gates.parquet")
    return together(spec.facts) | ({"coverage": card.calibration.coverage} if card.calibration else {})


def _read(folder: Path, name: str) -> pa.Table:
    return pq.read_table(folder / f"{name}.parquet")


def _columns(tables: Sequence[pa.Table], name: str) -> Any:
    """(K, M); None where the members have no such column."""
    if name not in tables[0].column_names:
        return None
    return np.stack([np.asarray(table[name].to_numpy(), dtype=float) for table in tables])


def _common_card(folders: Sequence[Path]) -> ModelCard:
    cards = [read_card(folder) for folder in folders]
    first, models = cards[0], [card.model for card in cards]
    for folder, card in zip(folders, cards, strict=True):
        if card.model_copy(update={"model": first.model}) != first or card.model.head != first.model.head:
            raise InputError(f"{folder / CARD}: differs from {folders[0] / CARD} in more than the network")
    alike = all(model == first.model for model in models)
    return first if alike else first.model_copy(update={"member_models": models})


def _refuse_other_rows(tables: Sequence[pa.Table]) -> None:
    """What the members predict is averaged row by row."""
    shared = [schemas.MATERIAL_ID, "split", "target"]
    for number, table in enumerate(tables, start=1):
        if not table.select(shared).equals(tables[0].select(shared)):
            raise InputError(f"member {number}: was not trained on the same rows as member 1")


def _refuse_divergence(values: Floats) -> None:
    for number, predicted in enumerate(values, start=1):
        lost = int((~np.isfinite(predicted)).sum())
        if lost:
            raise InputError(
                f"member {number}: {lost} of {len(predicted)} predicted values are not finite: its training diverged; "
                "lower train.learning_rate or set train.clip"
            )


def _calibrated(split: Any, target: Floats, mean: Floats, spread: Floats, coverage: float) -> Calibration:
    """All (M,): of all rows of the predictions."""
    train = split == "train"
    floor = floor_of(spread[train], float(target[train].std()) or 1.0)
    watched = split == "validation"
    found = calibrate(mean[watched] - target[watched], spread[watched], floor, coverage)
    log.info(
        "errors are %.3g times the uncalibrated deviation, intervals ±%.3g standard deviations (%s validation rows)",
        *(found.factor, found.quantile, f"{found.rows:,}"),
    )
    return found


def _predictions(table: pa.Table, found: dict[str, Floats]) -> pa.Table:
    schema = schemas.CALIBRATED_PREDICTIONS if "low" in found else schemas.PREDICTIONS
    return pa.table([pa.array(found[n]) if n in found else table[n] for n in schema.names], schema=schema)


def mean_history(tables: Sequence[pa.Table]) -> pa.Table:
    """The mean of the HISTORY tables, epoch by epoch, over the members that came so far."""
    names = [name for name in schemas.HISTORY.names if name != "epoch"]
    grouped = pa.concat_tables(tables).group_by("epoch", use_threads=False).aggregate([(n, "mean") for n in names])
    columns = [grouped["epoch"], *(grouped[f"{name}_mean"] for name in names)]
    return pa.table(columns, schema=schemas.HISTORY).sort_by("epoch")


def _of_the_same_bins(gates: Sequence[pa.Table]) -> bool:
    bins = [table.drop_columns("mean_gate") for table in gates]
    return all(each.equals(bins[0]) for each in bins)


def mean_gates(tables: Sequence[pa.Table]) -> pa.Table:
    """The GATES tables, which differ in the gates alone, as one with their mean."""
    mean = np.mean([table["mean_gate"].to_numpy() for table in tables], axis=0)
    first = tables[0]
    return first.set_column(first.schema.get_field_index("mean_gate"), schemas.GATES.field("mean_gate"), pa.array(mean))


def together(facts: Sequence[Facts]) -> Facts:
    """The facts of the members' trainings as those of one: times and parameters add up."""
    seconds = [each["seconds"] for each in facts]

    def rate(name: str) -> float:
        return float(np.average([each[name] for each in facts], weights=seconds))

    kept = {each["kept_epoch"] for each in facts}
    return {
        **{name: facts[0][name] for name in SAME if name in facts[0]},
        "members": len(facts),
        "parameters": sum(each["parameters"] for each in facts),
        "epochs": max(each["epochs"] for each in facts),
        **_common_recipe(facts),
        **_mean_auxiliary(facts),
        "kept_epoch": kept.pop() if len(kept) == 1 else 0,  # no one epoch of the mean curve
        "seconds": sum(seconds),
        **{name: rate(name) for name in ("structures_per_second", "edges_per_second", "data_wait")},
        **{name: max(each[name] for each in facts) for name in ("peak_memory_mib", "processes")},
        **{name: ", ".join(dict.fromkeys(str(each[name]) for each in facts)) for name in DIFFERENT},
    }


def _common_recipe(facts: Sequence[Facts]) -> Facts:
    """What the members have in common of their recipes; a training that is older than recipes by size has none."""
    first, *others = (each.get("recipe", {}) for each in facts)
    return {"recipe": {n: v for n, v in first.items() if all(other.get(n) == v for other in others)}}


def _mean_auxiliary(facts: Sequence[Facts]) -> Facts:
    """The mean error of the members for each auxiliary target; they have the same validation rows."""
    if "auxiliary" not in facts[0]:
        return {}
    errors = {name: [each["auxiliary"][name]["validation_mae"] for each in facts] for name in facts[0]["auxiliary"]}
    means = {name: None if None in found else float(np.mean(found)) for name, found in errors.items()}
    known = facts[0]["auxiliary"].items()
    return {"auxiliary": {name: {**first, "validation_mae": means[name]} for name, first in known}}


if __name__ == "__main__":
    main(EnsembleSpec, build)

"""Program: compare a new model (challenger) with the current best one (champion), and the data they were trained on.

Only materials in the test splits of both models are used: neither model was trained on them. Both predictions are
compared with the challenger's labels, which are the newer ones. The uncertainty of the mean difference between the
absolute errors comes from a paired bootstrap (Efron & Tibshirani, An Introduction to the Bootstrap, 1993, ch. 8): how
much the difference would vary between test sets of this size.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evaluation.config import PromotionConfig
from evaluation.elements import SYMBOLS
from evaluation.formatting import format_signed_share
from storage.program import Facts, Spec, main
from storage.schemas import MATERIAL_ID

log = logging.getLogger(__name__)

COMPARISON = "comparison.json"
COLUMNS = [MATERIAL_ID, "formula", "split", "target", "predicted", "atomic_numbers"]
# By which a row is the same material in two tables. Not by the id alone: where a source has none, rows are named by
# their number, and in another release that is another material.
IDENTITY = [MATERIAL_ID, "formula"]
AT_A_TIME = 5_000_000  # resampled values in memory: three times 40 MB with their indices


class CompareSpec(Spec):
    """Paths of the predictions of both models. `champion` is None if there is none yet, or if its files are `lost`."""

    challenger: Path
    champion: Path | None = None
    lost: bool = False
    config: PromotionConfig


def build(spec: CompareSpec) -> Facts:
    """Write comparison.json: whether to promote the challenger, the numbers behind that, and how the data changed."""
    challenger = pq.read_table(spec.challenger, columns=COLUMNS)
    if spec.champion is None:
        reason = "the champion's predictions are lost" if spec.lost else "there was no champion"
        found: dict[str, Any] = {"promoted": True, "reason": reason, "errors": None, "drift": None}
    else:
        champion = pq.read_table(spec.champion, columns=COLUMNS)
        errors = compare_errors(challenger, champion, spec.config)
        found = {**decide(errors, spec.config), "errors": errors, "drift": drift(challenger, champion)}
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (spec.output / COMPARISON).write_text(text, encoding="utf-8")
    log.info("%s: %s", "to be promoted" if found["promoted"] else "not to be promoted", found["reason"])
    return {"promoted": found["promoted"], "reason": found["reason"], **(found["errors"] or {})}


def compare_errors(challenger: pa.Table, champion: pa.Table, config: PromotionConfig) -> dict[str, Any]:
    """MAE of both models on their common test materials, in the unit of the target, and how they differ.

    `worse` is (challenger's MAE − champion's MAE) / champion's MAE, so 0.02 means 2 % worse; `worse_low` and
    `worse_high` are the ends of its interval at `config.confidence`. They and both MAEs are None if there are no common
    test materials.
    Both tables need the columns material_id, formula, split, target and predicted.
    """
    mine, theirs = (table.filter(pc.equal(table["split"], "test")) for table in (challenger, champion))
    mine, theirs = (table.select([*IDENTITY, "target", "predicted"]) for table in (mine, theirs))
    both = mine.join(theirs, IDENTITY, join_type="inner", right_suffix="_champion").sort_by(MATERIAL_ID)
    count = len(both)
    known: dict[str, Any] = {"common": count, "test": len(mine), "champion_test": len(theirs)}
    if not count:
        return known | dict.fromkeys(("challenger_mae", "champion_mae", "worse", "worse_low", "worse_high"))
    target = both["target"].to_numpy()
    own, other = (np.abs(both[name].to_numpy() - target) for name in ("predicted", "predicted_champion"))
    scale = float(other.mean()) or 1.0
    low, high = mean_interval(own - other, config)
    return known | {
        "challenger_mae": float(own.mean()),
        "champion_mae": float(other.mean()),
        "worse": float((own - other).mean()) / scale,
        "worse_low": low / scale,
        "worse_high": high / scale,
    }


def mean_interval(values: NDArray[np.float64], config: PromotionConfig) -> tuple[float, float]:
    """Percentile bootstrap interval (low, high) of the mean of `values` (n,), in their unit; the same in every run."""
    if len(values) == 1:  # every resample is the value itself, and scipy refuses to draw it
        return float(values[0]), float(values[0])
    from scipy import stats  # takes as long to import as the rest of a step; without a champion nobody needs it

    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=config.draws,
        batch=max(1, AT_A_TIME // len(values)),
        confidence_level=config.confidence,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def decide(errors: dict[str, Any], config: PromotionConfig) -> dict[str, Any]:
    """Whether to promote the challenger, and the reason as a sentence without a full stop.

    It is promoted if the upper end of the interval, `worse_high`, is at most `config.margin`, and there are at least
    `config.least_common` common test materials.
    """
    if errors["common"] < config.least_common:
        reason = (
            f"{errors['common']:,} test materials in common, fewer than promotion.least_common={config.least_common:,}"
        )
        return {"promoted": False, "reason": reason}
    within = errors["worse_high"] <= config.margin
    middle, low, high = (format_signed_share(errors[name]) for name in ("worse", "worse_low", "worse_high"))
    materials = f"{errors['common']:,} common test materials"
    reason = f"its MAE differs from the champion's by {middle} ({low} to {high}) on {materials}"
    return {
        "promoted": within,
        "reason": f"{reason}; allowed is an upper end of {format_signed_share(config.margin)} (promotion.margin)",
    }


def drift(new: pa.Table, old: pa.Table) -> dict[str, Any]:
    """How the data changed since the champion was trained: materials, elements, and the distribution of the target.

    Means and standard deviations are in the unit of the target. `distance`, 0 to 1, is the largest difference between
    the two cumulative distributions of the target (the statistic of the Kolmogorov–Smirnov test).
    """
    kept = len(new.select(IDENTITY).join(old.select(IDENTITY), IDENTITY, join_type="left semi"))
    targets = [np.sort(table["target"].to_numpy()) for table in (new, old)]
    grid = np.concatenate(targets)
    below = [np.searchsorted(values, grid, side="right") / max(len(values), 1) for values in targets]
    elements = [set(pc.unique(pc.list_flatten(table["atomic_numbers"])).to_pylist()) for table in (new, old)]
    return {
        "materials": len(new),
        "champion_materials": len(old),
        "new": len(new) - kept,
        "gone": len(old) - kept,
        "new_elements": [SYMBOLS[number - 1] for number in sorted(elements[0] - elements[1])],
        "gone_elements": [SYMBOLS[number - 1] for number in sorted(elements[1] - elements[0])],
        "mean": float(targets[0].mean()),
        "champion_mean": float(targets[1].mean()),
        "standard_deviation": float(targets[0].std()),
        "champion_standard_deviation": float(targets[1].std()),
        "distance": float(np.abs(below[0] - below[1]).max()),
    }


if __name__ == "__main__":
    main(CompareSpec, build)

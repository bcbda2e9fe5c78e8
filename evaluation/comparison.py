"""Program: a challenger beside the champion, on the same materials; and what is new in the challenger's data.

The test materials that both models have in their test splits were seen by neither. On these, the mean difference of the
absolute errors is drawn again and again from the pairs (paired bootstrap; Efron & Tibshirani, An Introduction to the
Bootstrap, 1993, ch. 8): how the difference would vary over other test sets of this size. Both are measured against the
challenger's labels, which are today's.
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
from scipy import stats

from evaluation.config import PromotionConfig
from evaluation.elements import SYMBOLS
from evaluation.formatting import signed_share
from storage.program import Facts, Spec, main
from storage.schemas import MATERIAL_ID

log = logging.getLogger(__name__)

COMPARISON = "comparison.json"
COLUMNS = [MATERIAL_ID, "split", "target", "predicted", "atomic_numbers"]
AT_A_TIME = 5_000_000  # resampled values in memory: three times 40 MB with their indices


class CompareSpec(Spec):
    """The predictions of both; no `champion` where there is none yet, or where its files are lost."""

    challenger: Path
    champion: Path | None = None
    lost: bool = False
    config: PromotionConfig


def build(spec: CompareSpec) -> Facts:
    """Write comparison.json: the decision with its numbers, and what is new in the data."""
    challenger = pq.read_table(spec.challenger, columns=COLUMNS)
    if spec.champion is None:
        reason = "the champion's predictions are lost" if spec.lost else "there was no champion"
        found: dict[str, Any] = {"promoted": True, "reason": reason, "errors": None, "drift": None}
    else:
        champion = pq.read_table(spec.champion, columns=COLUMNS)
        errors = compared(challenger, champion, spec.config)
        found = {**decided(errors, spec.config), "errors": errors, "drift": drift(challenger, champion)}
    text = json.dumps(found, indent=1, ensure_ascii=False, allow_nan=False)
    (spec.output / COMPARISON).write_text(text, encoding="utf-8")
    log.info("%s: %s", "to be promoted" if found["promoted"] else "not to be promoted", found["reason"])
    return {"promoted": found["promoted"], "reason": found["reason"], **(found["errors"] or {})}


def compared(challenger: pa.Table, champion: pa.Table, config: PromotionConfig) -> dict[str, Any]:
    """MAE of both on their common test materials, and the difference (challenger − champion) with its interval.

    `worse` is the difference in units of the champion's MAE; `worse_low` … `worse_high` hold `config.confidence` of the
    draws. None where there are no common test materials.
    """
    mine, theirs = (table.filter(pc.equal(table["split"], "test")) for table in (challenger, champion))
    mine, theirs = (table.select([MATERIAL_ID, "target", "predicted"]) for table in (mine, theirs))
    both = mine.join(theirs, MATERIAL_ID, join_type="inner", right_suffix="_champion").sort_by(MATERIAL_ID)
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
    """Percentile bootstrap interval of the mean of `values` (n,), in their unit; the same in every run."""
    if len(values) == 1:  # every resample is the value itself, and scipy refuses to draw it
        return float(values[0]), float(values[0])
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


def decided(errors: dict[str, Any], config: PromotionConfig) -> dict[str, Any]:
    """Promoted when the interval's upper end is within the margin: not worse by more than that, with confidence."""
    if errors["common"] < config.least_common:
        reason = (
            f"{errors['common']:,} test materials in common, fewer than promotion.least_common={config.least_common:,}"
        )
        return {"promoted": False, "reason": reason}
    within = errors["worse_high"] <= config.margin
    middle, low, high = (signed_share(errors[name]) for name in ("worse", "worse_low", "worse_high"))
    materials = f"{errors['common']:,} common test materials"
    reason = f"its MAE differs from the champion's by {middle} ({low} to {high}) on {materials}"
    return {
        "promoted": within,
        "reason": f"{reason}; allowed is an upper end of {signed_share(config.margin)} (promotion.margin)",
    }


def drift(new: pa.Table, old: pa.Table) -> dict[str, Any]:
    """What the champion's data did not have: materials, elements, another distribution of the target.

    `distance` is the largest gap between the two cumulative distributions of the target (Kolmogorov–Smirnov).
    """
    ids = pc.is_in(new[MATERIAL_ID], old[MATERIAL_ID])
    kept = pc.sum(ids).as_py() or 0
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

"""Several runs on the same test materials: those that all of them have in their test splits, which none has seen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evaluation.comparison import IDENTITY, compare_errors
from evaluation.config import PromotionConfig
from evaluation.metrics import numbers, roc_auc
from storage.schemas import MATERIAL_ID

LEAST = 2  # a lone pair has no spread to draw from


def errors_in_common(predictions: Sequence[Path], *, classes: bool, config: PromotionConfig) -> dict[str, Any]:
    """The errors of each run, and their paired differences from the first run's.

    `predictions` are the tables of at least two runs of one target. All are measured against the first run's labels.
    Returns `common` (number of materials) and a dict a run: `test` (its test materials), `relabelled` (common materials
    whose label is another one than in the first run), and, with two materials or more, `mae`, and after the first run
    `difference` from its MAE with the bootstrap interval `low` … `high` at `config.confidence`; all in the target's
    unit. With `classes` the MAE is of the probability, and there is `roc_auc` (None with one class only).
    """
    tables = [_test_rows(path) for path in predictions]
    common = tables[0].select(IDENTITY)
    for table in tables[1:]:
        common = common.join(table.select(IDENTITY), IDENTITY, join_type="left semi")
    found: list[dict[str, Any]] = [{"test": len(table)} for table in tables]
    tables = [table.join(common, IDENTITY, join_type="left semi").sort_by(MATERIAL_ID) for table in tables]
    labels = tables[0]["target"]
    for table, run in zip(tables, found, strict=True):
        run["relabelled"] = pc.sum(pc.not_equal(table["target"], labels)).as_py() or 0
    if len(common) >= LEAST:
        tables = [table.set_column(table.schema.get_field_index("target"), "target", labels) for table in tables]
        for table, run in zip(tables, found, strict=True):
            run |= _beside(tables[0], table, config)
            run |= _ranking(table) if classes else {}
    return {"common": len(common), "runs": found}


def _test_rows(path: Path) -> pa.Table:
    return pq.read_table(path, columns=[*IDENTITY, "split", "target", "predicted"], filters=pc.field("split") == "test")


def _beside(first: pa.Table, other: pa.Table, config: PromotionConfig) -> dict[str, float]:
    found = compare_errors(other, first, config)
    if other is first:
        return {"mae": found["challenger_mae"]}
    unit = found["champion_mae"] or 1.0  # `compare_errors` divides by it
    differences = {"difference": found["worse"], "low": found["worse_low"], "high": found["worse_high"]}
    return {"mae": found["challenger_mae"], **{name: share * unit for name, share in differences.items()}}


def _ranking(table: pa.Table) -> dict[str, float | None]:
    positive = np.asarray(table["target"]) > 0.5
    return numbers(roc_auc=roc_auc(positive, np.asarray(table["predicted"])))

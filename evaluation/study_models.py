"""The models of a study, read from the tables of their trainings."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from evaluation import metrics
from storage.schemas import MATERIAL_ID


class TrainedModel(BaseModel):
    """A model of a study: the tables of its training, how that went, and the parameters of the step by group."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    label: str
    predictions: Path
    history: Path
    epochs: int
    kept_epoch: int
    weights: int
    parameters: dict[str, Any]  # model, train, split
    split: dict[str, int]  # rows by the name of their split

    def errors(self, task: str) -> dict[str, Any]:
        """The errors of its test rows beside the baseline's, as `metrics.json` of its evaluation has them."""
        table = pq.read_table(self.predictions, columns=["split", "target", "predicted"])
        split = table["split"].to_numpy()
        target, predicted = (np.asarray(table[name].to_numpy(), dtype=float) for name in ("target", "predicted"))
        mean, test = float(target[split == "train"].mean()), split == "test"
        if task == "classification":
            return metrics.classification(target[test] > 0.5, predicted[test], mean)
        return metrics.regression(target[test], predicted[test], mean)

    def test_rows(self) -> pa.Table:
        """Its predictions for its test rows, by material_id."""
        table = pq.read_table(self.predictions)
        return table.filter(pc.equal(table["split"], "test")).sort_by(MATERIAL_ID)

    def learning(self) -> pd.DataFrame:
        """Its learning curve: one row an epoch."""
        return pq.read_table(self.history).to_pandas()


def absolute_errors(models: Sequence[TrainedModel]) -> NDArray[np.float64]:
    """Absolute errors of the test rows that all models have, (models, rows), in the unit of the target."""
    tables = [model.test_rows() for model in models]
    names = [np.asarray(table[MATERIAL_ID].to_pylist(), dtype=object) for table in tables]
    common = set(names[0]).intersection(*names[1:])
    kept = [table.filter(pa.array([name in common for name in ids])) for table, ids in zip(tables, names, strict=True)]
    return np.abs([table["predicted"].to_numpy() - table["target"].to_numpy() for table in kept])

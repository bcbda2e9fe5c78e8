"""The models of a study, read from the tables of their trainings."""

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


def absolute_errors(models: list[TrainedModel]) -> NDArray[np.float64]:
    """Absolute errors of the test rows, (models, rows); the rows are the same, in the same order, for all models.

    Raises ValueError if the models have other test rows than the first.
    """
    tables = [model.test_rows() for model in models]
    for model, table in zip(models, tables, strict=True):
        if not table[MATERIAL_ID].equals(tables[0][MATERIAL_ID]):
            raise ValueError(f"{model.label}: has other test rows than {models[0].label}")
    return np.abs([np.asarray(table["predicted"]) - np.asarray(table["target"]) for table in tables])

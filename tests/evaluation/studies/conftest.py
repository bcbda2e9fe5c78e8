"""Tables of made-up trainings, as the steps of studies get them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from evaluation.study_models import TrainedModel
from evaluation.study_page import StudyAbout
from storage import schemas


def _about(kind: str, **changes: Any) -> StudyAbout:
    found = {"run": f"made-up-{kind}-1a2b3c4d", "source": "made-up.parquet", "title": "made-up", "note": ""}
    found |= {"target": "band_gap_ev", "unit": "eV", "task": "regression", "configuration": {"train": {"epochs": 3}}}
    return StudyAbout(**{"kind": kind, **found, **changes})


def _model(folder: Path, label: str, target: Any, predicted: Any, split: list[str], **changes: Any) -> TrainedModel:
    """A training with these predictions for rows m-0, m-1, …"""
    rows = len(split)
    names = changes.pop("material_id", [f"m-{n}" for n in range(rows)])
    columns = {"material_id": names, "formula": ["NaCl"] * rows, "split": split, "target": target}
    columns |= {"predicted": predicted, "atomic_numbers": [[11, 17]] * rows, "spacegroup_number": [225] * rows}
    table = pa.table({field.name: columns[field.name] for field in schemas.PREDICTIONS}).cast(schemas.PREDICTIONS)
    path = folder / label.replace("/", "-")
    path.mkdir(parents=True)
    schemas.write_table(table, path / "predictions.parquet")
    epoch = np.arange(1.0, 4.0)
    history = {"epoch": epoch, "learning_rate": epoch, "train_loss": 1 / epoch, "validation_mae": 1 / epoch}
    schemas.write_table(pa.table(history).cast(schemas.HISTORY), path / "history.parquet")
    counts = {name: split.count(name) for name in set(split)}
    parameters = {"split": {"group": "material"}, "train": {}, "model": {}} | changes.pop("parameters", {})
    paths = {"predictions": path / "predictions.parquet", "history": path / "history.parquet"}
    return TrainedModel(label=label, **paths, epochs=3, kept_epoch=3, weights=100, split=counts, parameters=parameters)


@pytest.fixture
def about() -> Callable[..., StudyAbout]:
    """about(kind, …): what a page says about the study."""
    return _about


@pytest.fixture
def model() -> Callable[..., TrainedModel]:
    """model(folder, label, target, predicted, split, …): a training with these predictions for rows m-0, m-1, …"""
    return _model

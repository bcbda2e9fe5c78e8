"""Step 6: the new model beside the champion."""

from typing import Any

from prefect import get_run_logger, task
from pydantic import BaseModel, ConfigDict

from evaluation.config import PromotionConfig
from storage.artefact import Artefact
from storage.champions import lineage
from storage.names import split_path
from tasks.caching import BuildPlan, RunContext, step
from tasks.programs import Program

PREDICTIONS = "predictions.parquet"


class ReferenceModel(BaseModel):
    """The model that a new one is compared with. `model` is None if there is none, `predictions` if they are lost."""

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    predictions: str | None = None  # sha256


def lineage_name(downloaded: Artefact, trained: Artefact) -> str:
    """The name of the lineage of champions for this source and target; of a classification, for its threshold, too."""
    words = [downloaded.facts["title"], trained.facts["target"]]
    train = trained.parameters["train"]
    if train["task"] != "regression":
        words += [train["task"], _number(train["threshold"])]
    return "-".join(words)


def _number(value: float) -> str:
    """As short as it is exact: 0, 0.5, 1e20. A plus sign would be a dash in the name of the folder."""
    return repr(float(value)).removesuffix(".0").replace("e+", "e")


def model_of(trained: Artefact) -> str:
    """The model's folder, relative to the store's root."""
    return f"{trained.step}/{trained.key}"


@task(name="champion", persist_result=False)
def reference_model(downloaded: Artefact, trained: Artefact, context: RunContext) -> ReferenceModel:
    """The model that a new one is compared with: the champion as it is now."""
    model = lineage(context.artefacts, lineage_name(downloaded, trained)).reference_model(model_of(trained))
    if model is None:
        return ReferenceModel()
    found = context.artefacts.find(*split_path(model), get_run_logger().warning)
    predictions = found.files.get(PREDICTIONS) if found else None
    return ReferenceModel(model=model, predictions=predictions.sha256 if predictions else None)


@step(version=2)
def compare(trained: Artefact, against: ReferenceModel, config: PromotionConfig, context: RunContext) -> BuildPlan:
    """The decision whether the model is promoted, with its numbers, and what is new in its data."""
    spec: dict[str, Any] = {"challenger": context.file(trained, PREDICTIONS), "config": config}
    spec["lost"] = against.model is not None and against.predictions is None
    if against.predictions:
        spec["champion"] = context.artefacts.root / str(against.model) / PREDICTIONS
    return BuildPlan(program=Program(module="evaluation.comparison", spec=spec))

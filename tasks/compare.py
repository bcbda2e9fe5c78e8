"""Step 6: the new model beside the champion."""

from typing import Any

from prefect import get_run_logger, task
from pydantic import BaseModel, ConfigDict

from evaluation.config import PromotionConfig
from storage.artefact import Artefact
from storage.champions import lineage
from tasks.caching import Made, Place, step
from tasks.programs import Program

PREDICTIONS = "predictions.parquet"


class Opponent(BaseModel):
    """The model that a new one is compared with; no `model` where there was none, no `predictions` where it is lost."""

    model_config = ConfigDict(frozen=True)

    model: str | None = None
    predictions: str | None = None  # sha256


def lineage_of(downloaded: Artefact, trained: Artefact) -> str:
    """The name under which models of this source and target follow each other."""
    words = [downloaded.facts["title"], trained.facts["target"]]
    task = trained.parameters["train"]["task"]
    return "-".join([*words, *([task] if task != "regression" else [])])


def model_of(trained: Artefact) -> str:
    """The model's folder, relative to the store's root."""
    return f"{trained.step}/{trained.key}"


@task(name="champion", persist_result=False)
def opponent(downloaded: Artefact, trained: Artefact, place: Place) -> Opponent:
    """Whom the model is to be compared with, as things stand now."""
    model = lineage(place.artefacts, lineage_of(downloaded, trained)).opponent(model_of(trained))
    if model is None:
        return Opponent()
    step_name, _, key = model.partition("/")
    found = place.artefacts.find(step_name, key, get_run_logger().warning)
    return Opponent(model=model, predictions=found.files[PREDICTIONS].sha256 if found else None)


@step(version=1)
def compare(trained: Artefact, against: Opponent, config: PromotionConfig, place: Place) -> Made:
    """The decision whether the model is promoted, with its numbers, and what is new in its data."""
    spec: dict[str, Any] = {"challenger": place.file(trained, PREDICTIONS), "config": config}
    spec["lost"] = against.model is not None and against.predictions is None
    if against.predictions:
        spec["champion"] = place.artefacts.root / str(against.model) / PREDICTIONS
    return Made(program=Program(module="evaluation.comparison", spec=spec))

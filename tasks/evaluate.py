"""Step 5: from predictions to numbers."""

from pathlib import Path
from typing import Any

from storage.artefact import Artefact
from tasks.caching import Made, Place, step
from tasks.programs import Program


def named(arguments: dict[str, Any]) -> dict[str, Any]:
    """The source's name, by which published figures are found."""
    return {"title": arguments["downloaded"].facts["title"]}


@step(version=1, told=named)
def evaluate(trained: Artefact, downloaded: Artefact, place: Place) -> Made:
    """Errors by split, element, composition and symmetry, beside the baseline and the published figures."""
    spec = {
        "predictions": place.file(trained, "predictions.parquet"),
        "history": place.file(trained, "history.parquet"),
        "gates": gates_of(trained, place),
        "target": trained.facts["target"],
        "unit": trained.facts["unit"],
        "task": trained.parameters["train"]["task"],
        "source": downloaded.facts["title"],
    }
    return Made(program=Program(module="evaluation.evaluate", spec=spec))


def gates_of(trained: Artefact, place: Place) -> Path | None:
    """The table of gate values, where the model has gates."""
    return place.file(trained, "gates.parquet") if "gates.parquet" in trained.files else None

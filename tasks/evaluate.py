"""Step 5: from predictions to numbers."""

from pathlib import Path
from typing import Any

from storage.artefact import Artefact
from tasks.caching import BuildPlan, RunContext, step
from tasks.programs import Program


def title_key(arguments: dict[str, Any]) -> dict[str, Any]:
    """The source's name, by which published figures are found."""
    return {"title": arguments["downloaded"].facts["title"]}


@step(version=5, extra_key=title_key)
def evaluate(trained: Artefact, downloaded: Artefact, context: RunContext) -> BuildPlan:
    """Errors by split, element, composition and symmetry, beside the baseline and the published figures."""
    spec = {
        "predictions": context.file(trained, "predictions.parquet"),
        "model": context.file(trained, "model.json") if trained.step == "ensemble" else None,
        "history": context.file(trained, "history.parquet"),
        "gates": gates_of(trained, context),
        "target": trained.facts["target"],
        "unit": trained.facts["unit"],
        "task": trained.parameters["train"]["task"],
        "source": downloaded.facts["title"],
    }
    return BuildPlan(program=Program(module="evaluation.evaluate", spec=spec))


def gates_of(trained: Artefact, context: RunContext) -> Path | None:
    """The table of gate values, where the model has gates."""
    return context.file(trained, "gates.parquet") if "gates.parquet" in trained.files else None

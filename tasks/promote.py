"""Step 7: the model gets its card, by which `predict` and `show` find it."""

import json
from typing import Any

from storage.registry import Card
from storage.store import Artefact
from tasks.caching import Made, Place, step
from tasks.programs import Program
from tasks.report import run_name


def carded(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the card says of the run's origin."""
    downloaded, trained = arguments["downloaded"], arguments["trained"]
    source, note = downloaded.parameters["source"], downloaded.facts["note"]
    return {"run": run_name(downloaded, trained), "source": source, "note": note, "model": trained.key}


@step(version=1, told=carded)
def promote(downloaded: Artefact, trained: Artefact, evaluated: Artefact, page: Artefact, place: Place) -> Made:
    """The card of a trained, evaluated, reported model."""
    metrics = json.loads(place.file(evaluated, "metrics.json").read_text(encoding="utf-8"))
    card = Card(
        run=run_name(downloaded, trained),
        source=downloaded.parameters["source"],
        note=downloaded.facts["note"],
        target=metrics["target"],
        unit=metrics["unit"],
        task=metrics["task"],
        metric=metrics["metric"],
        test=metrics["test"][metrics["metric"]],
        baseline=metrics["test"][f"baseline_{metrics['metric']}"],
        materials=metrics["test"]["count"],
        model=f"{trained.step}/{trained.key}",
        predictions=f"{trained.step}/{trained.key}/predictions.parquet",
        report=f"{page.step}/{page.key}/report.html",
    )
    return Made(program=Program(module="storage.registry", spec={"card": card}))

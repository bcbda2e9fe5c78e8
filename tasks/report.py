"""Step 7: from tables to the page that is forwarded, and to what the UI shows of it."""

import json
import os
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from storage.artefact import Artefact
from tasks.caching import BuildPlan, RunContext, step
from tasks.evaluate import gates_of
from tasks.programs import Program

REPORTS_URL = "CGCNN_REPORTS_URL"  # set where the store's reports are served


def publish(page: Artefact, arguments: dict[str, Any], _found: bool) -> None:
    """The report's numbers in the UI: markdown, table, and where the page lies."""
    context, evaluated = arguments["context"], arguments["evaluated"]
    summary = context.file(page, "summary.md").read_text(encoding="utf-8")
    create_markdown_artifact(summary, key="report", description="The report's numbers")
    metrics = json.loads(context.file(evaluated, "metrics.json").read_text(encoding="utf-8"))
    rows = [{"split": name, **metrics[name]} for name in ("train", "validation", "test") if metrics.get(name)]
    create_table_artifact(rows, key="errors", description=f"{metrics['target']} ({metrics['unit']})")
    create_link_artifact(address_of(page, context), key="page", link_text="report.html")


def address_of(page: Artefact, context: RunContext) -> str:
    """Where a browser finds a page of the store: where reports are served, else the file, or its URL."""
    reports = os.environ.get(REPORTS_URL)  # the UI may not link to a file
    if reports:
        return f"{reports}/{page.key}/report.html"
    if context.artefacts.url:
        return context.artefacts.location(f"{page.step}/{page.key}/report.html")
    return context.file(page, "report.html").as_uri()


def report_key(arguments: dict[str, Any]) -> dict[str, Any]:
    """What the page says about the run, without its cost: a page that says something else is another page."""
    names = ("downloaded", "structures", "graphs", "trained")
    whole = about(*(arguments[name] for name in names))
    return {name: value for name, value in whole.items() if name not in COSTS}


@step(version=5, extra_key=report_key, on_complete=publish)
def report(  # noqa: PLR0913  a page tells of all steps before it
    downloaded: Artefact,
    structures: Artefact,
    graphs: Artefact,
    trained: Artefact,
    evaluated: Artefact,
    compared: Artefact,
    context: RunContext,
) -> BuildPlan:
    """report.html and summary.md: a function of the stored tables."""
    spec = {
        "evaluation": context.artefacts.folder(evaluated.step, evaluated.key),
        "comparison": context.file(compared, "comparison.json"),
        "predictions": context.file(trained, "predictions.parquet"),
        "history": context.file(trained, "history.parquet"),
        "gates": gates_of(trained, context),
        "rejected": [context.file(structures, "rejected.parquet"), context.file(graphs, "rejected.parquet")],
        "conflicts": context.file(structures, "conflicts.parquet"),
        "about": about(downloaded, structures, graphs, trained),
    }
    return BuildPlan(program=Program(module="evaluation.page", spec=spec))


def about(downloaded: Artefact, structures: Artefact, graphs: Artefact, trained: Artefact) -> dict[str, Any]:
    """What the page says about the run besides its tables: resolved, counts, configuration, cost."""
    checked, built, training = structures.facts, graphs.facts, trained.facts
    parameters = trained.parameters
    return {
        **subject_of(downloaded, structures, trained),
        "run": run_name(downloaded, trained),
        "date": trained.created[:10],
        "rows": checked["rows"],
        "accepted": built["accepted"],
        "rejected": checked["rejected"] + built["rejected"],
        "by_rule": {**checked["by_rule"], **built["by_rule"]},
        "conflicts": checked["conflicts"],
        "configuration": {
            **asked_of(downloaded),
            "checks": structures.parameters["checks"],
            "graphs": graphs.parameters["config"],
            **{name: parameters[name] for name in ("split", "model")},
            "train": with_recipe(parameters["train"], training),
            **({"start_from": training["start_from"]} if "start_from" in training else {}),
            **({"auxiliary": graphs.parameters["auxiliary"]} if "auxiliary" in graphs.parameters else {}),
            **({"members": _by_number(parameters["settings"])} if "settings" in parameters else {}),
        },
        "atoms": built["atoms"],
        "orbits": built["orbits"],
        "graph_edges": built["edges"],
        "material_page": downloaded.facts.get("material_page"),
        **{name: training[name] for name in ("members", "auxiliary") if name in training},
        **{name: training[name] for name in TRAINING_FACTS},
    }


def with_recipe(train: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
    """The settings of a training, with what the number of training rows chose where nobody did.

    A training by the minute has no number of epochs. One that is older than the recipe by size names all three.
    """
    rows = facts["split"].get("train", 0)
    chosen = {name: f"{value:g}, by {rows:,} training rows" for name, value in facts.get("recipe", {}).items()}
    used = {name: value for name, value in train.items() if name != "epochs" or not train.get("minutes")}
    return {name: chosen.get(name, value) if value is None else value for name, value in used.items()}


def subject_of(downloaded: Artefact, structures: Artefact, trained: Artefact) -> dict[str, Any]:
    """What is learned from what: of `evaluation.page.Subject`, what any model of a source and target has."""
    return {
        "source": Path(downloaded.parameters["source"]).name,
        "title": downloaded.facts["title"],
        "note": downloaded.facts["note"],
        "target": structures.parameters["target"],
        "unit": trained.facts["unit"],
        "task": trained.parameters["train"]["task"],
    }


def _by_number(settings: list[dict[str, Any]]) -> dict[str, Any]:
    return {str(number): own for number, own in enumerate(settings, start=1)}


def asked_of(downloaded: Artefact) -> dict[str, Any]:
    """The query that a database was asked, where the source is one: what was said of it, a long list by its length."""
    query = downloaded.parameters["query"]
    said = {name: value for name, value in (query or {}).items() if value is not None}
    short = {n: f"{len(v):,} of them" if isinstance(v, list) and len(v) > 20 else v for n, v in said.items()}
    return {} if query is None else {"materials_project": short}


TRAINING_COSTS = (
    "seconds",
    "structures_per_second",
    "edges_per_second",
    "data_wait",
    "peak_memory_mib",
    "processes",
    "data",
    "device",
)
COSTS = ("date", *TRAINING_COSTS)  # may differ between trainings with the same bytes

TRAINING_FACTS = (
    "split",
    "split_by",
    "parameters",
    "epochs",
    "kept_epoch",
    *TRAINING_COSTS,
)


def run_name(downloaded: Artefact, trained: Artefact) -> str:
    """Source, target and the beginning of the training's key: the same training has the same name."""
    return f"{downloaded.facts['title']}-{trained.facts['target']}-{trained.key[:8]}"

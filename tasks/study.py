"""What the steps that write the page of a study have in common: what it says about itself, and what the UI shows."""

from collections.abc import Callable
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact

from storage.artefact import Artefact, digest_of
from tasks.caching import Artefacts, RunContext
from tasks.report import address_of, asked_of, subject_of


def about_study(
    kind: str, downloaded: Artefact, structures: Artefact, trained: Artefacts, common: dict[str, Any]
) -> dict[str, Any]:
    """The fields of `evaluation.study_page.StudyAbout`; `common` is the configuration that all models share."""
    subject = subject_of(downloaded, structures, next(iter(trained.by_label.values())))
    which = digest_of({label: artefact.key for label, artefact in trained.by_label.items()})
    return {
        **subject,
        "kind": kind,
        "run": f"{subject['title']}-{subject['target']}-{kind}-{which[:8]}",
        "configuration": {**asked_of(downloaded), "checks": structures.parameters["checks"], **common},
    }


def study_key(kind: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The `extra_key` of such a step: what the page says of itself."""

    def key(arguments: dict[str, Any]) -> dict[str, Any]:
        names = ("downloaded", "structures", "trained", "common")
        return about_study(kind, *(arguments[name] for name in names))

    return key


def models_of(trained: Artefacts, context: RunContext) -> list[dict[str, Any]]:
    """The fields of `evaluation.study_models.TrainedModel` for each model, in their order."""
    return [
        {
            "label": label,
            "predictions": context.file(artefact, "predictions.parquet"),
            "history": context.file(artefact, "history.parquet"),
            "weights": artefact.facts["parameters"],
            "parameters": {name: artefact.parameters[name] for name in ("model", "train", "split")},
            **{name: artefact.facts[name] for name in ("epochs", "kept_epoch", "split")},
        }
        for label, artefact in trained.by_label.items()
    ]


def publish_study(page: Artefact, arguments: dict[str, Any], _found: bool) -> None:
    """`on_complete` of such a step: its numbers in the UI, and where the page lies."""
    context = arguments["context"]
    summary = context.file(page, "summary.md").read_text(encoding="utf-8")
    create_markdown_artifact(summary, key=page.step, description="The study's numbers")
    create_link_artifact(address_of(page, context), key="page", link_text="report.html")

"""The page of a sweep, from the table of its trials and the evaluation of the best one, or of the best together."""

from typing import Any

from pydantic import Field

from storage.artefact import Artefact, digest_of
from tasks.caching import Artefacts, BuildPlan, Hint, RunContext, step
from tasks.compare import model_of
from tasks.programs import Program
from tasks.study import about_study, publish_study


class SweepTable(Hint):
    """What a sweep found; its digest is in the key. `trials` are rows of `storage.schemas.TRIALS`.

    `best` are stage and number of the winner, `members` those of the trials in an ensemble, `settings` the
    configuration of the model as YAML, `importances` a share by key.
    """

    name: str
    trials: list[dict[str, Any]]
    best: tuple[int, int]
    importances: dict[str, float]
    settings: str
    common: dict[str, Any]
    how: dict[str, Any]
    members: list[tuple[int, int]] = Field([], exclude_if=lambda members: not members)


def table_key(arguments: dict[str, Any]) -> dict[str, Any]:
    """The same trials give the same page, which names the folder of an ensemble."""
    table: SweepTable = arguments["table"]
    model = {"model": model_of(arguments["trained"])} if table.members else {}
    return {"table": digest_of(table.model_dump(mode="json")), **model}


@step(version=1, extra_key=table_key, on_complete=publish_study)
def sweep(
    trained: Artefact,
    evaluated: Artefact,
    downloaded: Artefact,
    structures: Artefact,
    table: SweepTable,
    context: RunContext,
) -> BuildPlan:
    """report.html, summary.md, trials.parquet, and the best configuration as best.yaml."""
    common = {"sweep": {"name": table.name, **table.how}, **table.common}
    spec = {
        "about": about_study("sweep", downloaded, structures, Artefacts(by_label={table.name: trained}), common),
        "metrics": context.file(evaluated, "metrics.json"),
        **table.model_dump(mode="json", include={"trials", "best", "importances", "settings", "members"}),
        "model": model_of(trained),
    }
    return BuildPlan(program=Program(module="evaluation.sweep", spec=spec))

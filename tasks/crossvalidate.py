"""The folds of a cross-validation, and the step that reports over them."""

from typing import Any

from prefect import task

from gnn.config import SplitConfig
from gnn.folds import Folds, choose, published_folds
from storage.artefact import Artefact
from tasks.caching import Artefacts, BuildPlan, RunContext, step
from tasks.programs import Program
from tasks.study import about_study, models_of, publish_study, study_key


@task(name="folds", persist_result=False)
def folds_of(structures: Artefact, split: SplitConfig, wanted: tuple[int, ...] | None, context: RunContext) -> Folds:
    """The folds that are run: of the accepted structures' published column where there is one."""
    files = [context.file(structures, name) for name in sorted(structures.files) if name.startswith("structures-")]
    return choose(published_folds(files, split), split, wanted)


@step(version=2, extra_key=study_key("crossvalidate"), on_complete=publish_study)
def crossvalidate(
    downloaded: Artefact,
    structures: Artefact,
    trained: Artefacts,
    folds: Folds,
    common: dict[str, Any],
    context: RunContext,
) -> BuildPlan:
    """The report over the folds, the predictions of all test rows, and the record in Matbench's format."""
    last = max(model.created for model in trained.by_label.values())
    models = models_of(trained, context)
    spec = {
        "about": about_study("crossvalidate", downloaded, structures, trained, common),
        "models": {model["parameters"]["split"]["fold"]: model for model in models},
        "folds": folds.count,
        "column": folds.column,
        "stamp": f"{last[:10].replace('-', '.')} {last[11:16]}.{last[17:19]}",
    }
    return BuildPlan(program=Program(module="evaluation.crossvalidate", spec=spec))

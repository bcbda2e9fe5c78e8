"""The step that reports a learning curve."""

from typing import Any

from storage.artefact import Artefact
from tasks.caching import Artefacts, BuildPlan, RunContext, step
from tasks.programs import Program
from tasks.study import about_study, models_of, publish_study, study_key


@step(version=1, extra_key=study_key("curve"), on_complete=publish_study)
def curve(
    downloaded: Artefact,
    structures: Artefact,
    trained: Artefacts,
    goal: float | None,
    common: dict[str, Any],
    context: RunContext,
) -> BuildPlan:
    """Error against the number of training structures, the fitted power law, and what a goal needs."""
    about = about_study("curve", downloaded, structures, trained, common)
    spec = {"about": about, "models": models_of(trained, context), "goal": goal}
    return BuildPlan(program=Program(module="evaluation.curve", spec=spec))

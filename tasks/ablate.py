"""The step that reports an ablation."""

from typing import Any

from storage.artefact import Artefact
from tasks.caching import Artefacts, BuildPlan, RunContext, step
from tasks.programs import Program
from tasks.study import about_study, models_of, publish_study, study_key


@step(version=1, extra_key=study_key("ablate"), on_complete=publish_study)
def ablate(
    downloaded: Artefact,
    structures: Artefact,
    trained: Artefacts,
    settings: dict[str, dict[str, Any]],
    common: dict[str, Any],
    context: RunContext,
) -> BuildPlan:
    """The differences of the variants from the full model. A model's label is its variant's name, a comma, its seed."""
    models = models_of(trained, context)
    variants = {name: [m for m in models if m["label"].rpartition(", ")[0] == name] for name in settings}
    about = about_study("ablate", downloaded, structures, trained, common)
    spec = {"about": about, "variants": variants, "settings": settings}
    return BuildPlan(program=Program(module="evaluation.ablate", spec=spec))

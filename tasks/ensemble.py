"""Step 4, where there are several trainings: from their models to one with an uncertainty."""

from gnn.config import ModelConfig, SplitConfig, TrainConfig
from tasks.caching import Artefacts, BuildPlan, RunContext, step
from tasks.programs import Program


@step(version=1)
def ensemble(
    members: Artefacts,
    model: ModelConfig,  # noqa: ARG001  for the steps that read what was trained, and how
    train: TrainConfig,
    split: SplitConfig,  # noqa: ARG001  the same
    context: RunContext,
) -> BuildPlan:
    """All weights, the mean of what the members predict, and its uncertainty, calibrated on the validation rows."""
    trained = list(members.by_label.values())
    spec = {
        "members": [context.artefacts.local_folder(member.step, member.key) for member in trained],
        "facts": [member.facts for member in trained],
        "coverage": train.coverage,
    }
    return BuildPlan(program=Program(module="gnn.ensemble", spec=spec))

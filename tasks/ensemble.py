"""Step 4, where there are several trainings: from their models to one with an uncertainty."""

from collections.abc import Mapping
from typing import Any

from prefect.task_runners import ThreadPoolTaskRunner

from gnn.config import ModelConfig, SplitConfig, TrainConfig
from storage.artefact import Artefact
from tasks.caching import Artefacts, BuildPlan, RunContext, step
from tasks.programs import Program
from tasks.train import train_model


def train_members(
    graphs: Artefact,
    trainings: Mapping[str, tuple[ModelConfig, TrainConfig]],
    split: SplitConfig,
    context: RunContext,
    start: Artefact | None,
) -> Artefacts:
    """The model of each training by its label: on the workers of a pool side by side, here one after the other.

    Here a training has all cores, or the GPU. Those of a pool are all waited for before the first failure is raised.
    """
    calls: list[dict[str, Any]] = [
        {
            **{"graphs": graphs, "model": model, "train": train, "split": split, "start": start},
            "context": context.model_copy(update={"label": f"{number} of {len(trainings)}"}),
        }
        for number, (model, train) in enumerate(trainings.values(), start=1)
    ]
    steps = [train_model.with_options(task_run_name=f"train-model {label.replace('-', ' ')}") for label in trainings]
    if context.dispatch:
        made = _side_by_side(steps, calls)
    else:
        # By the states: of what is in the store a call gives the state, which only a step would take for the model.
        made = [run(**call, return_state=True).result() for run, call in zip(steps, calls, strict=True)]
    return Artefacts(by_label=dict(zip(trainings, made, strict=True)))


def _side_by_side(steps: list[Any], calls: list[dict[str, Any]]) -> list[Artefact]:
    # Threads of their own: this may be in a task run, and they would wait for the thread that it has.
    threads: ThreadPoolTaskRunner[Artefact] = ThreadPoolTaskRunner(max_workers=len(steps))
    with threads:
        futures = [threads.submit(run, call) for run, call in zip(steps, calls, strict=True)]
        for future in futures:
            future.wait()
        return [future.result() for future in futures]


def revision_of_hurdles(arguments: dict[str, Any]) -> dict[str, int]:
    """The floor of their spread has changed: they are made anew, all others keep their keys."""
    return {"floor": 2} if arguments["model"].head == "hurdle" else {}


@step(version=1, extra_key=revision_of_hurdles)
def ensemble(
    members: Artefacts,
    model: ModelConfig,  # noqa: ARG001  for the key, and for the steps that read what was trained, and how
    train: TrainConfig,
    split: SplitConfig,  # noqa: ARG001  the same
    context: RunContext,
    settings: list[dict[str, Any]] | None = None,  # noqa: ARG001  the same
) -> BuildPlan:
    """All weights, the mean of what the members predict, and its uncertainty, calibrated on the validation rows.

    `settings` are those in which members differ that differ in more than the seed.
    """
    trained = list(members.by_label.values())
    spec = {
        "members": [context.artefacts.local_folder(member.step, member.key) for member in trained],
        "facts": [member.facts for member in trained],
        "coverage": train.coverage,
    }
    return BuildPlan(program=Program(module="gnn.ensemble", spec=spec))

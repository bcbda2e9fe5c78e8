"""Step 4: from graphs to a model and its predictions."""

from typing import Any

from crystals.config import GraphConfig
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from storage.artefact import Artefact
from storage.units import unit_of
from tasks.caching import BuildPlan, RunContext, step
from tasks.gpu_pool import dispatch_training
from tasks.programs import Program


def revisions(arguments: dict[str, Any]) -> dict[str, int]:
    """Of what has changed for some settings alone: those trainings are made anew, all others keep their keys."""
    model, train, start = (arguments[name] for name in ("model", "train", "start"))
    found = {} if model.step_divides else {"gaussians": 2}
    taken_over = start is not None and (train.readout == "kept" or train.body_rate == 0)
    return found | ({"start": 2} if taken_over else {})


@step(version=6, extra_key=revisions, dispatch=dispatch_training)
def train_model(
    graphs: Artefact,
    model: ModelConfig,
    train: TrainConfig,
    split: SplitConfig,
    context: RunContext,
    start: Artefact | None = None,
) -> BuildPlan:
    """Weights, learning curve, and predictions for every material, from one training.

    `start` has the weights that it starts from; None are random ones.
    """
    target = graphs.parameters["target"]
    spec = {
        "graphs": [context.artefacts.local_folder(part.step, part.key) / "graphs.parquet" for part in graphs.parts],
        "graph_config": GraphConfig.model_validate(graphs.parameters["config"]),
        "target": target,
        "auxiliary": graphs.parameters.get("auxiliary", ()),
        "unit": unit_of(target),
        "model": model,
        "train": train,
        "split": split,
        "device": context.device,
        "placement": context.placement,
        "start": None if start is None else context.artefacts.local_folder(start.step, start.key),
    }
    program = Program(module="gnn.train", spec=spec, silence=context.placement.stall_timeout)
    return BuildPlan(program=program, checkpoint_minutes=context.placement.checkpoint_minutes)

"""The flow that a worker of the pool `gpu` runs for a `retrain` with `train.where=gpu-pool`: the training alone."""

from typing import Any

from prefect import flow

from flows.config import TrainingConfig
from flows.options import end_programs
from flows.parameters import parameters_of
from storage.artefact import Artefact
from tasks.caching import RunContext, stored
from tasks.printable_logs import make_logs_printable
from tasks.train import train_model


@flow(
    name="train",
    on_running=[make_logs_printable],
    on_cancellation=[end_programs],
    on_crashed=[end_programs],
)
@parameters_of(TrainingConfig)
def train(**settings: Any) -> Artefact:
    """Train a model on graphs that are in the store, on this machine, whatever `train.where` says."""
    config = TrainingConfig.model_validate(settings)
    context = RunContext(store=config.store, device=config.device, placement=config.train.placement)
    graphs = stored("graphs", config.graphs, context)
    start = stored("initial-weights", config.start, context) if config.start else None
    return train_model(graphs, config.model, config.train.trainings[0], config.split, context, start)

"""A trial of a sweep: one training as a task run of its own, watched while it runs."""

import math
import time
from collections.abc import Callable
from typing import Any, cast

import pyarrow.parquet as pq
from prefect import task
from prefect.states import Completed

from gnn.config import ModelConfig, SplitConfig, TrainConfig
from storage.artefact import Artefact
from tasks.caching import PRUNED, RunContext
from tasks.epochs import Pruned, watched_epochs
from tasks.train import train_model
from tasks.trial_loop import TrialResult

Watch = Callable[[int, float], bool]


@task(name="trial", task_run_name="{name}", persist_result=False)
def trial(
    name: str,  # noqa: ARG001  it names the task run
    graphs: Artefact,
    settings: tuple[ModelConfig, TrainConfig, SplitConfig],
    start: Artefact | None,
    context: RunContext,
    prunes: Watch | None,
) -> TrialResult:
    """Train. `prunes(epoch, validation error)` is called after each epoch; if it is true the training ends there."""
    model, train, split = settings
    seen: list[dict[str, Any]] = []

    def on_epoch(metrics: dict[str, Any]) -> None:
        seen.append(metrics)
        epoch, error = metrics["epoch"], metrics["validation_mae"]
        if prunes is not None and prunes(epoch, error):
            raise Pruned(f"after {epoch} of {metrics['epochs']} epochs, validation error {error:.4g}")

    began = time.monotonic()
    with watched_epochs(on_epoch):
        made = cast(Any, train_model)(graphs, model, train, split, context, start, return_state=True)
    if made.name == PRUNED:
        history = [(metrics["epoch"], metrics["validation_mae"]) for metrics in seen]
        result = TrialResult(model=None, error=history[-1][1], history=history, seconds=_whole_cost(seen))
        message = f"after {history[-1][0]} of {seen[-1]['epochs']} epochs"
        return cast(TrialResult, Completed(name=PRUNED, message=message, data=result))
    result = result_of(made.result(), context)
    if not seen:
        return result
    return result.model_copy(update={"wall": time.monotonic() - began, "epoch": seen[-1]["seconds"]})


def _whole_cost(seen: list[dict[str, Any]]) -> float:
    """Seconds of all epochs, those of an earlier attempt as long as those of this one."""
    return float(sum(metrics["seconds"] for metrics in seen) / len(seen) * seen[-1]["epoch"])


def result_of(trained: Artefact, context: RunContext) -> TrialResult:
    """The result of a finished training; an attempt that went on has its epochs before as long as those it made."""
    facts = trained.facts
    rows = pq.read_table(context.file(trained, "history.parquet")).to_pylist()
    history = [(row["epoch"], row["validation_mae"]) for row in rows]
    error = dict(history).get(facts["kept_epoch"], math.nan)
    own = facts["epochs"] - facts["resumed_from"]
    whole = facts["seconds"] * facts["epochs"] / own if own else facts["seconds"]
    return TrialResult(model=trained, error=error, history=history, seconds=whole)

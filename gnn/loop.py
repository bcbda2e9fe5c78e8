"""The training loop: epochs, the checkpoint after each, early stopping, and the weights to keep."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gnn.batches import Graphs
from gnn.checkpoint import load_checkpoint, save_checkpoint
from gnn.config import TrainConfig
from gnn.optimization import RunningMean, Schedule, loss_of, optimizer_of
from gnn.scores import Scaling, mean_absolute_error
from storage.errors import InputError

EVALUATED = 256  # crystals in a batch without gradients

Told = dict[str, Any]


@dataclass
class Data:
    """The graphs, the target of each (M,) in its unit, and the rows (indices) of the two splits a training sees."""

    graphs: Graphs
    target: Tensor
    scaling: Scaling
    train: Tensor
    validation: Tensor
    device: torch.device


@dataclass
class Progress:
    """Where a training stands after an epoch."""

    epoch: int = 0
    best_epoch: int = 0
    best_error: float = math.inf
    kept_epoch: int = 0
    history: list[Told] = field(default_factory=list)


def fit(
    model: nn.Module, data: Data, config: TrainConfig, checkpoint: Path, tell: Callable[[Told], None]
) -> tuple[dict[str, Tensor], Progress, int]:
    """Train `model`; the weights to keep, the history, and the epoch after which this attempt began.

    With the same seed on the same machine the result is the same bit for bit, however often it was killed on the way.
    """
    optimizer = optimizer_of(model, config)
    schedule = Schedule(optimizer, config, math.ceil(len(data.train) / config.batch_size))
    mean = RunningMean(model, config.ema)
    progress, kept = Progress(), {name: value.clone() for name, value in mean.read(model).items()}
    state = load_checkpoint(checkpoint, data.device)
    if state is not None:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        mean.load_state_dict(state["mean"])
        kept, progress = state["kept"], Progress(**state["progress"])
    resumed_from = progress.epoch
    while progress.epoch < config.epochs and not _is_over(progress, config):
        began = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        loss = _epoch(model, data, config, (optimizer, schedule, mean), progress.epoch)
        with swapped(model, mean.read(model)):
            predicted = predict(model, data.graphs, data.validation, data.scaling, data.device)
        error = mean_absolute_error(predicted, data.target[data.validation])
        schedule.after_epoch(error)
        progress.epoch += 1
        if error < progress.best_error:
            progress.best_error, progress.best_epoch = error, progress.epoch
        if config.keeps_last or progress.best_epoch == progress.epoch:
            progress.kept_epoch = progress.epoch
            kept = {name: value.clone() for name, value in mean.read(model).items()}
        row = {"epoch": progress.epoch, "learning_rate": rate, "train_loss": loss, "validation_mae": error}
        progress.history.append(row)
        save_checkpoint(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "mean": mean.state_dict(),
                "kept": kept,
                "progress": vars(progress),
            },
            checkpoint,
        )
        seconds = time.perf_counter() - began
        readable = {name: float(f"{row[name]:.6g}") for name in row if name != "epoch"}
        tell({"epoch": progress.epoch, "epochs": config.epochs, **readable, "seconds": round(seconds, 3)})
    return kept, progress, resumed_from


def _is_over(progress: Progress, config: TrainConfig) -> bool:
    return bool(config.patience) and progress.epoch - progress.best_epoch >= config.patience


def _epoch(
    model: nn.Module,
    data: Data,
    config: TrainConfig,
    movers: tuple[torch.optim.Optimizer, Schedule, RunningMean],
    epoch: int,
) -> float:
    """One pass over the training rows, in an order that depends on (seed, epoch) alone; the mean loss."""
    optimizer, schedule, mean = movers
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    rows = data.train[torch.randperm(len(data.train), generator=generator)]
    total = 0.0
    model.train()
    for batch in data.graphs.batches(rows, config.batch_size, data.device):
        wanted = data.scaling.standardised(data.target[batch.rows]).float().to(data.device)
        loss = loss_of(model(batch), wanted, config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        schedule.after_step()
        mean.update(model)
        total += float(loss.detach()) * len(batch)
    if not math.isfinite(total):
        raise InputError(
            f"train.learning_rate {config.learning_rate:g}: the loss is not finite in epoch {epoch + 1}; "
            "a smaller one, or train.clip, may help"
        )
    return total / len(rows)


@torch.no_grad()
def predict(model: nn.Module, graphs: Graphs, rows: Tensor, scaling: Scaling, device: torch.device) -> Tensor:
    """(len(rows),) predictions in the target's unit, or probabilities."""
    model.eval()
    parts = [scaling.predicted(model(batch).cpu().double()) for batch in graphs.batches(rows, EVALUATED, device)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)


class swapped:
    """Inside, `model` has the given weights; afterwards its own."""

    def __init__(self, model: nn.Module, weights: dict[str, Tensor]) -> None:
        self._model, self._weights = model, weights
        self._own = {name: value.clone() for name, value in model.state_dict().items()}

    def __enter__(self) -> None:
        self._model.load_state_dict(self._weights)

    def __exit__(self, *_: object) -> None:
        self._model.load_state_dict(self._own)

"""The training loop: epochs, a checkpoint after each, early stopping, and which epoch's weights are kept."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from gnn.batches import Graphs
from gnn.checkpoint import load_checkpoint, save_checkpoint
from gnn.config import TrainConfig
from gnn.optimization import Schedule, averaged_model, loss_of, optimizer_of
from gnn.scores import Scaling, mean_absolute_error
from storage.errors import InputError

EVALUATED = 256  # crystals in a batch without gradients

EpochMetrics = dict[str, Any]


@dataclass
class Data:
    """What a training sees: M graphs, their `target` (M,) in its unit, and the indices of the rows of two splits.

    `train` are the rows that weights are learned from, `validation` those that are watched.
    """

    graphs: Graphs
    target: Tensor
    scaling: Scaling
    train: Tensor
    validation: Tensor
    device: torch.device


@dataclass
class TrainingState:
    """How far a training is: epochs done, the best of them and its validation error, and the epoch that is kept."""

    epoch: int = 0
    best_epoch: int = 0
    best_error: float = math.inf
    kept_epoch: int = 0
    history: list[EpochMetrics] = field(default_factory=list)


def fit(
    model: nn.Module, data: Data, config: TrainConfig, checkpoint: Path, on_epoch_end: Callable[[EpochMetrics], None]
) -> tuple[dict[str, Tensor], TrainingState, int]:
    """Train `model`; returns the weights to keep, the state at the end, and the epoch after which this attempt began.

    A checkpoint is written to the folder `checkpoint` after each epoch, and the newest is read at the start: with the
    same seed on the same machine the result is the same bit for bit, however often the training was killed on the way.
    `on_epoch_end` gets the metrics of each epoch: epoch, epochs, learning_rate, train_loss, validation_mae (in the
    target's unit), seconds. Raises InputError if the loss is not finite.
    """
    optimizer = optimizer_of(model, config)
    schedule = Schedule(optimizer, config, math.ceil(len(data.train) / config.batch_size))
    ema = averaged_model(model, config.ema)
    state, kept = TrainingState(), _copy_of_weights(ema.module)
    saved = load_checkpoint(checkpoint, data.device)
    if saved is not None:
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        schedule.load_state_dict(saved["schedule"])
        ema.load_state_dict(saved["ema"])
        kept, state = saved["kept"], TrainingState(**saved["state"])
    resumed_from = state.epoch
    while state.epoch < config.epochs and not _is_over(state, config):
        began = time.perf_counter()
        rate = optimizer.param_groups[0]["lr"]
        loss = _train_epoch(model, data, config, optimizer, schedule, ema, state.epoch)
        predicted = predict(ema.module, data.graphs, data.validation, data.scaling, data.device)
        error = mean_absolute_error(predicted, data.target[data.validation])
        schedule.after_epoch(error)
        state.epoch += 1
        if error < state.best_error:
            state.best_error, state.best_epoch = error, state.epoch
        if config.keeps_last_epoch or state.best_epoch == state.epoch:
            state.kept_epoch = state.epoch
            kept = _copy_of_weights(ema.module)
        row = {"epoch": state.epoch, "learning_rate": rate, "train_loss": loss, "validation_mae": error}
        state.history.append(row)
        save_checkpoint(
            {
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "ema": ema.state_dict(),
                "kept": kept,
                "state": vars(state),
            },
            checkpoint,
        )
        seconds = time.perf_counter() - began
        readable = {name: float(f"{row[name]:.6g}") for name in row if name != "epoch"}
        on_epoch_end({"epoch": state.epoch, "epochs": config.epochs, **readable, "seconds": round(seconds, 3)})
    return kept, state, resumed_from


def _copy_of_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _is_over(state: TrainingState, config: TrainConfig) -> bool:
    return bool(config.patience) and state.epoch - state.best_epoch >= config.patience


def _train_epoch(  # noqa: PLR0913  what a step moves: weights, learning rate, average
    model: nn.Module,
    data: Data,
    config: TrainConfig,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    ema: AveragedModel,
    epoch: int,
) -> float:
    """One pass over the training rows, in an order that depends on (seed, epoch) alone; returns the mean loss."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    rows = data.train[torch.randperm(len(data.train), generator=generator)]
    total = 0.0
    model.train()
    for batch in data.graphs.batches(rows, config.batch_size, data.device):
        wanted = data.scaling.standardize(data.target[batch.rows]).float().to(data.device)
        loss = loss_of(model(batch), wanted, config)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        schedule.after_step()
        ema.update_parameters(model)
        total += float(loss.detach()) * len(batch)
    if not math.isfinite(total):
        raise InputError(
            f"train.learning_rate {config.learning_rate:g}: the loss is not finite in epoch {epoch + 1}; "
            "a smaller one, or train.clip, may help"
        )
    return total / len(rows)


@torch.no_grad()
def predict(model: nn.Module, graphs: Graphs, rows: Tensor, scaling: Scaling, device: torch.device) -> Tensor:
    """Predictions for the graphs at the indices `rows` (M,): (M,) float64 in the target's unit, or probabilities."""
    model.eval()
    parts = [scaling.to_target(model(batch).cpu().double()) for batch in graphs.batches(rows, EVALUATED, device)]
    return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64)

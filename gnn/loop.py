"""The training loop: epochs, a checkpoint after each, early stopping, and which epoch's weights are kept."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gnn import distributed
from gnn.auxiliary import Auxiliary
from gnn.batches import Graphs
from gnn.checkpoint import load_checkpoint, save_checkpoint
from gnn.cost import Cost
from gnn.cuda_graphs import CapturedGradients
from gnn.heads import Head
from gnn.initial import is_readout
from gnn.optimization import PARTS, Schedule, averaged_model, optimizer_of
from gnn.outputs import predict
from gnn.progress import SparseProgress
from gnn.recipe import Recipe
from gnn.sampling import epoch_order, global_batches, steps_of
from gnn.steps import Step, steps
from gnn.time_budget import TimeBudget
from storage.errors import InputError

log = logging.getLogger(__name__)

EpochMetrics = dict[str, Any]


@dataclass
class Data:
    """What a training sees: M graphs, their `target` (M,) in its unit, and the indices of the rows of two splits.

    `train` are the rows that weights are learned from, `validation` those that are watched.
    """

    graphs: Graphs
    target: Tensor
    head: Head
    train: Tensor
    validation: Tensor
    device: torch.device
    edges: Tensor  # (M,) the number of edges of each graph
    auxiliary: Auxiliary | None = None

    def wanted(self, rows: Tensor) -> Tensor:
        """What the network is trained to give for the `rows` (B,): (B,), or (B, 1 + A) with A auxiliary targets."""
        target = self.head.standardize(self.target[rows])
        if self.auxiliary is not None:
            target = torch.cat([target[:, None], self.auxiliary.standardized[rows]], dim=1)
        return target.float().to(self.device)

    def loss(self, output: Tensor, wanted: Tensor, name: str) -> Tensor:
        """Summed over a batch, of the network's numbers and what `wanted` gave. `name` is one of LOSSES."""
        if self.auxiliary is None:
            return self.head.loss(output, wanted, name)
        width = self.head.width
        of_target, others = output[:, :width].squeeze(1), output[:, width:]
        return self.head.loss(of_target, wanted[:, 0], name) + self.auxiliary.loss(others, wanted[:, 1:], name)


@dataclass
class TrainingState:
    """How far a training is: epochs done, the best of them and its validation error, and the epoch that is kept."""

    epoch: int = 0
    best_epoch: int = 0
    best_error: float = math.inf
    kept_epoch: int = 0
    history: list[EpochMetrics] = field(default_factory=list)


class Training:
    """A model and what changes with each step: its weights, their moving average, the optimizer, the learning rate."""

    def __init__(self, model: nn.Module, data: Data, config: Recipe) -> None:
        self.model, self.data, self.config = model, data, config
        self.optimizer = optimizer_of(model, config)
        self.budget = TimeBudget(config.minutes) if config.minutes else None
        self.schedule = Schedule(
            self.optimizer, config, PARTS if self.budget else steps_of(config, data.train, data.edges)
        )
        self.ema = averaged_model(model, config.ema)
        self.too_many = math.inf  # edges that did not fit the GPU
        self.captured: CapturedGradients | None = None
        if data.device.type == "cuda" and distributed.world_size() == 1 and getattr(model, "capturable", False):
            self.captured = CapturedGradients(model, self._loss_of)

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {name: getattr(self, name).state_dict() for name in self._changing}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from what `state_dict` gave."""
        for name in self._changing:
            getattr(self, name).load_state_dict(state[name])

    @property
    def _changing(self) -> list[str]:
        return ["model", "optimizer", "schedule", "ema", *(["budget"] if self.budget else [])]

    @property
    def over(self) -> bool:
        """Is its time spent?"""
        return self.budget is not None and self.budget.over

    def epochs(self, done: int) -> int:
        """How many there will be, as far as can be said after the `done` ones."""
        return self.config.epochs if self.budget is None else self.budget.epochs(done)

    def epoch(self, epoch: int, cost: Cost) -> float:
        """One pass over the training rows, in an order that depends on (seed, epoch) alone; returns the mean loss.

        A time that is spent ends it after any batch.
        """
        data, config = self.data, self.config
        order = epoch_order(data.train, config.seed, epoch)
        batches = global_batches(order, data.edges, config.batch_size, config.batch_edges)
        lost = torch.zeros((), dtype=torch.float64, device=data.device)
        seen, speak = 0, SparseProgress("structures of the epoch", len(order))
        self._to_train()
        for step in cost.waited(steps(data.graphs, data.edges, batches, data.device)):
            lost += self._step(step)
            cost.count(step)
            seen += step.whole
            speak(seen)
            if self.over:
                break
        mean = float(distributed.total(lost)) / seen
        if not math.isfinite(mean):
            raise InputError(
                f"train.learning_rate {config.learning_rate:g}: the loss is not finite in epoch {epoch + 1}; "
                "a smaller one, or train.clip, may help"
            )
        return mean

    def _to_train(self) -> None:
        """What is frozen normalises by the statistics that it came with, and leaves them as they are."""
        self.model.train()
        if self.config.body_rate == 0:
            for name, part in self.model.named_children():
                part.train(is_readout(f"{name}."))

    def _step(self, step: Step) -> Tensor:
        """One update of the weights; returns the sum of this rank's losses."""
        loss = self._gradients(step)
        distributed.add_up_gradients(self.model)
        if self.config.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        if self.budget is None:
            self.schedule.after_step()
        else:
            self.budget.look()
            self.schedule.move_to(round(self.budget.share * PARTS))
        self.ema.update_parameters(self.model)
        return loss

    def _gradients(self, step: Step) -> Tensor:
        """The gradients of this rank's part of the mean loss over the batch; returns the sum of its losses.

        A batch that does not fit a GPU is taken in two parts, or in four, …, whose gradients add up.
        """
        parts = 1 if step.edges < self.too_many else 2
        while True:
            self.optimizer.zero_grad(set_to_none=True)
            try:
                return sum((self._part(part) for part in step.split(parts)), step.loss_of_nothing())
            except torch.OutOfMemoryError:
                self._check_divisible(step, parts)
            parts, self.too_many = 2 * parts, min(self.too_many, step.edges)
            torch.cuda.empty_cache()
            log.info(
                "a batch of %s crystals, %s edges, does not fit the GPU's memory: taken in %s parts, batch statistics "
                "are those of a part; train.batch_edges bounds batches",
                *(f"{number:,}" for number in (len(step.rows), step.edges, parts)),
            )

    def _check_divisible(self, step: Step, parts: int) -> None:
        """Raise InputError where a batch cannot be taken in more parts: the other ranks would not know of it."""
        if distributed.world_size() > 1 or parts >= len(step.rows):
            raise InputError(
                f"train.batch_edges: a batch of {len(step.rows):,} crystals, {step.edges:,} edges, does not fit the "
                "GPU's memory; a smaller bound, or fewer features, may"
            ) from None

    def _part(self, step: Step) -> Tensor:
        batch = step.batch()
        wanted = self.data.wanted(batch.rows)
        if self.captured is not None and step.whole == len(step.rows):
            return self.captured(batch, wanted)
        loss = self._loss_of(self.model(batch), wanted) * step.weight
        (loss / step.whole).backward()
        return loss.detach().double()

    def _loss_of(self, output: Tensor, wanted: Tensor) -> Tensor:
        return self.data.loss(output, wanted, self.config.loss)


def fit(
    model: nn.Module, data: Data, config: Recipe, checkpoint: Path, on_epoch_end: Callable[[EpochMetrics], None]
) -> tuple[dict[str, Tensor], TrainingState, int]:
    """Train `model`; returns the weights to keep, the state at the end, and the epoch after which this attempt began.

    A checkpoint is written to the folder `checkpoint` after each epoch, and the newest is read at the start: with the
    same seed on the same machine the result is the same bit for bit, however often the training was killed on the way.
    `on_epoch_end` gets the metrics of each epoch: epoch, epochs, learning_rate, train_loss, validation_mae (in the
    target's unit), and what it took (`Cost`). Every rank calls this; all of them return the same, and one writes.
    Raises InputError if the loss is not finite.
    """
    training = Training(model, data, config)
    state, kept = TrainingState(), _copy_of_weights(training.ema.module)
    saved = load_checkpoint(checkpoint, data.device) if distributed.writes() else None
    saved = distributed.share_state(saved, data.device)
    if saved is not None:
        training.load_state_dict(saved)
        kept, state = saved["kept"], TrainingState(**saved["state"])
    resumed_from = state.epoch
    while state.epoch < config.whole_epochs and not training.over and not _is_over(state, config):
        cost = Cost(data.device)
        rate = training.optimizer.param_groups[0]["lr"]
        loss = training.epoch(state.epoch, cost)
        speak = SparseProgress("structures of the validation", len(data.validation))
        predicted = predict(training.ema.module, data.graphs, data.validation, data.head, data.device, speak)
        error = float((predicted - data.target[data.validation]).abs().mean())
        training.schedule.after_epoch(error)
        state.epoch += 1
        if error < state.best_error:
            state.best_error, state.best_epoch = error, state.epoch
        if config.keeps_last_epoch or state.best_epoch == state.epoch:
            state.kept_epoch = state.epoch
            kept = _copy_of_weights(training.ema.module)
        row = {"epoch": state.epoch, "learning_rate": rate, "train_loss": loss, "validation_mae": error}
        state.history.append(row)
        if distributed.writes():
            save_checkpoint({**training.state_dict(), "kept": kept, "state": vars(state)}, checkpoint)
        readable = {name: float(f"{row[name]:.6g}") for name in row if name != "epoch"}
        on_epoch_end({"epoch": state.epoch, "epochs": training.epochs(state.epoch), **readable, **cost.metrics()})
    return kept, state, resumed_from


def _copy_of_weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def _is_over(state: TrainingState, config: Recipe) -> bool:
    return bool(config.patience) and state.epoch - state.best_epoch >= config.patience

"""Optimizer, learning-rate schedule and moving average of the weights, by their names in Recipe."""

import inspect
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau
from torch.optim.swa_utils import PARAM_LIST, AveragedModel

from gnn.initial import is_readout
from gnn.recipe import Recipe


def optimizer_of(model: nn.Module, config: Recipe) -> Optimizer:
    """The optimizer over the weights of `model`; `fused` is one kernel for all tensors instead of one each."""
    _leave_out_the_compiler()
    rate, decay = config.learning_rate, config.weight_decay
    parameters: Any = model.parameters() if config.body_rate == 1 else _groups(model, config)
    if config.optimizer == "sgd":
        return _PlainSGD(parameters, lr=rate, momentum=0.9, weight_decay=decay)
    if config.optimizer == "adam":
        return _PlainAdam(parameters, lr=rate, weight_decay=decay, fused=True)
    return _PlainAdamW(parameters, lr=rate, weight_decay=decay, fused=True)


def _plain(step: Any) -> Any:
    """An optimizer's step without the wrapper that imports torch's compiler, only to keep the step from being compiled.

    What else the wrapper does is to switch gradients off.
    """
    return torch.no_grad()(inspect.unwrap(step))


class _PlainSGD(SGD):
    step = _plain(SGD.step)


class _PlainAdam(Adam):
    step = _plain(Adam.step)


class _PlainAdamW(AdamW):
    step = _plain(AdamW.step)


def _groups(model: nn.Module, config: Recipe) -> list[dict[str, Any]]:
    """The readout at the full rate, and the body at its share of it; a body with a rate of 0 is frozen."""
    named = dict(model.named_parameters())
    readout = [weight for name, weight in named.items() if is_readout(name)]
    body = [weight for name, weight in named.items() if not is_readout(name)]
    for weight in body:
        weight.requires_grad_(config.body_rate > 0)
    slower = {"params": body, "lr": config.learning_rate * config.body_rate}
    return [{"params": readout, "lr": config.learning_rate}, *([slower] if config.body_rate else [])]


def _leave_out_the_compiler() -> None:
    """Save the seconds in which an optimizer imports torch's compiler, only to keep its methods from being compiled.

    Where torch finds this attribute, it takes the method as already kept from that; where it is called otherwise in
    another release, the compiler is imported as ever.
    """
    for method in (Optimizer.add_param_group, Optimizer.zero_grad, Optimizer.state_dict, Optimizer.load_state_dict):
        plain: Any = inspect.unwrap(method)
        if plain is not method:
            plain.__dict__.setdefault("__dynamo_disable", plain)


PARTS = 10_000  # steps of the schedule of a training that a time ends


class Schedule:
    """The learning rate over a training, whichever schedule is configured.

    onecycle: Smith & Topin, arXiv:1708.07120; cosine: half a period from the full rate to 0, Loshchilov & Hutter,
    arXiv:1608.03983, without restarts; plateau: half the rate when the validation error stops falling.
    """

    def __init__(self, optimizer: Optimizer, config: Recipe, steps: int) -> None:
        self._by_step: LRScheduler | None = None
        self._by_error: ReduceLROnPlateau | None = None
        if config.schedule == "onecycle":
            total = max(steps, 3) + 1
            rise = max(config.warm_up, 2 / total) if config.warm_up else 0.0  # it divides by the steps of the rise − 1
            rates = [group["lr"] for group in optimizer.param_groups]
            self._by_step = OneCycleLR(optimizer, rates, total_steps=total, pct_start=rise)
        elif config.schedule == "cosine":
            self._by_step = LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))
        elif config.schedule == "plateau":
            self._by_error = ReduceLROnPlateau(optimizer, factor=0.5, patience=max(config.patience // 3, 5))

    def after_step(self) -> None:
        """Call after each optimizer step."""
        if self._by_step is not None:
            self._by_step.step()

    def move_to(self, step: int) -> None:
        """Call after an optimizer step, instead, where steps of the schedule are not those of the optimizer."""
        while self._by_step is not None and self._by_step.last_epoch < step:
            self._by_step.step()

    def after_epoch(self, error: float) -> None:
        """Call after each epoch, with the validation error in the target's unit."""
        if self._by_error is not None:
            self._by_error.step(error)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's state, for a checkpoint."""
        scheduler = self._by_step or self._by_error
        return {} if scheduler is None else scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that `state_dict` gave."""
        scheduler = self._by_step or self._by_error
        if scheduler is not None:
            scheduler.load_state_dict(state)


def averaged_model(model: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average (EMA) of the weights and buffers of `model`; with decay 0 a copy of them.

    averaged ← d · averaged + (1 − d) · current after each step, d = min(decay, t / (t + 9)) in step t, so that early
    weights, which are nearly random, are soon forgotten.
    """

    @torch.no_grad()
    def update(averaged: PARAM_LIST, current: PARAM_LIST, n_averaged: Tensor | int) -> None:
        step = int(n_averaged) + 1
        weight = 1 - min(decay, step / (step + 9))
        if averaged[0].is_floating_point():
            torch._foreach_lerp_(averaged, current, weight)
        else:
            torch._foreach_copy_(averaged, current)  # counters, such as batch norm's number of batches

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)

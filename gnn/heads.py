"""What a network's numbers mean: their scale, the loss that they are trained by, and the prediction that they give.

B crystals, W numbers a crystal: `width`. Targets are in their unit, `wanted` are standardised targets. The deviation of
a head, `deviation`, is that of its training targets, in their unit; `mean` likewise.
"""

import math
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from gnn.config import HeadName
from storage.errors import InputError

LOSSES: dict[str, Callable[..., Tensor]] = {
    "l1": functional.l1_loss,
    "mse": functional.mse_loss,
    "huber": functional.huber_loss,
}
# Of the density exp(−loss(x)) / Z, by which a loss is a likelihood: Laplace's, the normal one, and one between them.
DEVIATION_OF = {"l1": math.sqrt(2), "mse": math.sqrt(0.5), "huber": 1.4981}
LARGEST = 300.0  # of a predicted logarithm: no square of what it belongs to overflows, or is 0
SMALLEST = math.log(1e-3)  # of the logarithm of a predicted deviation: else that of a known row falls without an end


class Head:
    """One number, the standardised target: output = (target − mean) / deviation."""

    width: ClassVar[int] = 1
    least: ClassVar[float] = -math.inf  # of all targets that it is for

    def __init__(self, mean: float, deviation: float) -> None:
        self.mean, self.deviation = mean, deviation

    @classmethod
    def fit(cls, target: Tensor) -> "Head":
        """By `target` (M,) of the training rows alone. The deviation of a constant target is taken as 1."""
        return cls(float(target.mean()), _deviation_of(target))

    @classmethod
    def check(cls, target: Tensor) -> None:
        """Raises InputError if it cannot be that of `target` (M,), of the rows of all splits."""

    @classmethod
    def readout(cls, features: int) -> nn.Linear:
        """The network's last layer: (B, features) → (B, W)."""
        return nn.Linear(features, cls.width)

    def standardize(self, target: Tensor) -> Tensor:
        """Target (M,) → what the network is trained to give (M,)."""
        return (target - self.mean) / self.deviation

    def loss(self, output: Tensor, wanted: Tensor, name: str) -> Tensor:
        """Summed over a batch: `output` (B,) or (B, W), `wanted` (B,). `name` is one of LOSSES."""
        return LOSSES[name](output, wanted, reduction="sum")

    def value(self, output: Tensor) -> Tensor:
        """(…, M, W) numbers of the network → (…, M) predictions in the target's unit."""
        return output[..., 0] * self.deviation + self.mean

    @torch.no_grad()
    def rescale(self, readout: nn.Linear, known: "Head") -> None:
        """Change a network's last layer, which was trained with the head `known` of the same kind, to this scale.

        Its predictions in the target's unit stay what they are.
        """
        self._rescale_value(readout, known, 0)

    def _rescale_value(self, readout: nn.Linear, known: "Head", place: int) -> None:
        scale = known.deviation / self.deviation
        readout.weight[place] *= scale
        readout.bias[place] = readout.bias[place] * scale + (known.mean - self.mean) / self.deviation

    def predicted_deviation(self, output: Tensor) -> Tensor | None:
        """(…, M, W) → (…, M) the standard deviation of the error, in the target's unit; None where none is trained."""
        del output
        return None


class Logarithm(Head):
    """The standardised natural logarithm of a target above 0: an error counts relative to the value."""

    @classmethod
    def fit(cls, target: Tensor) -> Head:
        """Mean and deviation are those of the logarithms."""
        return super().fit(torch.log(target))

    @classmethod
    def check(cls, target: Tensor) -> None:
        """Raises InputError where some are not above 0."""
        positive = target > 0
        if not positive.all():
            raise InputError(
                f"model.head log: is for a target above 0; of {len(target):,} rows {int((~positive).sum()):,} are not, "
                f"the least is {float(target.min()):.4g}"
            )

    def standardize(self, target: Tensor) -> Tensor:
        """Of targets above 0, as all training rows are."""
        return super().standardize(torch.log(target))

    def value(self, output: Tensor) -> Tensor:
        """Always above 0."""
        return torch.exp(super().value(output).clamp(-LARGEST, LARGEST))


class Classification(Head):
    """One number, the logit of the probability that the target lies above the threshold; targets are 0 and 1."""

    @classmethod
    def fit(cls, target: Tensor) -> Head:
        """Classes have no scale."""
        del target
        return cls(0.0, 1.0)

    def standardize(self, target: Tensor) -> Tensor:
        """Classes as they are."""
        return target

    def loss(self, output: Tensor, wanted: Tensor, name: str) -> Tensor:
        """Binary cross entropy, whatever the name."""
        del name
        return functional.binary_cross_entropy_with_logits(output, wanted, reduction="sum")

    def value(self, output: Tensor) -> Tensor:
        """Probabilities."""
        return torch.sigmoid(output[..., 0])


class MeanVariance(Head):
    """The standardised target, and the logarithm of the standard deviation of its error, which is learned with it.

    The deviation is that of the likelihood of the errors, by the density that belongs to the loss: the normal one for
    mse (Nix & Weigend, ICNN 1994), Laplace's for l1. The value is learned by the loss alone: by the likelihood, it
    would hardly be corrected where the deviation is large (Seitzer et al., ICLR 2022). Nor does the deviation change
    the features that it is read off: on Matbench's phonons, that made the value's error larger by two fifths.
    """

    width = 2

    @classmethod
    def readout(cls, features: int) -> nn.Linear:
        """The second number changes its own weights alone."""
        return _ValueAndDeviation(features, cls.width)

    def loss(self, output: Tensor, wanted: Tensor, name: str) -> Tensor:
        """loss(error) + loss(c · error / σ) + log σ; the last two are −log p. `output` (B, 2), `wanted` (B,)."""
        value, log_deviation = output.unbind(1)
        log_deviation = log_deviation.clamp(min=SMALLEST)
        relative = (value - wanted).detach() * DEVIATION_OF[name] * torch.exp(-log_deviation)
        unlikely = LOSSES[name](relative, torch.zeros_like(relative), reduction="sum") + log_deviation.sum()
        return LOSSES[name](value, wanted, reduction="sum") + unlikely

    @torch.no_grad()
    def rescale(self, readout: nn.Linear, known: Head) -> None:
        """The logarithm of the deviation moves by that of the scale."""
        self._rescale_value(readout, known, 0)
        readout.bias[1] += math.log(known.deviation / self.deviation)

    def predicted_deviation(self, output: Tensor) -> Tensor:
        """(…, M, 2) → (…, M), in the target's unit, before calibration."""
        return torch.exp(output[..., 1].clamp(min=SMALLEST)) * self.deviation


class _ValueAndDeviation(nn.Linear):
    def forward(self, features: Tensor) -> Tensor:
        """(B, features) → (B, 2)."""
        weights, biases = self.weight.unsqueeze(1), self.bias.unsqueeze(1)
        value = functional.linear(features, weights[0], biases[0])
        return torch.cat([value, functional.linear(features.detach(), weights[1], biases[1])], dim=1)


class Hurdle(Head):
    """For a target that is exactly 0 for many structures, such as the band gap of metals, and above 0 for the others.

    Two numbers: the logit of the probability that it is above 0, and how large it is then, in deviations (a hurdle
    model: Cragg, Econometrica 39, 829 (1971)). The prediction is 0 up to a probability of ½, so that it is the median,
    which has the smallest absolute error.
    """

    width = 2
    least = 0.0

    @classmethod
    def fit(cls, target: Tensor) -> Head:
        """The deviation is that of the values above 0. Raises InputError where none or all are 0, or some are below."""
        below, above = int((target < 0).sum()), target > 0
        if below or above.all() or not above.any():
            raise InputError(
                "model.head hurdle: is for a target that is 0 for some structures and above 0 for the others; of "
                f"{len(target):,} training rows {below:,} are below 0, {int((target == 0).sum()):,} are 0"
            )
        return cls(0.0, _deviation_of(target[above]))

    def loss(self, output: Tensor, wanted: Tensor, name: str) -> Tensor:
        """Binary cross entropy of "is it above 0?", and for those that are the loss of the size. `output` (B, 2)."""
        logit, size = output.unbind(1)
        above = (wanted > 0).to(wanted.dtype)
        crossed = functional.binary_cross_entropy_with_logits(logit, above, reduction="sum")
        return crossed + LOSSES[name](size * above, wanted, reduction="sum")

    @torch.no_grad()
    def rescale(self, readout: nn.Linear, known: Head) -> None:
        """The second number is the value; the first has no scale."""
        self._rescale_value(readout, known, 1)

    def value(self, output: Tensor) -> Tensor:
        """0 where the probability is up to ½, else the size, which is never below 0."""
        logit, size = output.unbind(-1)
        return torch.where(logit > 0, size.clamp(min=0), 0.0) * self.deviation


HEADS: dict[HeadName, type[Head]] = {
    "point": Head,
    "log": Logarithm,
    "mean-variance": MeanVariance,
    "hurdle": Hurdle,
}


def _deviation_of(target: Tensor) -> float:
    """Of `target` (M,); 1 for a constant, whose mean is rounded, so that it seems to deviate by some 1e-17 of it."""
    deviation = float(target.std(correction=0))
    return deviation if deviation > 1e-12 * float(target.abs().max()) else 1.0


def powers_of_ten(target: Tensor) -> float:
    """How many lie between the 1st and the 99th percentile of `target` (M,); 0 where some values are not above 0."""
    if not (target > 0).all():
        return 0.0
    low, high = np.quantile(np.log10(target.double().numpy()), [0.01, 0.99])
    return float(high - low)


def kind_of_head(name: HeadName, task: str) -> type[Head]:
    """The head of a task; that of a classification needs no name."""
    return Classification if task == "classification" else HEADS[name]

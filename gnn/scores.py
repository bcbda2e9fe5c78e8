"""The error that a training watches on validation rows, and the scaling between targets and network outputs."""

import torch
from torch import Tensor


def mean_absolute_error(predicted: Tensor, target: Tensor) -> float:
    """Mean of |predicted − target|, both (M,): in the target's unit; for a classification, of the probability."""
    return float((predicted - target).abs().mean())


class Scaling:
    """Converts between targets and network outputs.

    Regression: output = (target − mean) / deviation, `mean` and `deviation` in the target's unit. Classification: the
    output is the logit of the probability that the target lies above the threshold.
    """

    def __init__(self, mean: float, deviation: float, *, classification: bool) -> None:
        self.mean, self.deviation, self.classification = mean, deviation, classification

    @classmethod
    def fit(cls, target: Tensor, *, classification: bool) -> "Scaling":
        """From `target` (M,) of the training rows alone. The deviation of a constant target is taken as 1."""
        if classification:
            return cls(0.0, 1.0, classification=True)
        deviation = float(target.std(correction=0))
        return cls(float(target.mean()), deviation if deviation > 0 else 1.0, classification=False)

    def standardize(self, target: Tensor) -> Tensor:
        """Target (M,) → the output that the network is trained to give (M,)."""
        return target if self.classification else (target - self.mean) / self.deviation

    def to_target(self, output: Tensor) -> Tensor:
        """Network output (M,) → target in its unit, or probability (M,)."""
        return torch.sigmoid(output) if self.classification else output * self.deviation + self.mean

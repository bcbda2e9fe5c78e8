"""What a training watches: the error of predictions on rows that it does not learn from."""

import torch
from torch import Tensor


def mean_absolute_error(predicted: Tensor, target: Tensor) -> float:
    """In the target's unit. For a classification: of the probability."""
    return float((predicted - target).abs().mean())


class Scaling:
    """Targets ↔ what the network gives: standardised numbers, or for a classification the logit of a probability."""

    def __init__(self, mean: float, deviation: float, *, classification: bool) -> None:
        self.mean, self.deviation, self.classification = mean, deviation, classification

    @classmethod
    def fitted(cls, target: Tensor, *, classification: bool) -> "Scaling":
        """From the training rows alone. A constant target has deviation 1."""
        if classification:
            return cls(0.0, 1.0, classification=True)
        deviation = float(target.std(correction=0))
        return cls(float(target.mean()), deviation if deviation > 0 else 1.0, classification=False)

    def standardised(self, target: Tensor) -> Tensor:
        """Target → what the network shall give."""
        return target if self.classification else (target - self.mean) / self.deviation

    def predicted(self, output: Tensor) -> Tensor:
        """What the network gives → target, or probability."""
        return torch.sigmoid(output) if self.classification else output * self.deviation + self.mean

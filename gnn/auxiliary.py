"""Auxiliary targets: other properties that a network learns beside its target, from the same features.

Multi-task learning (Caruana, Machine Learning 28, 41 (1997)): what helps two properties is more than what helps one.
A crystal may lack any of them. The trained model predicts the target alone, and its weights are those of a network
that never knew another one. M graphs, B crystals, A auxiliary targets, W numbers of the head.
"""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gnn.heads import LOSSES
from storage.errors import InputError
from storage.units import unit_of

log = logging.getLogger(__name__)


@dataclass
class Auxiliary:
    """Their columns, and their values (M, A) standardised by the training rows; NaN where a crystal has none."""

    names: Sequence[str]
    standardized: Tensor
    deviation: Tensor  # (A,), in each one's unit
    weight: float  # of one of their errors, where an error of the target has 1

    @classmethod
    def fit(cls, names: Sequence[str], values: Tensor, train: Tensor, weight: float) -> "Auxiliary":
        """From `values` (M, A) in their units and the indices of the training rows.

        Raises InputError where none of these has a value, or all have the same.
        """
        means, deviations = [], []
        for name, column in zip(names, values[train].unbind(1), strict=True):
            known = column[~column.isnan()]
            if len(known.unique()) < 2:
                raise InputError(
                    f"auxiliary: {name} has {'one value' if len(known) else 'no value'} in the training rows; two or "
                    "more different ones can be learned"
                )
            means.append(known.mean())
            deviations.append(known.std(correction=0))
        deviation = torch.stack(deviations)
        return cls(names, (values - torch.stack(means)) / deviation, deviation, weight)

    def loss(self, output: Tensor, wanted: Tensor, name: str) -> Tensor:
        """Summed over the values that there are: `output` (B, A), `wanted` (B, A) with NaN. `name` is one of LOSSES."""
        known = ~wanted.isnan()
        # Multiplied, not selected: how many there are is known to a GPU alone, and asking it is waiting for it.
        return self.weight * LOSSES[name](output * known, wanted.nan_to_num(), reduction="sum")

    def errors(self, output: Tensor, rows: Tensor) -> dict[str, dict[str, Any]]:
        """The unit and the MAE of each over the validation `rows` (R,), None where none has it; `output` is (R, A)."""
        found = ((output - self.standardized[rows]).abs() * self.deviation).nanmean(dim=0).tolist()
        errors = {}
        for name, mae in zip(self.names, found, strict=True):
            unit, known = unit_of(name), not math.isnan(mae)
            said = f"{mae:.4g} {unit}".rstrip() if known else "unknown: no row has a value"
            log.info("auxiliary %s: validation MAE %s", name, said)
            errors[name] = {"unit": unit, "validation_mae": mae if known else None}
        return errors


class WithAuxiliary(nn.Module):
    """A readout of W numbers, with one linear map more for the auxiliary targets: (B, F) → (B, W + A)."""

    def __init__(self, readout: nn.Linear, auxiliary: int) -> None:
        super().__init__()
        self.readout = readout
        self.auxiliary = nn.Linear(readout.in_features, auxiliary)

    def forward(self, crystal: Tensor) -> Tensor:
        """(B, F) → (B, W + A)."""
        return torch.cat([self.readout(crystal), self.auxiliary(crystal)], dim=1)


def add_auxiliary(model: nn.Module, auxiliary: Auxiliary) -> None:
    """Make `model`, one of this package, give the numbers of the auxiliary targets after those of its head."""
    readout = getattr(model, "out", None)
    if not isinstance(readout, nn.Linear):
        raise InputError("auxiliary: is for cgcnn and cogn alone, whose readout is known")
    model.out = WithAuxiliary(readout, len(auxiliary.names)).to(readout.weight.device)


def remove_auxiliary(model: nn.Module) -> None:
    """Undo `add_auxiliary`; the weights stay as they are trained."""
    model.out = model.out.readout  # type: ignore[union-attr]

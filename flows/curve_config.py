"""The parameters of the flow `curve`."""

import math
from typing import Annotated, Any, Self

from pydantic import Field, field_validator, model_validator

from flows.study_config import SeedsConfig


class CurveConfig(SeedsConfig):
    """The parameters of the flow `curve`: those of `retrain`, and on which shares of the training rows."""

    shares: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0),
        min_length=2,
        max_length=40,
        description="Shares of the training rows; a smaller share is a part of a larger one.",
    )
    goal: float | None = Field(
        None, gt=0, description="An error in the target's unit: how many structures are needed for it?"
    )
    equal_steps: bool = Field(
        False, description="Train on a share for 1 / share as many epochs, so that all models take as many steps."
    )

    @field_validator("shares")
    @classmethod
    def _each_once(cls, shares: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(shares)) < len(shares):
            raise ValueError("a share is named twice")
        return tuple(sorted(shares))

    @model_validator(mode="after")
    def _has_steps(self) -> Self:
        if self.equal_steps and self.train.epochs is None:
            raise ValueError("equal_steps needs train.epochs: without it fewer rows are seen more often anyway")
        if self.equal_steps and self.train.minutes is not None:
            raise ValueError("equal_steps needs train.minutes to be null: a time takes the place of train.epochs")
        return self

    def settings(self) -> dict[str, dict[str, Any]]:
        """The settings of each model by `SHARE of the rows, seed N`. With another seed the share is of other rows."""
        return {
            f"{share:.4g} of the rows, seed {seed}": {
                "split": {"train_share": share, "train_share_seed": 0 if share == 1 else seed},
                "train": {"seed": seed, "epochs": self._epochs(share)},
            }
            for share in self.shares
            for seed in self.all_seeds
        }

    def _epochs(self, share: float) -> int | None:
        most = 10_000  # of train.epochs
        epochs = self.train.epochs
        return min(most, math.ceil(epochs / share)) if self.equal_steps and epochs else epochs

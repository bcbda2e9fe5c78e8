"""A training that takes a given time: the learning-rate schedule follows the clock, and ends with it."""

import time

import torch

from gnn import distributed


class TimeBudget:
    """How much of so many `minutes` is spent, as a share from 0 to 1, on which all ranks agree.

    The time of attempts that were killed counts, up to their last checkpoint.
    """

    def __init__(self, minutes: float) -> None:
        self._seconds = 60 * minutes
        self._began, self._before = time.monotonic(), 0.0
        self.share = 0.0

    @property
    def over(self) -> bool:
        """Whether nothing is left."""
        return self.share >= 1

    def look(self) -> None:
        """Look at the clock. All ranks call this at the same steps: they go by the one whose clock is ahead."""
        spent = distributed.largest(torch.tensor(self._spent(), dtype=torch.float64))
        self.share = min(float(spent) / self._seconds, 1.0)

    def epochs(self, done: int) -> int:
        """How many there will be about, after the `done` ones."""
        return max(done, round(done / self.share)) if self.share else done

    def _spent(self) -> float:
        return self._before + time.monotonic() - self._began

    def state_dict(self) -> dict[str, float]:
        """For a checkpoint."""
        return {"spent": self._spent()}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue from what `state_dict` gave."""
        self._before, self._began = state["spent"], time.monotonic()
        self.look()

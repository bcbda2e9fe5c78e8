"""How far a training is within what takes long: a training that says nothing for long is taken for one that hangs."""

import time

from gnn import distributed
from storage.program import progress

QUIET = 30.0  # seconds


class SparseProgress:
    """Reports how much of a `total` is done, where nothing was said for QUIET seconds; of several ranks one speaks."""

    def __init__(self, what: str, total: int) -> None:
        self._what, self._total, self._spoke = what, total, time.perf_counter()

    def __call__(self, done: int) -> None:
        """Say that so many are done, if it is time to say so."""
        if time.perf_counter() - self._spoke > QUIET and distributed.writes():
            self._spoke = time.perf_counter()
            progress(self._what, done, self._total)

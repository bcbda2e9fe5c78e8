"""How long a sweep will take: estimated from a short training, corrected by every trial that ends, shown as it goes."""

import threading
import time
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact

from tasks.observer import observer
from tasks.terminal import duration


class Forecast:
    """The progress of a sweep on the terminal, in the log, and as a progress artifact in the UI.

    `done` of `total` trainings are done at the start; `each` is what one is estimated to take (s), None if nothing was
    measured. `at_once` of them run side by side, which makes all of them as much faster only if the machine has room.
    """

    def __init__(self, done: int, total: int, each: float | None, at_once: int) -> None:
        self._done_before, self._done, self._total = done, done, total
        self._each, self._at_once = each, at_once
        self._began = time.monotonic()
        self._artifact: UUID | None = None
        self._lock = threading.Lock()
        observer().started("trials")
        self.move(done, total)

    def end(self) -> None:
        """There is nothing left to do."""
        observer().finished("trials", {"trials": self._total}, self._done_before == self._total)

    def move(self, done: int, total: int) -> None:
        """So many trainings are done, by all machines."""
        with self._lock:
            if self._artifact is not None and (done, total) == (self._done, self._total):
                return
            self._done, self._total = done, total
            note = self.remaining()
            observer().progressed("trials", "trials", done, total, note)
            text = f"{done:,} of {total:,} trials, {note}"
            get_run_logger().info("%s", text)
            percent = 100.0 * done / total
            if self._artifact is None:
                made = create_progress_artifact(progress=percent, key="trials", description=text)
                self._artifact = made if isinstance(made, UUID) else None
            else:
                update_progress_artifact(self._artifact, progress=percent, description=text)

    def remaining(self) -> str:
        """The time that is left, in words."""
        left = self._total - self._done
        if not left:
            return "done"
        here = self._done - self._done_before
        if here:  # what all machines did in this time, they do again
            return f"about {duration((time.monotonic() - self._began) / here * left)} left"
        if self._each is None:
            return "no estimate yet"
        return f"at most about {duration(self._each * left / min(self._at_once, left))} left"

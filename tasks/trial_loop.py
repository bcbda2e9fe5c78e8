"""Runs the trials of a study: several side by side, until none is left, neither here nor on other machines."""

import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any

import optuna
from optuna.trial import TrialState
from prefect import get_run_logger
from prefect.futures import PrefectFuture
from pydantic import BaseModel, ConfigDict

from storage.artefact import Artefact
from storage.errors import InputError, WorldError
from tasks.optuna_study import SharedStudy

POLL = 5.0  # seconds between two looks at what others are at


class TrialResult(BaseModel):
    """What became of a training: the model, or None where it was ended early; errors are of the validation rows.

    `error` is that of the epoch whose weights were kept, `history` of each epoch. `seconds` are those of all epochs,
    `wall` those from the start of this attempt to its end, and `epoch` those of its last epoch; None where the store
    had the model.
    """

    model_config = ConfigDict(frozen=True)

    model: Artefact | None
    error: float
    history: list[tuple[int, float]]
    seconds: float
    wall: float | None = None
    epoch: float | None = None

    @property
    def attributes(self) -> dict[str, Any]:
        """What the study keeps beside the value."""
        kept = {"epochs": max((epoch for epoch, _ in self.history), default=0), "seconds": self.seconds}
        if self.model is None:
            return kept
        return {**kept, "model": self.model.key, "validation_rows": self.model.facts["split"].get("validation", 0)}


def run_trials(
    study: SharedStudy,
    start: Callable[[optuna.Trial], PrefectFuture[TrialResult]],
    at_once: int,
    on_end: Callable[[], object],
) -> None:
    """Ask for trials, `start` each, and finish it in the study; `on_end` is called after each.

    An InputError or a WorldError, of `start` or of the training, is the reason why a trial failed.
    """
    running: dict[int, PrefectFuture[TrialResult]] = {}
    ended: SimpleQueue[int] = SimpleQueue()
    while True:
        trial = study.ask() if len(running) < at_once else None
        if trial is not None:
            try:
                future = start(trial)
            except (InputError, WorldError) as error:
                _finish(study, trial.number, error)
                on_end()
                continue
            running[trial.number] = future
            future.add_done_callback(partial(_put, ended, trial.number))
        elif running:
            number = ended.get()
            _finish(study, number, running.pop(number).result(raise_on_failure=False))
            on_end()
        elif any(trial.state in {TrialState.RUNNING, TrialState.WAITING} for trial in study.counted()):
            time.sleep(POLL)
            on_end()
        else:
            return


def _put(ended: SimpleQueue[int], number: int, _future: object) -> None:
    ended.put(number)


def _finish(study: SharedStudy, number: int, result: TrialResult | Exception) -> None:
    if isinstance(result, InputError | WorldError):
        study.fail(number, str(result), {}, retry=isinstance(result, WorldError))
        get_run_logger().warning("trial %d failed: %s", number, result)
        return
    if isinstance(result, Exception):
        raise result
    for epoch, error in result.history:
        study.report(number, epoch, error)
    if result.model is None:
        study.prune(number, result.attributes)
    else:
        study.complete(number, result.error, result.attributes)

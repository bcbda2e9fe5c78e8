"""A study of Optuna's that several processes work on: which trial is next, what became of it, what a dead one left.

A process that works on the study holds a lock file, which the kernel frees when it dies, and names it in its trials.
"""

import math
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from storage.disk import is_locked, locked
from storage.errors import InputError, WorldError
from tasks.study_storage import GRACE, HEARTBEAT, answering, quiet, run_again

OWNER, SEARCH, SURPLUS, RETRY = "owner", "search", "surplus", "retry"  # user attributes
MIN_IMPORTANCES = 4  # finished trials: with fewer nothing can be said


@dataclass(frozen=True)
class Plan:
    """What is searched and how. `grid` are the values of each key, for the sampler grid; `search` is its digest."""

    distributions: Mapping[str, BaseDistribution]
    sampler: str
    grid: Mapping[str, Sequence[Any]]
    pruner: str
    seed: int
    epochs: int
    trials: int
    search: str


class SharedStudy:
    """A study. One thread asks for trials and finishes them; `report` may be called from the threads that train."""

    def __init__(self, storage: RDBStorage, name: str, plan: Plan, folder: Path) -> None:
        self.name, self.plan = name, plan
        self._storage, self._folder = storage, folder
        self._mine: dict[int, optuna.Trial] = {}
        self._own_lock = folder / f"sweep-{uuid.uuid4().hex}.lock"
        self._host = socket.gethostname()
        self._closing = threading.Event()
        with self._answering():
            self._study = optuna.create_study(
                storage=storage, study_name=name, load_if_exists=True, pruner=pruner_of(plan)
            )
            known = self._study.user_attrs.get(SEARCH)
            if known is None:
                self._study.set_user_attr(SEARCH, plan.search)
        if known not in {None, plan.search}:
            raise InputError(
                f"name {name}: is a study of other materials, searches otherwise, or starts from other weights; give "
                "another name"
            )

    @contextmanager
    def working(self) -> Iterator[None]:
        """Take part in the study while the body runs: what the world made fail before is to be run again."""
        with locked(self._own_lock):
            heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
            heart.start()
            try:
                with self._alone():
                    for trial in self.counted():
                        if trial.state == TrialState.FAIL and RETRY in trial.user_attrs:
                            run_again(self._study, trial)
                yield
            finally:
                self._closing.set()
                heart.join()

    def ask(self) -> optuna.Trial | None:
        """The next trial; None if all are taken. One whose process died comes first, with the same parameters."""
        with self._alone():
            self._take_over()
            counted = self.counted()
            if len(counted) >= self.plan.trials and not _are(TrialState.WAITING, counted):
                return None
            # Seeded by the place: a sweep that goes on would draw its first points again.
            self._study.sampler = sampler_of(self.plan, self.plan.seed + len(counted))
            with quiet():
                trial = self._study.ask(dict(self.plan.distributions))
            trial.set_user_attr(OWNER, [self._host, str(self._own_lock)])
            self._mine[trial.number] = trial
            self._storage.record_heartbeat(trial._trial_id)
            if not self._is_surplus(trial):
                return trial
            trial.set_user_attr(SURPLUS, True)
            self._finish(trial.number, TrialState.FAIL)
        return self.ask()

    def report(self, number: int, epoch: int, error: float) -> bool:
        """Note the validation error after an epoch; returns whether the pruner would end the training."""
        with self._answering():
            return report(self._mine[number], epoch, error, self.plan.epochs)

    def complete(self, number: int, value: float, attributes: Mapping[str, Any]) -> None:
        """The training was done; `value` is the validation error of the epoch whose weights were kept."""
        if math.isfinite(value):
            self._finish(number, TrialState.COMPLETE, attributes, value)
        else:
            self.fail(number, "the validation error is not finite", attributes)

    def prune(self, number: int, attributes: Mapping[str, Any]) -> None:
        """The training was ended early."""
        self._finish(number, TrialState.PRUNED, attributes)

    def fail(self, number: int, reason: str, attributes: Mapping[str, Any], *, retry: bool = False) -> None:
        """The training failed. With `retry` the next run of the sweep tries it again."""
        self._finish(number, TrialState.FAIL, {**attributes, "reason": reason, **({RETRY: True} if retry else {})})

    def counted(self) -> list[FrozenTrial]:
        """Every trial, but those that were run again as another one, and those that were one too many."""
        with self._answering():
            trials = self._study.get_trials(deepcopy=False)
        with quiet():
            repeated = {n for trial in trials for n in RetryHeartbeatStaleTrialCallback.retry_history(trial)}
        return [t for t in trials if t.number not in repeated and SURPLUS not in t.user_attrs]

    def finished(self) -> list[FrozenTrial]:
        """The trials that have ended."""
        return [trial for trial in self.counted() if trial.state.is_finished()]

    def progress(self) -> tuple[int, int]:
        """How many trials have ended, and how many there will be."""
        counted = self.counted()
        return sum(trial.state.is_finished() for trial in counted), max(self.plan.trials, len(counted))

    def best(self) -> FrozenTrial | None:
        """The trial with the least validation error of those that were trained to the end; None if there is none."""
        done = [trial for trial in self.counted() if trial.state == TrialState.COMPLETE]
        return min(done, key=lambda trial: (trial.value, trial.number), default=None)

    def importances(self) -> dict[str, float]:
        """The share of each parameter in what the best trials have in common (PED-ANOVA); empty if it is too early."""
        done = [trial for trial in self.counted() if trial.state == TrialState.COMPLETE]
        if len(done) < MIN_IMPORTANCES or len(self.plan.distributions) < 2:
            return {}
        with quiet(), self._answering():
            return {n: float(share) for n, share in optuna.importance.get_param_importances(self._study).items()}

    def _finish(
        self, number: int, state: TrialState, attributes: Mapping[str, Any] | None = None, value: float | None = None
    ) -> None:
        trial = self._mine.pop(number)
        # A process that was suspended for long is taken for dead: then another one has ended the trial, and runs it
        # again.
        with self._answering(), suppress(UpdateFinishedTrialError):
            for name, attribute in (attributes or {}).items():
                trial.set_user_attr(name, attribute)
            # A grid's sampler would stop the loop, which is not Optuna's own.
            self._study.sampler = optuna.samplers.RandomSampler()
            self._study.tell(trial, value, state, skip_if_finished=True)

    def _take_over(self) -> None:
        """What processes that died were at is to be run again: those of this machine at once, others after GRACE."""
        with quiet():
            fail_stale_trials(self._study)
        for trial in self.counted():
            if trial.state == TrialState.RUNNING and trial.number not in self._mine and self._is_dead(trial):
                self._study.tell(trial.number, state=TrialState.FAIL)
                run_again(self._study, trial)

    def _is_dead(self, trial: FrozenTrial) -> bool:
        host, lock = trial.user_attrs.get(OWNER, ("", ""))
        if not host:  # its process has only just asked for it, or died between two requests
            begun = trial.datetime_start
            return begun is None or (datetime.now() - begun).total_seconds() > GRACE
        if host != self._host or is_locked(Path(lock)):
            return False
        Path(lock).unlink(missing_ok=True)
        return True

    def _is_surplus(self, trial: optuna.Trial) -> bool:
        """Whether another machine took the last one at the same moment, or the same point of the grid."""
        before = [each for each in self.counted() if each.number < trial.number]
        twice = self.plan.sampler == "grid" and any(each.params == trial.params for each in before)
        return twice or len(before) >= self.plan.trials

    def _beat(self) -> None:
        while not self._closing.wait(HEARTBEAT):
            for trial in list(self._mine.values()):
                try:
                    with self._answering():
                        self._storage.record_heartbeat(trial._trial_id)
                except WorldError:
                    continue  # whoever asks for the next trial says so

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locked(self._folder / f"sweep-{self.name}.lock"), self._answering():
            yield

    @contextmanager
    def _answering(self) -> Iterator[None]:
        with answering(self._storage.url):
            yield


def _are(state: TrialState, trials: Sequence[FrozenTrial]) -> bool:
    return any(trial.state == state for trial in trials)


def report(trial: optuna.Trial, epoch: int, error: float, epochs: int) -> bool:
    """Note the validation error after an epoch of `epochs`; returns whether the pruner would end the training.

    A trial that another process took over, as if this one were dead, is to be ended, too.
    """
    known = trial.storage.get_trial(trial._trial_id)
    if known.state.is_finished():
        return True
    if epoch not in known.intermediate_values:
        trial.report(error, epoch)
    # After the last epoch there is nothing left to save.
    return trial.should_prune() and epoch < epochs


def sampler_of(plan: Plan, seed: int) -> optuna.samplers.BaseSampler:
    """The sampler of a plan. A grid has one order, whatever the seed of the trial."""
    if plan.sampler == "grid":
        return optuna.samplers.GridSampler(plan.grid, seed=plan.seed)
    return optuna.samplers.TPESampler(seed=seed) if plan.sampler == "tpe" else optuna.samplers.RandomSampler(seed=seed)


def pruner_of(plan: Plan) -> optuna.pruners.BasePruner:
    """The pruner of a plan; it looks first after a ninth of the epochs (Hyperband: a 27th, the median: a fifth)."""
    match plan.pruner:
        case "halving":
            return optuna.pruners.SuccessiveHalvingPruner(min_resource=math.ceil(plan.epochs / 9), reduction_factor=3)
        case "hyperband":
            least = math.ceil(plan.epochs / 27)
            return optuna.pruners.HyperbandPruner(least, max(plan.epochs, least), reduction_factor=3)
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=plan.epochs // 5)
    return optuna.pruners.NopPruner()

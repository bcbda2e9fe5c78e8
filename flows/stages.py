"""The stages of a sweep: each is a study of Optuna's, whose trials are task runs."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from optuna import Trial
from optuna.trial import FrozenTrial, TrialState
from prefect import get_run_logger
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner

from crystals.config import GraphConfig
from flows.config import RetrainConfig, with_settings
from flows.distributions import distributions
from flows.outcome import Materials, start_of
from flows.search_space import (
    Space,
    bounds,
    digest_of_search,
    grid,
    middle,
    refined,
    settings_of,
    storage_for_workers,
    storage_url,
    trials_of,
)
from flows.sweep_config import SweepConfig
from gnn.recipe import expected_rows, recipe_for
from storage.artefact import Artefact
from storage.disk import make_folder
from storage.errors import InputError, WorldError
from storage.schemas import safe_name
from storage.store import Store
from tasks.caching import RunContext, artefact_of
from tasks.database_url import masked
from tasks.forecast import Forecast
from tasks.optuna_study import Plan, SharedStudy
from tasks.runner import DASK, side_by_side
from tasks.study_storage import open_storage
from tasks.study_watch import StudyWatch
from tasks.trial import Watch, trial
from tasks.trial_loop import TrialResult, run_trials

STEPS = {"download": "download", "validate": "validate", "graphs": "graphs", "trials": "trials"}
STEPS |= {"ensemble": "ensemble", "evaluate": "evaluate", "sweep": "report"}

MEASURED = 2  # epochs: in the first there is more to do than in those after it


@dataclass(frozen=True)
class Stage:
    """One study: its number, its space, and its trials in the order in which they were asked for."""

    number: int
    space: Space
    trials: list[FrozenTrial]
    importances: dict[str, float]


@dataclass(frozen=True)
class Searched:
    """The stages, the best trial of all of them by validation error, and its configuration."""

    name: str
    stages: list[Stage]
    stage: int
    best: FrozenTrial
    config: RetrainConfig


class Search:
    """What the stages of one sweep have in common. Graphs are made when the first trial needs them."""

    def __init__(
        self, config: SweepConfig, materials: Materials, context: RunContext, workers: TaskRunner[Any]
    ) -> None:
        self.config, self.materials, self.context, self.workers = config, materials, context, workers
        downloaded, structures = artefact_of(materials.downloaded), artefact_of(materials.structures)
        start = start_of(config, context)
        self._start_from = None if start is None else artefact_of(start)
        key = None if self._start_from is None else self._start_from.key
        self.digest = digest_of_search(config, structures.digest, key)
        words = [safe_name(downloaded.facts["title"]), safe_name(materials.target), self.digest[:8]]
        self.name = config.name or "-".join(words)
        self.url = storage_url(config) or _file_in_store(config.store, self.name)
        self._address = storage_for_workers(config) or self.url
        self._graphs: dict[GraphConfig, Artefact] = {}

    def stage(self, number: int, space: Space, sampler: str, trials: int) -> Stage:
        """Run the trials of a study, or what is left of them."""
        plan = Plan(
            distributions=distributions(space),
            sampler=sampler,
            grid=grid(space) if sampler == "grid" else {},
            pruner=self.config.pruner if by_epochs(self.config, space) else "none",
            seed=self.config.seed,
            epochs=most_epochs(self.config, space, self._training_rows()),
            trials=trials,
            search=self.digest,
        )
        study = SharedStudy(open_storage(self.url), _named(self.name, number), plan, self._work())
        self._announce(study)
        with study.working():
            forecast = Forecast(*study.progress(), self._cost(study, space), self.config.at_once)
            run_trials(
                study, partial(self._start, study), self.config.at_once, lambda: forecast.move(*study.progress())
            )
            forecast.end()
        return Stage(number, space, study.counted(), study.importances())

    def _announce(self, study: SharedStudy) -> None:
        log = get_run_logger()
        done, total = study.progress()
        log.info("study %s in %s: %d of %d trainings to do", study.name, masked(self.url), total - done, total)
        if study.plan.pruner != self.config.pruner:
            log.info("no training is ended early: train.minutes ends them")

    def _cost(self, study: SharedStudy, space: Space) -> float | None:
        """Seconds that a training takes: of those that are done, or from a few epochs in the middle of the space."""
        known = [t.user_attrs["seconds"] for t in study.finished() if t.state == TrialState.COMPLETE]
        if known:
            return float(sum(known) / len(known))
        log = get_run_logger()
        try:
            whole = settings_of(self.config, middle(space))
            measured = self._measure(whole)
        except (InputError, WorldError) as error:
            log.info("no estimate of the time: the training in the middle of the search failed: %s", error)
            return None
        epoch = measured.seconds / MEASURED if measured.epoch is None else measured.epoch
        epochs = recipe_for(whole.train, whole.model.name, self._training_rows()).epochs
        start = max((measured.wall or 0.0) - MEASURED * epoch, 0.0)
        each = start + (60 * whole.train.minutes if whole.train.minutes else epochs * epoch)
        text = "an epoch in the middle of the search takes %.2g s, a training %.3g s, if it is not ended early"
        log.info(text, epoch, each)
        return each

    def _training_rows(self) -> int:
        return expected_rows(artefact_of(self.materials.structures).facts["accepted"], self.config.split)

    def _measure(self, whole: RetrainConfig) -> TrialResult:
        short = with_settings(whole, {"train": {"epochs": MEASURED, "minutes": None}}, RetrainConfig)
        measured: TrialResult | Exception = self._submit("measurement", short, None).result(raise_on_failure=False)
        if isinstance(measured, Exception):
            raise measured
        return measured

    def _start(self, study: SharedStudy, asked: Trial) -> PrefectFuture[TrialResult]:
        said = ", ".join(f"{key}={value}" for key, value in asked.params.items())
        name = f"trial {asked.number}" if study.name == self.name else f"fine trial {asked.number}"
        get_run_logger().info("%s: %s", name, said)
        return self._submit(name, settings_of(self.config, asked.params), self._watch(study, asked.number))

    def _watch(self, study: SharedStudy, number: int) -> Watch:
        if os.environ.get(DASK):
            return StudyWatch(self._address, study.name, number, study.plan)
        return partial(study.report, number)

    def _submit(self, name: str, config: RetrainConfig, watch: Watch | None) -> PrefectFuture[TrialResult]:
        if config.graphs not in self._graphs:
            self._graphs[config.graphs] = self.materials.graphs(config.graphs, self.context)
        parameters = {
            "name": name,
            "graphs": self._graphs[config.graphs],
            "settings": (config.model, config.train.trainings[0], config.split),
            "start": self._start_from,
            "context": self.context,
            "prunes": watch,
        }
        future: PrefectFuture[TrialResult] = self.workers.submit(trial, parameters)
        return future

    def _work(self) -> Path:
        return Store.at(self.config.store).absolute().root / "work"


def search(config: SweepConfig, materials: Materials, context: RunContext) -> Searched:
    """Run all stages; what was done before, or is done elsewhere, is not done again.

    Raises InputError if no trial was trained to its end.
    """
    with side_by_side(config.at_once) as workers:
        every = Search(config, materials, context, workers)
        stages = [every.stage(1, config.search, config.sampler, trials_of(config))]
        best = _best(stages)
        finer = refined(config.search, best[1].params)
        if config.refine and any(len(bounds(values)) > 1 for values in finer.values()):
            stages.append(every.stage(2, finer, "tpe", config.refine))
            best = _best(stages)
    return Searched(every.name, stages, best[0], best[1], settings_of(config, best[1].params))


def by_epochs(config: SweepConfig, space: Space) -> bool:
    """Whether an epoch of one trial compares with that of another: a time that ends any has a schedule of its own."""
    return all(minutes is None for minutes in bounds(space.get("train.minutes", [config.train.minutes])))


def most_epochs(config: SweepConfig, space: Space, rows: int) -> int:
    """Of any trial on so many training rows: a number that is searched, or the recipe's of any network that is."""
    numbers: list[Any] = bounds(space.get("train.epochs", [config.train.epochs]))
    names: list[Any] = bounds(space.get("model.name", [config.model.name]))
    trainings = [config.train.model_copy(update={"epochs": number}) for number in numbers]
    return max(recipe_for(train, name, rows).epochs for train, name in product(trainings, names))


def _best(stages: list[Stage]) -> tuple[int, FrozenTrial]:
    done = [(s.number, t) for s in stages for t in s.trials if t.state == TrialState.COMPLETE]
    if not done:
        reasons = [t.user_attrs["reason"] for s in stages for t in s.trials if "reason" in t.user_attrs]
        raise InputError(f"no trial was trained to its end; the first says: {(reasons or ['nothing'])[0]}")
    return min(done, key=lambda pair: (pair[1].value, *pair[:1], pair[1].number))


def _named(name: str, stage: int) -> str:
    return name if stage == 1 else f"{name}-fine"


def _file_in_store(store: str, name: str) -> str:
    folder = Path(store).absolute() / "sweeps"
    make_folder(folder)
    return f"sqlite:///{folder / name}.db"


def rows_of(searched: Searched) -> list[dict[str, Any]]:
    """The trials of all stages as rows of the table `storage.schemas.TRIALS`."""
    return [_row(stage.number, trial) for stage in searched.stages for trial in stage.trials]


def _row(stage: int, found: FrozenTrial) -> dict[str, Any]:
    known: Mapping[str, Any] = found.user_attrs
    error = found.value if found.state in {TrialState.COMPLETE, TrialState.PRUNED} else None
    return {
        "stage": stage,
        "number": found.number,
        "state": found.state.name.lower(),
        "validation_error": error,
        "epochs": known.get("epochs"),
        "seconds": known.get("seconds"),
        "validation_rows": known.get("validation_rows"),
        "parameters": found.params,
        "reason": known.get("reason", ""),
        "model": known.get("model"),
    }

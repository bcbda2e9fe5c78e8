"""From the trials of a sweep to its model: the best one, or the best ones together."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from optuna.trial import FrozenTrial, TrialState
from prefect import get_run_logger

from flows.config import RetrainConfig, with_settings
from flows.member_settings import may_differ
from flows.search_space import settings_of
from flows.stages import Searched
from flows.sweep_config import SweepConfig
from storage.store import Store

Log = Callable[[str], object]


@dataclass(frozen=True)
class Chosen:
    """The configuration of the sweep's model, and stage and number of the trials in an ensemble, the best first."""

    config: RetrainConfig
    members: list[tuple[int, int]] = field(default_factory=list)


def choose(config: SweepConfig, searched: Searched) -> Chosen:
    """The best trial, or an ensemble of the `config.ensemble` best by their validation errors."""
    if config.ensemble == 1:
        return Chosen(searched.config)
    log, store = get_run_logger().info, Store.at(config.store)
    best = best_together(config, searched, log, lambda model: _digest(store, model))
    if len(best) == 1:
        log("no ensemble: one of the finished trials alone can be in it")
        return Chosen(searched.config)
    if len(best) < config.ensemble:
        log(f"an ensemble of {len(best)}, not of {config.ensemble}: no more of the finished trials can be in it")
    settings = [{key: value for key, value in trial.params.items() if may_differ(key)} for _, trial in best]
    whole = with_settings(searched.config, {"member_settings": settings}, RetrainConfig)
    return Chosen(whole, [(stage, trial.number) for stage, trial in best])


def best_together(
    config: SweepConfig, searched: Searched, log: Log, digest: Callable[[str], str]
) -> list[tuple[int, FrozenTrial]]:
    """Stage and trial of the `config.ensemble` best that were trained to their end, or of as many as there are.

    Those on other graphs than the best one are left out: a structure is one graph for all members. So are those with
    another head, whose numbers mean something else, and trainings that gave the same model once more; `digest` is that
    of the bytes of the model with a key. `log` gets a line for each.
    """
    found: list[tuple[int, FrozenTrial]] = []
    known: dict[str, str] = {}
    for stage, trial in _ranked(searched):
        if len(found) == config.ensemble:
            break
        name = f"{'' if stage == 1 else 'fine '}trial {trial.number}"
        settings = settings_of(config, trial.params)
        if settings.graphs != searched.config.graphs or settings.model.head != searched.config.model.head:
            log(f"{name} is not in the ensemble: its graphs or its head are not those of the best trial")
            continue
        model = digest(trial.user_attrs["model"])
        if model in known:
            log(f"{name} is not in the ensemble: it gave the model of {known[model]} once more")
            continue
        known[model] = name
        found.append((stage, trial))
    return found


def _ranked(searched: Searched) -> Iterator[tuple[int, FrozenTrial]]:
    trials = [(stage.number, trial) for stage in searched.stages for trial in stage.trials]
    done = [pair for pair in trials if pair[1].state == TrialState.COMPLETE]
    yield from sorted(done, key=lambda pair: (pair[1].value, pair[0], pair[1].number))


def _digest(store: Store, model: str) -> str:
    """That of the model's bytes; of one that the store has lost, its key: it is trained again."""
    found = store.read("train-model", model)
    return found.digest if found else model

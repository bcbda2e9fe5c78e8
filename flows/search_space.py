"""What a sweep may search, checked before anything starts; and what becomes of it: points, a middle, a finer space."""

import difflib
import math
import os
import typing
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from flows.config import RetrainConfig, keys, nested, with_settings
from flows.member_settings import COMMON
from flows.sweep_config import Choice, Range, SweepConfig
from storage.artefact import digest_of
from storage.errors import InputError
from storage.remote import SEPARATOR

STORAGE = "CGCNN_SWEEP_STORAGE"
GROUPS = ("graphs", "model", "train")
TRIALS = 30  # without a grid
FINER = 3  # the second stage's range of a key that had one: a third as wide
# The errors of two trials compare only if they are of the same rows and mean the same.
OTHER_ERRORS = ("split", "checks", "materials_project", "source", "target", "train.task", "train.threshold")
FIXED = {f"train.{name}" for name in COMMON}

Space = Mapping[str, list[Choice] | Range]


def searchable() -> dict[str, Any]:
    """The keys that may be searched, each with its pydantic field."""
    found = keys(RetrainConfig)
    return {key: field for key, field in found.items() if key.partition(".")[0] in GROUPS and key not in FIXED}


def checked(config: SweepConfig) -> SweepConfig:
    """The configuration with every value of the search as its key takes it: 0.001 where YAML has the text 1e-3.

    Raises InputError for the first fault: a key, a value that its key does not allow, nothing to try.
    """
    if not config.search:
        raise InputError(
            "search: is empty; name keys and values, as in --set search.train.learning_rate=[0.001,0.01], or take a "
            "preset, as in --config chapter-grid"
        )
    _check_storage(config.storage)
    if "train.epochs" in config.search and config.train.minutes is not None:
        raise InputError("search.train.epochs: changes nothing, because train.minutes ends the trainings")
    if SEPARATOR in config.store and storage_url(config) is None:
        raise InputError(
            f"storage: is needed, because the store {config.store} is no folder: the URL of a database, or {STORAGE}"
        )
    for key, values in config.search.items():
        _check_key(key)
        if isinstance(values, Range):
            _check_range(key, values, config.sampler)
        elif not values:
            raise InputError(f"search.{key}: has no values; a list of some, or low and high")
    first = {key: bounds(values)[0] for key, values in config.search.items()}
    taken: dict[str, list[Choice] | Range] = {}
    for key, values in config.search.items():
        ends = [_as_taken(config, {**first, key: value}, key) for value in bounds(values)]
        if len({repr(value) for value in ends}) < len(ends):
            raise InputError(f"search.{key}: names a value twice, got {ends!r}")
        taken[key] = values if isinstance(values, Range) else ends
    config = config.model_copy(update={"search": taken})
    _check_ensemble(config)
    return config


def _check_ensemble(config: SweepConfig) -> None:
    if config.member_settings:
        raise InputError("member_settings: are what a sweep finds; search the keys, and say how many in `ensemble`")
    if config.ensemble > 1 and config.train.members > 1:
        raise InputError(
            f"ensemble: the {config.ensemble} best trials predict together, or train.members={config.train.members} "
            "of the best one, not both; set one of them to 1"
        )
    most = trials_of(config) + config.refine
    if config.ensemble > most:
        raise InputError(
            f"ensemble: the best {config.ensemble} of {most} trials are not there; allowed are 1 to {most}"
        )


def _check_storage(storage: str | None) -> None:
    if storage is None:
        return
    from tasks.database_url import secrets_in  # SQLAlchemy takes half a second, and most sweeps name no database

    if secrets_in(storage):
        raise InputError(f"storage: has a password, which the server would keep; set {STORAGE} instead")


def _check_key(key: str) -> None:
    allowed = searchable()
    if key in allowed:
        return
    if key.startswith(OTHER_ERRORS) and key in keys(SweepConfig):
        raise InputError(
            f"search.{key}: cannot be searched, because errors would not compare: trials would have other rows, or "
            f"another target; keys of {', '.join(GROUPS)} can"
        )
    if key in keys(SweepConfig):
        raise InputError(
            f"search.{key}: cannot be searched, because it is one of the run, not of a trial; keys of "
            f"{', '.join(GROUPS)} can"
        )
    near = difflib.get_close_matches(key, allowed, n=2, cutoff=0.7)
    near = near or [known for known in allowed if known.endswith(f".{key}")]
    hint = f"did you mean {' or '.join(near)}?" if near else f"keys of {', '.join(GROUPS)} can be searched"
    raise InputError(f"search.{key}: no such key; {hint}")


def _check_range(key: str, values: Range, sampler: str) -> None:
    kinds = _kinds(key)
    if not kinds & {int, float}:
        raise InputError(f"search.{key}: takes no numbers, so it has no range; give a list of values")
    if values.low >= values.high:
        raise InputError(f"search.{key}: low has to be below high, got {values.low!r} and {values.high!r}")
    if values.log and (values.low <= 0 or values.step is not None):
        raise InputError(f"search.{key}: with log, low has to be above 0, and there is no step")
    if values.step is not None and values.step > values.high - values.low:
        raise InputError(f"search.{key}: step is larger than the range, got {values.step!r}")
    if float not in kinds and not all(isinstance(n, int) for n in (values.low, values.high, values.step or 1)):
        raise InputError(f"search.{key}: takes whole numbers, got a range with fractions")
    if sampler == "grid" and values.step is None:
        raise InputError(f"search.{key}: a grid needs a list of values, or a step")


def _as_taken(config: SweepConfig, point: Mapping[str, Choice], key: str) -> Choice:
    """The value of the key in the configuration that the point makes."""
    try:
        settings = settings_of(config, point)
    except InputError as error:
        raise InputError(f"search.{key}: {str(error).removeprefix(f'{key}: ')}") from None
    group, _, name = key.partition(".")
    value: Choice = getattr(getattr(settings, group), name)
    return value


def _kinds(key: str) -> set[Any]:
    """The types that a key takes."""
    annotation = searchable()[key].annotation
    parts = typing.get_args(annotation) or (annotation,)
    return {kind for part in parts for kind in (part, *typing.get_args(part)) if isinstance(kind, type)}


def is_whole(key: str) -> bool:
    """Whether the numbers of a key are whole."""
    return float not in _kinds(key)


def bounds(values: list[Choice] | Range) -> list[Choice]:
    """The values, or the two ends of a range."""
    return [values.low, values.high] if isinstance(values, Range) else values


def settings_of(config: SweepConfig, point: Mapping[str, Choice]) -> RetrainConfig:
    """The configuration of a trial. Raises InputError if two values of the point exclude each other."""
    return with_settings(config, nested(point), RetrainConfig)


def grid(space: Space) -> dict[str, list[Choice]]:
    """The values of each key of a grid."""
    return {key: _steps(values) if isinstance(values, Range) else list(values) for key, values in space.items()}


def _steps(values: Range) -> list[Choice]:
    step = values.step or 1
    count = math.floor((values.high - values.low) / step + 1e-9) + 1
    points = [values.low + n * step for n in range(count)]
    return [point if isinstance(point, int) else float(f"{point:.12g}") for point in points]


def trials_of(config: SweepConfig) -> int:
    """How many trainings the first stage has."""
    if config.sampler != "grid":
        return config.trials or TRIALS
    points = math.prod(len(values) for values in grid(config.search).values())
    return min(config.trials or points, points)


def middle(space: Space) -> dict[str, Choice]:
    """The point in the middle of the space, by which its cost is measured."""
    return {key: _middle_of(key, values) for key, values in space.items()}


def _middle_of(key: str, values: list[Choice] | Range) -> Choice:
    if not isinstance(values, Range):
        return values[len(values) // 2]
    middle = math.sqrt(values.low * values.high) if values.log else (values.low + values.high) / 2
    return round(middle) if is_whole(key) else middle


def refined(space: Space, best: Mapping[str, Choice]) -> dict[str, list[Choice] | Range]:
    """A narrower space around a point.

    Of a list of numbers: half way to the next value on both sides (in proportion where the largest is ten times the
    smallest or more). Of a range: a third of it. What is no number, and what no other value is left of, stays as it is.
    """
    return {key: _finer(key, values, best[key]) for key, values in space.items()}


def _finer(key: str, values: list[Choice] | Range, best: Choice) -> list[Choice] | Range:
    if isinstance(values, Range):
        low, high, log = values.low, values.high, values.log
    else:
        numbers = sorted(_numbers(values))
        if not isinstance(best, int | float) or isinstance(best, bool) or len(numbers) < 2:
            return [best]
        low, high = numbers[0], numbers[-1]
        log = low > 0 and high / low >= 10
    assert isinstance(best, int | float)
    if isinstance(values, Range):
        below, above = _around(best, low, high, log=log)
    else:
        gaps = [_between(a, b, log=log) for a, b in pairwise(numbers)]
        below = max([gap for gap in gaps if gap < best], default=best)
        above = min([gap for gap in gaps if gap > best], default=best)
    if is_whole(key):
        below, above = math.ceil(below), math.floor(above)
    return Range(low=below, high=above, log=log) if below < above else [best]


def _numbers(values: Iterable[Choice]) -> list[int | float]:
    return [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]


def _between(low: float, high: float, *, log: bool) -> float:
    return math.sqrt(low * high) if log else (low + high) / 2


def _around(best: float, low: float, high: float, *, log: bool) -> tuple[float, float]:
    """The part of a range, a third of its width, that has `best` in its middle, cut where the range ends."""
    if log:
        reach = (high / low) ** (1 / (2 * FINER))
        return max(low, best / reach), min(high, best * reach)
    reach = (high - low) / (2 * FINER)
    return max(low, best - reach), min(high, best + reach)


def digest_of_search(config: SweepConfig, structures: str, start: str | None) -> str:
    """What makes two sweeps the same: the materials (`structures` is their digest), the base, and how it is searched.

    `start` is the key of the weights that trainings start from: the champion of today is another model than tomorrow's.
    Not how many trials there are, how many side by side, or where: such a sweep goes on.
    """
    searched = settings_of(config, {}).model_dump(mode="json", exclude={"store", "device", "promotion", "source"})
    searched["train"] = config.train.without_placement.model_dump(mode="json")
    if start is not None:
        searched["start_from"] = start
    own = config.model_dump(mode="json", include={"search", "sampler", "pruner", "seed"})
    return digest_of({**searched, **own, "structures": structures})


def storage_url(config: SweepConfig) -> str | None:
    """The URL of the storage; None for the file in the store. The environment goes before the configuration."""
    return os.environ.get(STORAGE) or config.storage


def storage_for_workers(config: SweepConfig) -> str | None:
    """What a worker on another machine is told of the storage: a URL, or `$NAME` for one in its environment.

    A URL of this machine's environment may have a password, so it is not passed on.
    """
    return f"${STORAGE}" if os.environ.get(STORAGE) else config.storage

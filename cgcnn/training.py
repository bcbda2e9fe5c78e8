"""`cgcnn retrain` as a function."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any

from cgcnn.run import Run
from cgcnn.wording import arguments_not_options


def retrain(config: str | PathLike[str] | Sequence[str | PathLike[str]] = (), **keys: Any) -> Run:
    """Structures → a trained, evaluated, reported model, in this process: the flow that `cgcnn retrain` runs.

    The keys are those of `cgcnn retrain --help`: `source`, `target`, `store`, `device`, and the groups `graphs`,
    `split`, `model`, `train`, … as dictionaries; or dotted, as in `**{"train.epochs": 5}`. `config` is a preset or a
    YAML file, or several; what follows wins over what comes before, and keys over all of them.

    What the store has already is not made again. Without PREFECT_API_URL Prefect starts a temporary server, once a
    process, which takes some seconds. Raises InputError before anything starts if a key or the source is wrong;
    WorldError where trying again may help.
    """
    from flows.config import configured, preset_or_file
    from storage.store import Store

    presets = [config] if isinstance(config, str | PathLike) else config
    with arguments_not_options():
        layers = [preset_or_file(fspath(name)) for name in presets]
        settings = configured([*layers, *(_nested(key, value) for key, value in keys.items())])
        from flows.adhoc import run_here  # imports Prefect, which takes seconds: after the keys are known to be right

        return Run(run_here(settings), Store.at(settings.store).absolute())


def _nested(key: str, value: Any) -> dict[str, Any]:
    """`train.epochs`, 5 → {"train": {"epochs": 5}}."""
    nested = fspath(value) if isinstance(value, PathLike) else value
    for part in reversed(key.split(".")):
        nested = {part: nested}
    return dict(nested)

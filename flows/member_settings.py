"""Members of an ensemble that differ in more than their seeds: the settings of each, checked, and its training."""

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from gnn.config import ModelConfig, Placement, TrainConfig
from storage.errors import first_fault

GROUPS: dict[str, type[BaseModel]] = {"model": ModelConfig, "train": TrainConfig}
# What an ensemble predicts, and how it is made, is said once: not by each member.
COMMON = {"head", "task", "threshold", "members", "coverage", "where", *Placement.model_fields}

Training = tuple[ModelConfig, TrainConfig]


def trainings_of(settings: Sequence[dict[str, Any]], model: ModelConfig, train: TrainConfig) -> list[Training]:
    """Network and training of each member: `model` and `train` with its settings, {"model.n_conv": 3}.

    Raises ValueError for the first fault: fewer than two members, or two that are the same; a key, or its value.
    """
    if len(settings) == 1:
        raise ValueError("one member is no ensemble; name the settings of two or more")
    if train.members > 1:
        raise ValueError("train.members has to be 1 beside them: each of them is one training")
    found: list[Training] = []
    for number, own in enumerate(settings, start=1):
        try:
            made = _training(own, model, train)
        except ValueError as fault:
            raise ValueError(f"member {number}: {fault}") from None
        if made in found:
            raise ValueError(f"member {number}: is the same training as member {found.index(made) + 1}")
        found.append(made)
    return found


def may_differ(key: str) -> bool:
    """Whether members may have a value each of this key, such as model.n_conv."""
    group, _, name = key.partition(".")
    return group in GROUPS and name in GROUPS[group].model_fields and name not in COMMON


def _training(own: dict[str, Any], model: ModelConfig, train: TrainConfig) -> Training:
    changes: dict[str, dict[str, Any]] = {group: {} for group in GROUPS}
    for key, value in own.items():
        _check(key)
        group, _, name = key.partition(".")
        changes[group][name] = value
    made = [_changed(group, base, changes[group]) for group, base in (("model", model), ("train", train.trainings[0]))]
    return made[0], made[1]


def _check(key: str) -> None:
    group, _, name = key.partition(".")
    if group not in GROUPS or not name:
        raise ValueError(f"{key}: members differ in keys of {' and '.join(GROUPS)} alone, as model.n_conv")
    if may_differ(key):
        return
    if name in COMMON:
        raise ValueError(f"{key}: is the same for all members")
    known = [f"{g}.{n}" for g, kind in GROUPS.items() for n in kind.model_fields if may_differ(f"{g}.{n}")]
    near = difflib.get_close_matches(key, known, n=1, cutoff=0)
    raise ValueError(f"{key}: no such key; did you mean {near[0]}?")


def _changed(group: str, base: Any, changes: dict[str, Any]) -> Any:
    try:
        return type(base).model_validate({**base.model_dump(), **changes})
    except ValidationError as error:
        where, message = first_fault(error)
        raise ValueError(f"{'.'.join(filter(None, [group, where]))}: {message}") from None

"""What the flows with several models have in common: their configurations, and what the page says of them."""

from collections.abc import Mapping
from typing import Any

from flows.config import RetrainConfig, with_settings
from flows.outcome import Outcome
from tasks.caching import Artefacts, artefact_of

GROUPS = ("graphs", "split", "model", "train")


def configs_of(config: RetrainConfig, settings: Mapping[str, dict[str, Any]]) -> dict[str, RetrainConfig]:
    """The configuration of each model by its name: `config` with the settings of that name.

    Raises InputError as `with_settings` does, with the name of the model.
    """
    return {name: with_settings(config, changes, RetrainConfig) for name, changes in settings.items()}


def common_of(configs: Mapping[str, RetrainConfig]) -> dict[str, Any]:
    """The settings that all models share, by group: what their weights depend on, and have no difference in."""
    dumped = [weight_settings(config) for config in configs.values()]
    return {
        group: {
            key: value for key, value in dumped[0][group].items() if all(d[group].get(key) == value for d in dumped)
        }
        for group in dumped[0]
    }


def weight_settings(config: RetrainConfig) -> dict[str, Any]:
    """What a model's weights depend on, by group."""
    groups = {name: getattr(config, name) for name in GROUPS} | {"train": config.train.without_placement}
    members = {str(number): own for number, own in enumerate(config.member_settings, start=1)}
    dumped = {name: group.model_dump(mode="json") for name, group in groups.items()}
    auxiliary = {"auxiliary": {"columns": config.auxiliary}} if config.auxiliary else {}
    return {**auxiliary, **dumped, **({"members": members} if members else {})}


def trained_of(outcomes: Mapping[str, Outcome]) -> Artefacts:
    """The trained models of the outcomes, as one input of a step."""
    return Artefacts(by_label={name: artefact_of(outcome.trained) for name, outcome in outcomes.items()})

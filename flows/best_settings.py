"""The configuration of a sweep's model as a file for `retrain --config`, and what all its trials had in common."""

from typing import Any

import yaml

from flows.config import RetrainConfig
from flows.study import weight_settings
from flows.sweep_config import SweepConfig

OWN = {"store", "device", "promotion"}  # are of a run, not of a model


def best_settings(config: RetrainConfig) -> str:
    """YAML that `cgcnn retrain --config` takes: with the same store it finds the training there."""
    config = config.model_copy(update={"train": config.train.without_placement})
    return str(yaml.safe_dump(config.model_dump(mode="json", exclude=OWN), sort_keys=False, allow_unicode=True))


def common_settings(config: SweepConfig, best: RetrainConfig) -> dict[str, Any]:
    """Graphs, split, model and training without the keys that were searched."""
    groups = weight_settings(best)
    groups.pop("members", None)  # each has its own
    return {
        group: {name: value for name, value in values.items() if f"{group}.{name}" not in config.search}
        for group, values in groups.items()
    }

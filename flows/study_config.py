"""The parameters that flows with several models have besides those of `retrain`."""

from typing import Any

from pydantic import Field, field_validator

from flows.config import RetrainConfig
from gnn.config import TrainConfig


class StudyConfig(RetrainConfig):
    """The parameters of `retrain`, and how many models are trained side by side."""

    at_once: int = Field(1, ge=1, le=64, description="Models that are trained side by side.")


class SeedsConfig(StudyConfig):
    """The parameters of a study that trains each model with several seeds and compares absolute errors."""

    seeds: int = Field(
        3, ge=1, le=100, description="How often each model is trained, with the seeds train.seed, train.seed + 1, …"
    )

    @field_validator("train")
    @classmethod
    def _regression(cls, train: TrainConfig) -> TrainConfig:
        if train.task != "regression":
            raise ValueError("task has to be regression: the study is of absolute errors")
        return train

    @field_validator("member_settings")
    @classmethod
    def _one_network(cls, settings: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if settings:
            raise ValueError("has to be empty: the study compares networks, and has seeds of its own")
        return settings

    @property
    def all_seeds(self) -> range:
        """train.seed, train.seed + 1, …"""
        return range(self.train.seed, self.train.seed + self.seeds)

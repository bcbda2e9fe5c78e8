"""The parameters of the flow `sweep`: those of `retrain`, and which of them are searched, how, and where it is kept.

Imports no Optuna: the UI's form and `--help` read it.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from flows.config import RetrainConfig

Choice = bool | int | float | str | None


class Range(BaseModel):
    """Every number from `low` to `high`; with `step` those at that distance; with `log` evenly on a log scale."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: int | float
    high: int | float
    step: int | float | None = Field(None, gt=0)
    log: bool = False


def with_dotted_keys(search: Any, group: str = "") -> Any:
    """{"train": {"learning_rate": [1e-3]}}, as `--set` gives it, as {"train.learning_rate": [1e-3]}."""
    if not isinstance(search, dict):
        return search
    flat: dict[str, Any] = {}
    for name, value in search.items():
        key = f"{group}{name}"
        if isinstance(value, dict) and not set(value) & set(Range.model_fields):
            flat |= with_dotted_keys(value, f"{key}.")
        elif isinstance(value, dict) and not {"low", "high"} <= set(value):
            raise ValueError(f"{key} needs both low and high")
        elif not isinstance(value, dict | list | Range):
            raise ValueError(f"{key} needs a list of values, or low and high")
        else:
            flat[key] = value
    return flat


Space = Annotated[dict[str, list[Choice] | Range], BeforeValidator(with_dotted_keys)]


class SweepConfig(RetrainConfig):
    """The parameters of the flow `sweep`: of a run's form in the UI, of a YAML file, and of `cgcnn sweep --set`."""

    search: Space = Field(
        {},
        description="Key to its values: [32, 64], or {low: 1e-4, high: 1e-2, log: true}; keys of graphs, model, train.",
    )
    sampler: Literal["tpe", "grid", "random"] = Field(
        "tpe", description="What chooses the values: TPE (from the trials before), every point of a grid, or chance."
    )
    pruner: Literal["halving", "hyperband", "median", "none"] = Field(
        "halving", description="What ends a training early by its validation errors: successive halving, Hyperband, …"
    )
    trials: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="Trainings, of all machines together; null is every point of a grid, and 30 without one."
    )
    refine: int = Field(
        0, ge=0, le=10_000, description="Trainings of a second stage: TPE in a narrower space around the best so far."
    )
    ensemble: int = Field(
        1,
        ge=1,
        le=100,
        exclude_if=lambda members: members == 1,
        description="The best so many trials, by validation error, predict together, with an uncertainty; 1 is only "
        "the best.",
    )
    at_once: int = Field(1, ge=1, le=256, description="Trainings side by side, of this run.")
    seed: int = Field(0, ge=0, description="Of the sampler. Another seed, other points, or another order of a grid.")
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")] | None = Field(
        None, description="Of the study; null makes it of what is searched, so that the same command goes on with it."
    )
    storage: str | None = Field(
        None,
        description="Where Optuna keeps the study: null is a SQLite file in the store; a PostgreSQL database, by its "
        "URL, is for several machines. A URL with a password belongs in the environment, as CGCNN_SWEEP_STORAGE.",
    )

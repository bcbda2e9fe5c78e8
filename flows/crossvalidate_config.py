"""The parameters of the flow `crossvalidate`."""

from typing import Annotated

from pydantic import Field, field_validator

from flows.study_config import StudyConfig


class CrossvalidateConfig(StudyConfig):
    """The parameters of the flow `crossvalidate`: those of `retrain`, and which folds."""

    folds: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        None, min_length=1, description="The folds to run, as [0, 1]; null is all that the source or split.folds has."
    )

    @field_validator("folds")
    @classmethod
    def _each_once(cls, folds: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if folds is not None and len(set(folds)) < len(folds):
            raise ValueError("a fold is named twice")
        return folds

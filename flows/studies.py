"""The flows with several models, as the command line offers them. Imports no Prefect."""

from collections.abc import Callable
from typing import Any, NamedTuple

from flows.ablate_config import AblateConfig
from flows.config import RetrainConfig
from flows.crossvalidate_config import CrossvalidateConfig
from flows.curve_config import CurveConfig
from flows.search_space import checked
from flows.sweep_config import SweepConfig


class StudyCommand(NamedTuple):
    """A flow (`module:name`), its configuration, what is checked of it before anything starts, and the help."""

    entry: str
    kind: type[RetrainConfig]
    check: Callable[[Any], object]
    help: str
    description: str


def check_folds(config: CrossvalidateConfig) -> None:
    """Raises InputError for a fold that the source or `split.folds` does not have, before anything is downloaded."""
    from crystals.sources.registry import split_columns_of, split_values_of  # the help needs none of what these import
    from gnn.folds import choose, fold_numbers
    from gnn.splits import fold_column

    column = fold_column(split_columns_of(config.source), config.split)
    if column is None:
        choose(None, config.split, config.folds)
    elif config.folds is not None or config.split.folds is not None:
        choose((column, fold_numbers(column, split_values_of(config.source, column))), config.split, config.folds)


STUDIES = {
    "sweep": StudyCommand(
        "flows.sweep:sweep",
        SweepConfig,
        checked,
        "the best settings of many trainings, by validation error",
        "Search settings with Optuna: each trial is a training; a sweep that was killed goes on.",
    ),
    "crossvalidate": StudyCommand(
        "flows.crossvalidate:crossvalidate",
        CrossvalidateConfig,
        check_folds,
        "the error over folds, each a test set once",
        "Train one model a fold, the source's folds or drawn ones, and report the mean and deviation of their errors. "
        "Models that are in the store are not trained again.",
    ),
    "ablate": StudyCommand(
        "flows.ablate:ablate",
        AblateConfig,
        AblateConfig.settings,
        "what each part of the model is worth",
        "Train the model and variants of it, each without or with another part, with several seeds on one split, and "
        "report the differences with their confidence intervals.",
    ),
    "curve": StudyCommand(
        "flows.curve:curve",
        CurveConfig,
        CurveConfig.settings,
        "the error against the number of training structures",
        "Train on shares of the training rows, fit a power law, and say how much data an error (goal) needs.",
    ),
}

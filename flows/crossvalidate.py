"""download → validate → graphs → (train → evaluate) for each fold → one report."""

from typing import Any

from prefect import flow

from flows.crossvalidate_config import CrossvalidateConfig
from flows.options import training_flow
from flows.outcome import context_of, materials_of, outcomes_of
from flows.parameters import parameters_of
from flows.study import common_of, configs_of, trained_of
from storage.artefact import Artefact
from tasks.crossvalidate import crossvalidate as report_folds
from tasks.crossvalidate import folds_of


@flow(name="crossvalidate", **training_flow())
@parameters_of(CrossvalidateConfig)
def crossvalidate(**settings: Any) -> Artefact:
    """Train a model a fold and report over the folds. Models that are in the store are not trained again."""
    config = CrossvalidateConfig.model_validate(settings)
    context = context_of(config)
    materials = materials_of(config, context)
    folds = folds_of(materials.structures, config.split, config.folds, context)
    configs = configs_of(config, folds.settings())
    outcomes = outcomes_of(configs, materials, context, config.at_once)
    trained, common = trained_of(outcomes), common_of(configs)
    return report_folds(materials.downloaded, materials.structures, trained, folds, common, context)

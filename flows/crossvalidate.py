"""download → validate → graphs → (train → evaluate) for each fold → one report."""

from typing import Any

from prefect import flow

from flows.crossvalidate_config import CrossvalidateConfig
from flows.outcome import context_of, materials_of, outcomes_of
from flows.parameters import parameters_of
from flows.retrain import run_name
from flows.study import common_of, configs_of, trained_of
from storage.artefact import Artefact
from tasks.crossvalidate import crossvalidate as report_folds
from tasks.crossvalidate import folds_of
from tasks.gpu_pool import cancel_dispatched
from tasks.printable_logs import make_logs_printable
from tasks.programs import end_all
from tasks.runner import runner


@flow(
    name="crossvalidate",
    flow_run_name=run_name,
    task_runner=runner(),
    on_running=[make_logs_printable],
    on_cancellation=[lambda *_: end_all(), cancel_dispatched],
    on_crashed=[lambda *_: end_all()],
)
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

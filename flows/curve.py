"""download → validate → graphs → (train → evaluate) for each share of the training rows and seed → one report."""

from typing import Any

from prefect import flow

from flows.curve_config import CurveConfig
from flows.outcome import context_of, materials_of, outcomes_of
from flows.parameters import parameters_of
from flows.retrain import run_name
from flows.study import common_of, configs_of, trained_of
from storage.artefact import Artefact
from tasks.curve import curve as report_curve
from tasks.gpu_pool import cancel_dispatched
from tasks.printable_logs import make_logs_printable
from tasks.programs import end_all
from tasks.runner import runner


@flow(
    name="curve",
    flow_run_name=run_name,
    task_runner=runner(),
    on_running=[make_logs_printable],
    on_cancellation=[lambda *_: end_all(), cancel_dispatched],
    on_crashed=[lambda *_: end_all()],
)
@parameters_of(CurveConfig)
def curve(**settings: Any) -> Artefact:
    """Train on shares of the training rows, and report how the error falls with their number."""
    config = CurveConfig.model_validate(settings)
    context = context_of(config)
    materials = materials_of(config, context)
    configs = configs_of(config, config.settings())
    outcomes = outcomes_of(configs, materials, context, config.at_once)
    trained, common = trained_of(outcomes), common_of(configs)
    return report_curve(materials.downloaded, materials.structures, trained, config.goal, common, context)

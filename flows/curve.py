"""download → validate → graphs → (train → evaluate) for each share of the training rows and seed → one report."""

from typing import Any

from prefect import flow

from flows.curve_config import CurveConfig
from flows.options import training_flow
from flows.outcome import context_of, materials_of, outcomes_of
from flows.parameters import parameters_of
from flows.study import common_of, configs_of, trained_of
from storage.artefact import Artefact
from tasks.curve import curve as report_curve


@flow(name="curve", **training_flow())
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

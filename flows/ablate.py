"""download → validate → graphs → (train → evaluate) for each variant and seed → one report."""

from typing import Any

from prefect import flow

from flows.ablate_config import AblateConfig
from flows.options import training_flow
from flows.outcome import context_of, materials_of, outcomes_of
from flows.parameters import parameters_of
from flows.study import common_of, configs_of, trained_of
from storage.artefact import Artefact
from tasks.ablate import ablate as report_ablation


@flow(name="ablate", **training_flow())
@parameters_of(AblateConfig)
def ablate(**settings: Any) -> Artefact:
    """Train the full model and variants of it with several seeds each, and report how much worse they are."""
    config = AblateConfig.model_validate(settings)
    context, variants = context_of(config), config.settings()
    materials = materials_of(config, context)
    configs = configs_of(config, config.by_seed(variants))
    outcomes = outcomes_of(configs, materials, context, config.at_once)
    trained, common = trained_of(outcomes), common_of(configs)
    return report_ablation(materials.downloaded, materials.structures, trained, variants, common, context)

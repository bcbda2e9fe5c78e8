"""download → validate → graphs → train → evaluate → compare → report → promote."""

from typing import Any

from prefect import flow

from flows.config import RetrainConfig
from flows.options import training_flow
from flows.outcome import context_of, materials_of, outcome_of
from flows.parameters import parameters_of
from storage.artefact import Artefact
from tasks.compare import compare, reference_model
from tasks.promote import promote
from tasks.report import report


@flow(name="retrain", **training_flow())
@parameters_of(RetrainConfig)
def retrain(**settings: Any) -> Artefact:
    """Train, evaluate and report a model of one property. Steps whose results are in the store are not run again."""
    config = RetrainConfig.model_validate(settings)
    context = context_of(config)
    materials = materials_of(config, context)
    downloaded, structures = materials.downloaded, materials.structures
    outcome = outcome_of(config, materials, context)
    trained, evaluated = outcome.trained, outcome.evaluated
    compared = compare(trained, reference_model(downloaded, trained, context), config.promotion, context)
    page = report(downloaded, structures, outcome.graphs, trained, evaluated, compared, context)
    return promote(downloaded, trained, evaluated, page, compared, context)

"""download → validate → graphs → train → evaluate → compare → report → promote."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from crystals.sources.registry import target_of
from flows.config import RetrainConfig
from flows.outcome import context_of, materials_of, outcome_of
from flows.parameters import parameters_of
from storage.artefact import Artefact
from storage.errors import InputError
from tasks.compare import compare, reference_model
from tasks.gpu_pool import cancel_dispatched
from tasks.printable_logs import make_logs_printable
from tasks.programs import end_all
from tasks.promote import promote
from tasks.report import report
from tasks.runner import runner


def run_name() -> str:
    """The name of the flow run in the UI: source, target, and the day (UTC)."""
    source, target = flow_run.parameters["source"], flow_run.parameters["target"]
    with suppress(InputError):  # the run itself tells what is wrong
        target = target_of(source, target)
    words = [Path(source).name, target, f"{datetime.now(UTC):%Y-%m-%d}"]
    return " ".join(word for word in words if word)


@flow(
    name="retrain",
    flow_run_name=run_name,
    task_runner=runner(),
    on_running=[make_logs_printable],
    on_cancellation=[lambda *_: end_all(), cancel_dispatched],
    on_crashed=[lambda *_: end_all()],
)
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

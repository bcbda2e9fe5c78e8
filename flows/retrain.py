"""download → validate → graphs → train → evaluate → compare → report → promote."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field

from crystals.config import ChecksConfig, GraphConfig, MaterialsProjectQuery
from crystals.sources.registry import target_of
from evaluation.config import PromotionConfig
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from storage.artefact import Artefact
from storage.errors import InputError
from tasks.caching import RunContext
from tasks.compare import compare, reference_model
from tasks.download import download
from tasks.evaluate import evaluate
from tasks.gpu_pool import cancel_dispatched
from tasks.graphs import graphs as build_graphs
from tasks.printable_logs import make_logs_printable
from tasks.programs import end_all
from tasks.promote import promote
from tasks.report import report
from tasks.resolve_source import resolve_source
from tasks.runner import runner
from tasks.train import train_model
from tasks.validate import validate


def run_name() -> str:
    """Source, target and day, as the UI lists runs."""
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
def retrain(  # noqa: PLR0913  one parameter is one box of the UI's form
    source: str = "alloys",
    target: str | None = None,
    store: str = "store",
    device: Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto",
    materials_project: MaterialsProjectQuery = MaterialsProjectQuery(),
    checks: ChecksConfig = ChecksConfig(),
    graphs: GraphConfig = GraphConfig(),
    split: SplitConfig = SplitConfig(),
    model: ModelConfig = ModelConfig(),
    train: TrainConfig = TrainConfig(),
    promotion: PromotionConfig = PromotionConfig(),
) -> Artefact:
    """A trained, evaluated, reported model of one property; every step that the store has already is taken from it.

    Args:
        source: alloys, materials-project, a table of structures, or a folder of CIF files.
        target: The column to learn; null where there is only one, or a default.
        store: The folder that keeps every step's result, or its URL (s3://bucket/folder).
        device: auto, cpu, cuda or cuda:N.
        materials_project: Which materials are asked for, where the source is materials-project.
        checks: The bounds outside of which a structure is rejected.
        graphs: Which neighbours an atom is joined to.
        split: Which materials are trained on, and which are kept for validation and test.
        model: The network.
        train: How it is trained.
        promotion: When it takes the champion's place.
    """
    context = RunContext(store=store, device=device, dispatch=train.where != "here")
    resolved = resolve_source(source, target, materials_project)
    downloaded = download(resolved.source, resolved.contents, resolved.query, resolved.version, context)
    structures = validate(downloaded, resolved.target, checks, context)
    built = build_graphs(structures, resolved.target, graphs, context)
    trained = train_model(built, model, train.without_placement, split, context)
    evaluated = evaluate(trained, downloaded, context)
    compared = compare(trained, reference_model(downloaded, trained, context), promotion, context)
    page = report(downloaded, structures, built, trained, evaluated, compared, context)
    return promote(downloaded, trained, evaluated, page, compared, context)

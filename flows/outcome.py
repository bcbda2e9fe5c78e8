"""From a configuration to a trained, evaluated model: what every flow that trains calls.

`materials_of` and `outcome_of` are the steps in their order. `outcomes_of` is for flows with several models: each is a
task run of its own, so that it can be seen, and what is in the store is not made again, whoever asked for it first.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Semaphore
from typing import TypeVar

from prefect import task

from crystals.config import GraphConfig
from flows.config import RetrainConfig
from flows.start import start_folder
from storage.artefact import Artefact
from tasks.caching import RunContext, artefact_of
from tasks.download import download
from tasks.ensemble import ensemble, train_members
from tasks.evaluate import evaluate
from tasks.graphs import graphs as build_graphs
from tasks.initial import copy_of
from tasks.resolve_source import resolve_source
from tasks.train import train_model
from tasks.validate import validate

AnyConfig = TypeVar("AnyConfig", bound=RetrainConfig)


@dataclass(frozen=True)
class Materials:
    """The structures that may be learned from, and what was downloaded for them."""

    downloaded: Artefact
    structures: Artefact
    target: str
    auxiliary: list[str] | None

    def graphs(self, kind: GraphConfig, context: RunContext) -> Artefact:
        """Their crystal graphs."""
        made: Artefact = build_graphs(self.structures, self.target, kind, context, self.auxiliary)
        return made


@dataclass(frozen=True)
class Outcome:
    """A model and its errors, with the graphs that it was trained on."""

    graphs: Artefact
    trained: Artefact
    evaluated: Artefact


def context_of(config: RetrainConfig) -> RunContext:
    """Where and how the steps run."""
    return RunContext(
        store=config.store,
        device=config.device,
        placement=config.train.placement,
        dispatch=config.train.where != "here",
    )


def materials_of(config: RetrainConfig, context: RunContext) -> Materials:
    """Download and validate."""
    resolved = resolve_source(config.source, config.target, config.materials_project, config.auxiliary)
    downloaded = download(resolved.source, resolved.contents, resolved.query, resolved.version, context)
    structures = validate(downloaded, resolved.target, config.checks, context, config.auxiliary or None)
    return Materials(downloaded, structures, resolved.target, config.auxiliary or None)


def outcome_of(config: RetrainConfig, materials: Materials, context: RunContext) -> Outcome:
    """Build graphs, train and evaluate."""
    return _on_graphs(config, materials.graphs(config.graphs, context), materials, context)


def outcomes_of(
    configs: Mapping[str, RetrainConfig], materials: Materials, context: RunContext, at_once: int = 1
) -> dict[str, Outcome]:
    """The outcome of each configuration by its name, `at_once` of them side by side.

    The first that failed is raised when all are done; what is in the store stays there.
    """
    # Before the models: their task runs would wait in the threads that the shards' task runs need.
    graphs = {kind: materials.graphs(kind, context) for kind in {config.graphs: None for config in configs.values()}}
    free, futures = Semaphore(at_once), {}
    for name, config in configs.items():
        free.acquire()
        futures[name] = model.submit(name, config, graphs[config.graphs], materials, context)
        futures[name].add_done_callback(lambda _: free.release())
    return {name: future.result() for name, future in futures.items()}


@task(name="model", task_run_name="{name}", persist_result=False)
def model(
    name: str,  # noqa: ARG001  it names the task run
    config: RetrainConfig,
    graphs: Artefact,
    materials: Materials,
    context: RunContext,
) -> Outcome:
    """One of several models: trained and evaluated, as a task run with a name."""
    return _on_graphs(config, graphs, materials, context)


def with_weights_of_now(config: AnyConfig, context: RunContext) -> AnyConfig:
    """`config` with the weights that its start_from names now, whatever is promoted while its trainings run."""
    start = start_of(config, context)
    if start is None:
        return config
    artefact = artefact_of(start)
    folder = context.artefacts.local_folder(artefact.step, artefact.key)
    return config.model_copy(update={"start_from": str(folder)})


def start_of(config: RetrainConfig, context: RunContext) -> Artefact | None:
    """The weights that a training starts from; None where they are random."""
    folder = start_folder(config, context.artefacts)
    return None if folder is None else copy_of(folder, context)


def _on_graphs(config: RetrainConfig, graphs: Artefact, materials: Materials, context: RunContext) -> Outcome:
    trained = _trained(config, graphs, context)
    return Outcome(graphs, trained, evaluate(trained, materials.downloaded, context))


def _trained(config: RetrainConfig, graphs: Artefact, context: RunContext) -> Artefact:
    """A single model, or one with an uncertainty: an ensemble, or one that predicts its deviation."""
    trainings, split, start = config.trainings, config.split, start_of(config, context)
    if len(trainings) == 1 and config.model.head != "mean-variance":
        ((model, train),) = trainings.values()
        return train_model(graphs, model, train, split, context, start)
    members = train_members(graphs, trainings, split, context, start)
    settings = config.member_settings or None
    return ensemble(members, config.model, config.train.without_placement, split, context, settings)

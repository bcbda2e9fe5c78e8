"""download → validate → graphs → trials, each a training → the evaluation of the best → the page of the sweep."""

from typing import Any

from prefect import flow
from prefect.runtime import flow_run

from flows.best_settings import best_settings, common_settings
from flows.best_trials import choose
from flows.config import validated
from flows.options import named, training_flow
from flows.outcome import context_of, materials_of, outcome_of, with_weights_of_now
from flows.parameters import parameters_of
from flows.search_space import checked
from flows.stages import STEPS, rows_of, search
from flows.sweep_config import SweepConfig
from storage.artefact import Artefact
from tasks.observer import observer
from tasks.sweep import SweepTable
from tasks.sweep import sweep as write_page


def run_name() -> str:
    """The name of the flow run in the UI: source, target, and how many keys are searched."""
    return named(f"{len(flow_run.parameters['search'])} keys")


@flow(name="sweep", **training_flow(run_name))
@parameters_of(SweepConfig)
def sweep(**settings: Any) -> Artefact:
    """Search settings by validation error. Trials that are finished are not run again; test rows are for the winner."""
    config = checked(validated(settings, SweepConfig))
    observer().expect(STEPS)
    context = context_of(config)
    materials = materials_of(config, context)
    config = with_weights_of_now(config, context)
    searched = search(config, materials, context)
    chosen = choose(config, searched)
    outcome = outcome_of(chosen.config, materials, context)
    table = SweepTable(
        name=searched.name,
        trials=rows_of(searched),
        best=(searched.stage, searched.best.number),
        members=chosen.members,
        importances=searched.stages[0].importances,
        settings=best_settings(chosen.config),
        common=common_settings(config, chosen.config),
        how=config.model_dump(mode="json", include={"sampler", "pruner", "seed", "refine", "ensemble"}),
    )
    return write_page(outcome.trained, outcome.evaluated, materials.downloaded, materials.structures, table, context)

"""`cgcnn sweep` in this process, and what it says at its end."""

import shlex

from flows.adhoc import run_flow, watched
from flows.sweep_config import SweepConfig
from storage.store import Store
from storage.studies import STUDY, StudyCard


def sweep_here(config: SweepConfig, *, verbose: bool = False) -> list[str]:
    """Run the flow. Returns the last lines to print: the best, its errors, the report, and what trains it again."""
    made = watched(config, lambda ready: run_flow("flows.sweep:sweep", config, ready), verbose=verbose)
    store = Store.at(config.store)
    card = StudyCard.model_validate_json(store.path(made, STUDY).read_bytes())
    folder = f"{made.step}/{made.key}"
    best = store.path(made, "best.yaml")
    retrain = f"cgcnn retrain --config {shlex.quote(str(best))}"
    retrain += "" if config.store == "store" else f" --store {shlex.quote(config.store)}"
    return [
        card.run,
        f"{card.headline}{f'  ({card.note})' if card.note else ''}",
        f"report: {store.location(f'{folder}/report.html')}",
        f"next: {retrain}  (its training is in the store)",
    ]

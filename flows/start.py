"""The model that a training starts from: found and checked before anything starts. Imports no Prefect."""

from pathlib import Path

from flows.config import RetrainConfig
from gnn.model_card import check_start
from storage.registry import model_folder
from storage.store import Store


def start_folder(config: RetrainConfig, store: Store) -> Path | None:
    """The folder of the model `start_from`; None where weights are random.

    Raises InputError if there is no such model, or its weights are not for the network that is trained.
    """
    if config.start_from is None:
        return None
    folder = model_folder(config.start_from, store, "start_from").absolute()
    for model, train in config.trainings.values():
        check_start(folder, model, train, config.graphs.model_dump())
    return folder

"""Step 4: from graphs to a model and its predictions."""

from crystals.config import GraphConfig
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from storage.schemas import unit_of
from storage.store import Artefact
from tasks.caching import Made, Place, step
from tasks.programs import Program


@step(version=2)
def train_model(graphs: Artefact, model: ModelConfig, train: TrainConfig, split: SplitConfig, place: Place) -> Made:
    """Weights, learning curve, and predictions for every material, from one training."""
    target = graphs.parameters["target"]
    spec = {
        "graphs": [place.artefacts.folder(part.step, part.key) / "graphs.parquet" for part in graphs.parts],
        "graph_config": GraphConfig.model_validate(graphs.parameters["config"]),
        "target": target,
        "unit": unit_of(target),
        "model": model,
        "train": train,
        "split": split,
        "device": place.device,
    }
    return Made(program=Program(module="gnn.train", spec=spec))

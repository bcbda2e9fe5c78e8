"""The training of a model from stored graphs, as a worker of the pool `gpu` runs it for a `retrain` elsewhere."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from gnn.config import ModelConfig, SplitConfig, TrainConfig
from storage.artefact import Artefact
from tasks.caching import RunContext, stored
from tasks.printable_logs import make_logs_printable
from tasks.programs import end_all
from tasks.train import train_model


@flow(
    name="train",
    on_running=[make_logs_printable],
    on_cancellation=[lambda *_: end_all()],
    on_crashed=[lambda *_: end_all()],
)
def train(
    graphs: Annotated[str, Field(pattern="^[0-9a-f]{64}$")],
    model: ModelConfig = ModelConfig(),
    train: TrainConfig = TrainConfig(),
    split: SplitConfig = SplitConfig(),
    store: str = "store",
    device: Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$")] = "auto",
) -> Artefact:
    """A trained model in the store, of graphs that are there.

    Args:
        graphs: The key of the graphs, as `store/graphs/` has them.
        model: The network.
        train: How it is trained; `where` is not asked, it is here.
        split: Which materials are trained on, and which are kept for validation and test.
        store: The folder that keeps every step's result, or its URL: the same for all workers.
        device: auto, cpu, cuda or cuda:N.
    """
    context = RunContext(store=store, device=device)
    return train_model(stored("graphs", graphs, context), model, train.without_placement, split, context)

"""What trained networks give for graphs: in batches without gradients, which all ranks share."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gnn import distributed
from gnn.batches import Graphs
from gnn.heads import Head
from gnn.sampling import global_batches
from storage.errors import InputError

EVALUATED = 256  # crystals in a batch
EVALUATED_EDGES = 500_000  # in a batch, at most: large cells would take more memory than their training does

OnProgress = Callable[[int], Any]


def predict(
    model: nn.Module,
    graphs: Graphs,
    rows: Tensor,
    head: Head,
    device: torch.device,
    on_progress: OnProgress = lambda _done: None,
) -> Tensor:
    """Predictions for the graphs at the indices `rows` (M,): (M,) float64 in the target's unit, or probabilities.

    Where there are several ranks, all of them call this.
    """
    return head.value(outputs_of([model], graphs, rows, head.width, device, on_progress)[0])


@torch.no_grad()
def outputs_of(
    models: Sequence[nn.Module],
    graphs: Graphs,
    rows: Tensor,
    width: int,
    device: torch.device,
    on_progress: OnProgress = lambda _done: None,
) -> Tensor:
    """What K models, of heads of one width W, give for the graphs at the indices `rows` (M,): (K, M, W) float64.

    Numbers after the first W are left out. Each batch is cut once for all models. Each rank predicts every so many
    batches, and all get all numbers. `on_progress` gets the number of rows that are done, after each batch.
    Raises InputError where a single crystal does not fit the GPU's memory.
    """
    for model in models:
        model.eval()
    predicted = torch.zeros(len(models), len(rows), width, dtype=torch.float64)
    batches = global_batches(torch.arange(len(rows)), graphs.edge_counts()[rows], EVALUATED, EVALUATED_EDGES)
    for number, places in enumerate(batches):
        if number % distributed.world_size() == distributed.rank():
            predicted[:, places] = _outputs(models, graphs, rows[places], width, device)
            on_progress(int(places[-1]) + 1)
    return distributed.total(predicted)


def _outputs(models: Sequence[nn.Module], graphs: Graphs, rows: Tensor, width: int, device: torch.device) -> Tensor:
    """Of one batch: (K, B, W). One that does not fit a GPU is taken in halves."""
    try:
        batch = graphs.batch(rows, device)
        return torch.stack([model(batch).cpu().double().view(len(rows), -1)[:, :width] for model in models])
    except torch.OutOfMemoryError:
        if len(rows) == 1:
            edges = int(graphs.edge_counts()[rows])
            raise InputError(
                f"device {device}: a crystal with {edges:,} edges does not fit the GPU's memory; a network with fewer "
                "features, or the device cpu, may do"
            ) from None
    torch.cuda.empty_cache()
    return torch.cat([_outputs(models, graphs, half, width, device) for half in rows.tensor_split(2)], dim=1)

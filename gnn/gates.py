"""What the gates of a trained model do: their mean value against distance, layer by layer."""

import pyarrow as pa
import torch
from torch import nn

from gnn.batches import Graphs
from gnn.models.cgcnn import CGCNN
from storage.schemas import GATES

BIN = 0.25  # Å
CRYSTALS = 2000  # enough for means


@torch.no_grad()
def gate_table(model: nn.Module, graphs: Graphs, rows: torch.Tensor, device: torch.device) -> pa.Table | None:
    """The gates table over the first CRYSTALS of `rows`; None for a model without gates."""
    if not isinstance(model, CGCNN):
        return None
    model.eval()
    total: dict[int, torch.Tensor] = {}
    count = torch.zeros(200, dtype=torch.float64)
    for batch in graphs.batches(rows[:CRYSTALS], 64, device):
        bins = (batch.edge_distance / BIN).long().cpu().clamp_(max=len(count) - 1)
        count += torch.bincount(bins, minlength=len(count))
        for layer, gate in enumerate(model.gates(batch)):
            sums = total.setdefault(layer, torch.zeros_like(count))
            sums.index_add_(0, bins, gate.double().cpu())
    filled = torch.nonzero(count).flatten().tolist()
    found = [
        (layer + 1, (b + 0.5) * BIN, float(sums[b] / count[b]), int(count[b]))
        for layer, sums in total.items()
        for b in filled
    ]
    return pa.table(list(map(list, zip(*found, strict=True))), schema=GATES) if found else None

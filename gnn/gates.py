"""The gates of a trained CGCNN: how much of each neighbour's message a layer lets through, against distance.

A gate is σ(z_ij W_f + b_f) in Eq. 5 of Xie & Grossman, PRL 120, 145301 (2018), between 0 (closed) and 1 (open).
"""

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
    """Mean gate by layer and distance, as the GATES table: bins of 0.25 Å over the first 2,000 of `rows` (M,).

    None for a model that has no gates.
    """
    if not isinstance(model, CGCNN):
        return None
    model.eval()
    total: dict[int, torch.Tensor] = {}
    count = torch.zeros(200, dtype=torch.float64)
    for batch in graphs.batches(rows[:CRYSTALS], 64, device):
        bins = (batch.edge_distance / BIN).long().cpu().clamp_(max=len(count) - 1)
        weight = batch.multiplicity[batch.edge_index[1]].double().cpu()
        count += torch.bincount(bins, weight, minlength=len(count))
        for layer, gate in enumerate(model.gates(batch)):
            sums = total.setdefault(layer, torch.zeros_like(count))
            sums.index_add_(0, bins, weight * gate.double().cpu())
    filled = torch.nonzero(count).flatten().tolist()
    found = [
        (layer + 1, (b + 0.5) * BIN, float(sums[b] / count[b]), int(count[b]))
        for layer, sums in total.items()
        for b in filled
    ]
    return pa.table(list(map(list, zip(*found, strict=True))), schema=GATES) if found else None

"""CGCNN as its authors released it, for the weights that they published; Xie & Grossman, PRL 120, 145301 (2018).

It differs from `gnn.models.cgcnn` with normalization "gated" in two things: a softplus on the pooled features, and
exactly twelve edges an atom. An atom with fewer neighbours has edges to the crystal's first atom in their place, at a
distance at which all Gaussians are zero.
"""

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn import functional

from gnn.batches import Batch
from gnn.models.cgcnn import CGCNN

NEIGHBORS = 12
ABSENT = 9.0  # Å, the release's distance of a neighbour that is not there: its cutoff + 1


class CGCNN2018(CGCNN):
    """The release's network. Which atom is a crystal's first one matters where an atom lacks neighbours."""

    def forward(self, batch: Batch) -> Tensor:
        """(B,) standardised targets; logits of the second class for a classification."""
        return super().forward(padded(batch))

    def pool(self, atom: Tensor, batch: Batch) -> Tensor:
        """(N, F) → (B, F)."""
        return functional.softplus(super().pool(atom, batch))


def padded(batch: Batch) -> Batch:
    """The same crystals with at least `NEIGHBORS` edges at each atom."""
    source, target = batch.edge_index
    missing = (NEIGHBORS - torch.bincount(target, minlength=len(batch.z))).clamp(min=0)
    added = torch.arange(len(batch.z), device=target.device).repeat_interleave(missing)
    if not len(added):
        return batch
    first = batch.ptr[batch.batch[added]]
    target, order = torch.cat([target, added]).sort(stable=True)
    distance = torch.cat([batch.edge_distance, batch.edge_distance.new_full((len(added),), ABSENT)])
    return replace(
        batch, edge_index=torch.stack([torch.cat([source, first])[order], target]), edge_distance=distance[order]
    )

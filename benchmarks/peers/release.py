"""CGCNN the way of the code that its authors released with the paper (Xie & Grossman, PRL 120, 145301, 2018).

Written from the paper and from what the release does, not copied from it. Every atom has exactly twelve neighbours, so
edges are dense (N, 12) tensors; the Gaussians of all distances are expanded once and kept; a batch is collated by a
Python loop over its crystals; batch norm lies on the 2F gated features and on the sum over neighbours; pooling is a
loop over crystals. With the weights that the authors published, this network gives the release's own predictions.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader

from gnn.batches import Graphs
from gnn.config import ModelConfig
from gnn.models.cgcnn import CGCNN

NEIGHBORS = 12
ELEMENTS = 119
STEP = 0.2  # Å
SAME = ModelConfig(normalization="gated", properties=False, gaussian_sigma=STEP / 2**0.5)


class Crystal(NamedTuple):
    """One crystal: `atoms` (n, 119) one-hot, `edges` (n, 12, 41) Gaussians, `neighbors` (n, 12), `target` (1,)."""

    atoms: Tensor
    edges: Tensor
    neighbors: Tensor
    target: Tensor


class Batch(NamedTuple):
    """B crystals one after the other; `members` has the atoms of each."""

    atoms: Tensor
    edges: Tensor
    neighbors: Tensor
    members: list[Tensor]
    target: Tensor


def crystals_of(graphs: Graphs, target: Tensor) -> list[Crystal]:
    """Graphs with exactly twelve neighbours an atom as the release's data set has them in its cache."""
    centres = torch.linspace(0.0, 8.0, 41)
    found = []
    for row in range(len(graphs)):
        one = graphs.batch(torch.tensor([row]), torch.device("cpu"))
        distance = one.edge_distance.reshape(-1, NEIGHBORS, 1)
        gaussians = torch.exp(-((distance - centres) ** 2) / STEP**2)
        atoms = functional.one_hot(one.z, ELEMENTS).float()
        found.append(Crystal(atoms, gaussians, one.edge_index[0].reshape(-1, NEIGHBORS), target[row : row + 1].float()))
    return found


def collate(crystals: list[Crystal]) -> Batch:
    """One crystal after the other, the indices of its neighbours moved by the atoms before it."""
    atoms, edges, neighbors, members, target = [], [], [], [], []
    before = 0
    for crystal in crystals:
        count = len(crystal.atoms)
        atoms.append(crystal.atoms)
        edges.append(crystal.edges)
        neighbors.append(crystal.neighbors + before)
        members.append(torch.arange(before, before + count))
        target.append(crystal.target)
        before += count
    return Batch(torch.cat(atoms), torch.cat(edges), torch.cat(neighbors), members, torch.stack(target))


class DenseConv(nn.Module):
    """(N, F) and (N, 12, K) → (N, F): softplus(v_i + norm(Σ_j σ ⊙ softplus of norm(z_ij W)))."""

    def __init__(self, features: int, edge_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2 * features + edge_features, 2 * features)
        self.norm_gated = nn.BatchNorm1d(2 * features)
        self.norm_sum = nn.BatchNorm1d(features)

    def forward(self, atom: Tensor, edges: Tensor, neighbors: Tensor) -> Tensor:
        count, per_atom = neighbors.shape
        own = atom[:, None, :].expand(count, per_atom, atom.shape[1])
        gated = self.linear(torch.cat([own, atom[neighbors], edges], dim=2))
        gated = self.norm_gated(gated.flatten(0, 1)).view(count, per_atom, -1)
        gate, core = gated.chunk(2, dim=2)
        total = (torch.sigmoid(gate) * functional.softplus(core)).sum(dim=1)
        return functional.softplus(atom + self.norm_sum(total))


class DenseCGCNN(nn.Module):
    """The release's network with our default sizes; a softplus more on the pooled features than the paper has."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(ELEMENTS, 64)
        self.convs = nn.ModuleList(DenseConv(64, 41) for _ in range(3))
        self.hidden = nn.Linear(64, 128)
        self.out = nn.Linear(128, 1)

    def forward(self, batch: Batch) -> Tensor:
        """(B, 1)."""
        atom = self.embedding(batch.atoms)
        for conv in self.convs:
            atom = conv(atom, batch.edges, batch.neighbors)
        pooled = torch.cat([atom[members].mean(dim=0, keepdim=True) for members in batch.members])
        return self.out(functional.softplus(self.hidden(functional.softplus(pooled))))


def epoch(model: nn.Module, data: list[Crystal], optimizer: torch.optim.Optimizer, batch_size: int) -> None:
    """One epoch of the release's loop, which keeps the means of the loss and of the error as it goes."""
    model.train()
    losses, errors = [], []
    for batch in DataLoader(data, batch_size=batch_size, shuffle=True, collate_fn=collate):
        predicted = model(batch)
        loss = functional.mse_loss(predicted, batch.target)
        losses.append(loss.item() * len(batch.members))
        errors.append(float((predicted.detach() - batch.target).abs().sum()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def predictions(model: nn.Module, data: list[Crystal], batch_size: int) -> Tensor:
    """(M,) in evaluation mode."""
    model.eval()
    return torch.cat([model(batch)[:, 0] for batch in DataLoader(data, batch_size=batch_size, collate_fn=collate)])


def same_network(ours: CGCNN) -> None:
    """Give our network the release's softplus on the pooled features."""
    ours.hidden[0].register_forward_pre_hook(lambda _, inputs: (functional.softplus(inputs[0]),))


@torch.no_grad()
def copy_weights(ours: CGCNN, theirs: DenseCGCNN) -> None:
    """Copy our weights into the release's network."""
    theirs.embedding.weight.copy_(ours.atoms.scale * ours.atoms.embedding.weight.T)
    theirs.embedding.bias.zero_()
    for our, their in zip(ours.convolutions, theirs.convs, strict=True):
        their.linear.load_state_dict(our.edges.linear.state_dict())
        their.norm_gated.load_state_dict(our.norm_edges.state_dict())
        their.norm_sum.load_state_dict(our.norm.state_dict())
    theirs.hidden.load_state_dict(ours.hidden[0].state_dict())
    theirs.out.load_state_dict(ours.out.state_dict())

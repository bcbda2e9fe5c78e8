"""coGN without line graph as one writes it in PyG: both atoms and their distance are concatenated for every edge.

Ruff, Reiser, Stühmer, Friederich, Digital Discovery 3, 594 (2024). Loader and loop are those of `peers.textbook`.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing, global_mean_pool

from gnn.config import ModelConfig
from gnn.models.cogn import CoGN


class PlainBlock(MessagePassing):
    """x_i + U(Σ_j M(x_i ⊕ x_j ⊕ e_ij))."""

    def __init__(self, features: int, edge_features: int, layers: int) -> None:
        super().__init__(aggr="add")
        first = nn.Linear(2 * features + edge_features, features)
        self.layers = nn.ModuleList([first, *(nn.Linear(features, features) for _ in range(layers - 1))])
        self.after = nn.Linear(features, features)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.propagate(edge_index, x=x, edge_attr=edge_attr)

    def message(self, x_i: Tensor, x_j: Tensor, edge_attr: Tensor) -> Tensor:
        value = torch.cat([x_i, x_j, edge_attr], dim=1)
        for layer in self.layers:
            value = functional.silu(layer(value))
        return value

    def update(self, aggr_out: Tensor, x: Tensor) -> Tensor:
        return x + functional.silu(self.after(aggr_out))


class PlainCoGN(nn.Module):
    """The network of `gnn.models.cogn`; its element embedding and its table of properties are copied from there."""

    def __init__(self, config: ModelConfig, ours: CoGN) -> None:
        super().__init__()
        features = config.atom_fea_len
        self.register_buffer("centres", ours.basis.centres.clone())
        self.register_buffer("properties", ours.atoms.properties.clone())
        self.sigma, self.scale = ours.basis.sigma, ours.atoms.scale
        self.embedding = nn.Embedding(len(self.properties), features)
        self.of_properties = nn.Linear(self.properties.shape[1], features)
        self.edges = nn.Linear(len(self.centres), features)
        self.blocks = nn.ModuleList(PlainBlock(features, features, config.n_message) for _ in range(config.n_conv))
        self.out = nn.Linear(features, 1)

    def forward(self, data: Data) -> Tensor:
        """(B, 1) of a batch of PyG."""
        z = data.x.long().squeeze(1)
        atom = self.scale * self.embedding(z) + self.of_properties(self.properties[z])
        edge = torch.exp(-((data.edge_attr - self.centres) ** 2) / (2 * self.sigma**2))
        edge = functional.silu(self.edges(edge))
        for block in self.blocks:
            atom = block(atom, data.edge_index, edge)
        return self.out(global_mean_pool(atom, data.batch))


@torch.no_grad()
def copy_weights(ours: CoGN, theirs: PlainCoGN) -> None:
    """Copy our weights into the plain network."""
    theirs.embedding.load_state_dict(ours.atoms.embedding.state_dict())
    theirs.of_properties.load_state_dict(ours.atoms.of_properties.state_dict())
    for our, their in zip(ours.blocks, theirs.blocks, strict=True):
        for linear, other in zip((our.first.linear, *our.others), their.layers, strict=True):
            other.load_state_dict(linear.state_dict())
        their.after.load_state_dict(our.update.state_dict())
    theirs.edges.load_state_dict(ours.edges.state_dict())
    theirs.out.load_state_dict(ours.out.state_dict())

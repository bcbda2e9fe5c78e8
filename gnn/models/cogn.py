"""coGN without line graph: Ruff, Reiser, Stühmer, Friederich, Digital Discovery 3, 594 (2024).

Messages are a small network of both atoms and their distance, nothing is normalised, and 24 neighbours with whole
shells stand for the crystal (graphs.cutoff null, graphs.max_neighbors 24).
"""

import itertools

from torch import Tensor, nn
from torch.nn import functional

from gnn.angles import ThreeBody
from gnn.batches import Batch
from gnn.config import ModelConfig
from gnn.heads import HEADS
from gnn.layers import POOLING, AtomEmbedding, EdgeLinear, GaussianBasis
from gnn.segments import Segments


class Block(nn.Module):
    """x_i' = x_i + U(Σ_j M(x_i, x_j, e_ij)), M of `layers` layers with the first one taken once an atom."""

    def __init__(self, features: int, edge_features: int, layers: int) -> None:
        super().__init__()
        self.first = EdgeLinear(features, edge_features, features)
        self.others = nn.ModuleList(nn.Linear(features, features) for _ in range(layers - 1))
        self.update = nn.Linear(features, features)

    def forward(self, atom: Tensor, edge: Tensor, segments: Segments) -> Tensor:
        """`atom` (N, F), `edge` (E, K) → (N, F)."""
        message = functional.silu(self.first(atom, edge, segments))
        for layer in self.others:
            message = functional.silu(layer(message))
        updated: Tensor = atom + functional.silu(self.update(segments.sum(message)))
        return updated


class CoGN(nn.Module):
    """Embedding of atoms and of edges, `n_conv` blocks, pooling, `n_h` hidden layers, one number a crystal."""

    capturable = True  # as a CUDA graph

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        features, hidden = config.atom_fea_len, config.h_fea_len
        self.pooling = config.pooling
        self.basis = GaussianBasis(0.0, config.gaussian_stop, config.gaussian_step, config.gaussian_sigma)
        self.atoms = AtomEmbedding(features, embedding=config.embedding, properties=config.properties)
        self.edges = nn.Linear(len(self.basis.centres), features)
        self.angles = ThreeBody(features, features, config.max_l) if config.max_l else None
        self.blocks = nn.ModuleList(Block(features, features, config.n_message) for _ in range(config.n_conv))
        widths = [features] + [hidden] * config.n_h
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = HEADS[config.head].readout(widths[-1])

    def forward(self, batch: Batch) -> Tensor:
        """(B,) standardised targets; logits for a classification; (B, W) for a head of W numbers."""
        edge, atom = functional.silu(self.edges(self.basis(batch.edge_distance))), self.atoms(batch.z)
        if self.angles is not None:
            edge = self.angles(atom, edge, batch.edge_vector, batch.segments)
        for block in self.blocks:
            atom = block(atom, edge, batch.segments)
        crystal = POOLING[self.pooling](atom, batch)
        for layer in self.hidden:
            crystal = functional.silu(layer(crystal))
        value: Tensor = self.out(crystal)
        return value.squeeze(1)

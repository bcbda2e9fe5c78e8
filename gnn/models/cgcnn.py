"""Crystal graph convolutional neural network, Xie & Grossman, PRL 120, 145301 (2018)."""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

from gnn.batches import Batch
from gnn.config import ModelConfig
from gnn.heads import HEADS
from gnn.layers import POOLING, AtomEmbedding, CGConv, GaussianBasis


class CGCNN(nn.Module):
    """Atom embedding, `n_conv` gated convolutions (Eq. 5), pooling, `n_h` softplus layers, one number out."""

    capturable = True  # as a CUDA graph

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        features, hidden = config.atom_fea_len, config.h_fea_len
        self.pooling = config.pooling
        self.basis = GaussianBasis(0.0, config.gaussian_stop, config.gaussian_step, config.gaussian_sigma)
        self.atoms = AtomEmbedding(features, embedding=config.embedding, properties=config.properties)
        edge_features = len(self.basis.centres)
        layers = [
            CGConv(features, edge_features, normalization=config.normalization, gate=config.gate)
            for _ in range(config.n_conv)
        ]
        self.convolutions = nn.ModuleList(layers)
        self.fuses = all(layer.fuses for layer in layers)
        widths = [features] + [hidden] * config.n_h
        self.hidden = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.out = HEADS[config.head].readout(widths[-1])

    def forward(self, batch: Batch) -> Tensor:
        """(B,) standardised targets; logits for a classification; (B, W) for a head of W numbers."""
        atom = self.atoms(batch.z)
        one_pass = self.fuses and atom.device.type == "cpu" and atom.dtype == torch.float32
        edge = self.basis.truncated(batch.edge_distance) if one_pass else self.basis(batch.edge_distance)
        for convolution in self.convolutions:
            atom = convolution(atom, edge, batch.segments)
        crystal = self.pool(atom, batch)
        for layer in self.hidden:
            crystal = functional.softplus(layer(crystal))
        value: Tensor = self.out(crystal)
        return value.squeeze(1)

    def pool(self, atom: Tensor, batch: Batch) -> Tensor:
        """(N, F) → (B, F): over a crystal's atoms, the mean or what `pooling` says."""
        return POOLING[self.pooling](atom, batch)

    def gates(self, batch: Batch) -> list[Tensor]:
        """The gate of each edge in each layer, its mean over features: `n_conv` tensors (E,); none without gates."""
        edge, atom = self.basis(batch.edge_distance), self.atoms(batch.z)
        found = []
        for convolution in self.convolutions:
            if isinstance(convolution, CGConv) and convolution.gate:
                found.append(convolution.gates(atom, edge, batch.segments).mean(dim=1))
            atom = convolution(atom, edge, batch.segments)
        return found

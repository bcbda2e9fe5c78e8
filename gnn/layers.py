"""The layers of CGCNN: atom embedding, Gaussian expansion of distances, gated convolution, pooling.

Xie & Grossman, PRL 120, 145301 (2018). N atoms, E edges, B crystals, F features of an atom, K Gaussians.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from gnn.batches import Batch
from gnn.config import divides
from gnn.distributed import total_with_gradient
from gnn.elements import HIGHEST, element_properties
from gnn.fused import TruncatedGaussians, gated_sum, truncated_gaussians
from gnn.segments import Segments, largest_of_each, sum_of_each

Normalization = Literal["sum", "gated", "output", "none"]

EMBEDDING_SCALE = 0.1  # of what is learned for an element, in its vector


class GaussianBasis(nn.Module):
    """exp(−(d − μ)² / 2σ²) at centres μ from `start` to `stop`: (E,) Å → (E, K).

    Centres are `step` apart; where that does not divide the range, the last one is the nearest to `stop`.
    σ is `step` as in the textbook; the authors' code, exp(−(d − μ)² / step²), is σ = step / √2.
    """

    centres: Tensor

    def __init__(self, start: float, stop: float, step: float, sigma: float | None = None) -> None:
        super().__init__()
        steps = round((stop - start) / step)
        last = stop if divides(step, stop - start) else start + steps * step
        # linspace: with arange, rounding decides whether there is one centre more.
        self.register_buffer("centres", torch.linspace(start, last, steps + 1))
        self.step, self.sigma = step, sigma or step

    def forward(self, distance: Tensor) -> Tensor:
        """(E,) → (E, K)."""
        return (distance[:, None] - self.centres).square_().mul_(-0.5 / self.sigma**2).exp_()

    def truncated(self, distance: Tensor) -> TruncatedGaussians:
        """(E,) Å → for each distance the Gaussians near it alone; the others are below 3e-7."""
        return truncated_gaussians(distance, self.centres, self.step, self.sigma)


class AtomEmbedding(nn.Module):
    """Atomic numbers (N,) → (N, F): a learned vector an element, plus a linear map of its physical properties."""

    properties: Tensor

    def __init__(self, features: int, *, embedding: bool, properties: bool, scale: float = EMBEDDING_SCALE) -> None:
        super().__init__()
        if not embedding and not properties:
            raise ValueError("an atom needs an embedding, its properties, or both")
        self.embedding = nn.Embedding(HIGHEST + 1, features) if embedding else None
        self.scale = scale
        table = element_properties()
        self.register_buffer("properties", table, persistent=False)
        self.of_properties = nn.Linear(table.shape[1], features) if properties else None

    def forward(self, z: Tensor) -> Tensor:
        """(N,) → (N, F)."""
        atom = (
            z.new_zeros((), dtype=torch.float32) if self.embedding is None else self.scale * lookup(self.embedding, z)
        )
        known: Tensor = atom if self.of_properties is None else atom + self.of_properties(self.properties[z])
        return known


def lookup(embedding: nn.Embedding, index: Tensor) -> Tensor:
    """(N,) → (N, F). On a GPU as a product, for the gradient of a lookup sorts, and waits for the result."""
    if index.device.type == "cpu":
        return torch.as_tensor(embedding(index))
    table = embedding.weight
    chosen = index[:, None] == torch.arange(len(table), device=index.device)
    return chosen.to(table.dtype) @ table


class EdgeLinear(nn.Module):
    """The linear map W (v_i ⊕ v_j ⊕ u_ij) + b of both atoms and their distance, for every edge: (E, out).

    W z = W_i v_i + W_j v_j + W_u u_ij: the first two products are taken once an atom, not once an edge.
    """

    def __init__(self, features: int, edge_features: int, out: int) -> None:
        super().__init__()
        self.features = features
        self.linear = nn.Linear(2 * features + edge_features, out)

    def forward(self, atom: Tensor, edge: Tensor, segments: Segments) -> Tensor:
        """`atom` (N, F), `edge` (E, K) → (E, out)."""
        nodes, of_edge = self.by_atom(atom)
        return segments.add_nodes(functional.linear(edge, of_edge), nodes)

    def by_atom(self, atom: Tensor) -> tuple[Tensor, Tensor]:
        """`atom` (N, F) → W_i v_i + b and W_j v_j as (N, 2, out), and W_u (out, K)."""
        ends, of_edge = self.linear.weight.tensor_split([2 * self.features], dim=1)
        out = len(self.linear.bias)
        # (out, 2F) → (2 out, F): both products as one.
        weight = ends.reshape(out, 2, self.features).transpose(0, 1).reshape(2 * out, self.features)
        bias = functional.pad(self.linear.bias, (0, out))
        return functional.linear(atom, weight, bias).view(-1, 2, out), of_edge


class _GatedSoftplus(torch.autograd.Function):
    """σ(a) ⊙ softplus(b) of z = a ⊕ b: (E, 2F) → (E, F), without the copies that autograd keeps of each operation."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        gate, core = z.chunk(2, dim=1)
        gate, core = torch.sigmoid(gate), functional.softplus(core)
        ctx.save_for_backward(gate, core)
        message: Tensor = gate * core
        return message

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gate, core = ctx.saved_tensors
        through = gradients[0] * gate
        result = through.new_empty(len(gate), 2 * gate.shape[1])
        of_gate, of_core = result.chunk(2, dim=1)
        # d softplus = σ(b) = 1 − exp(−softplus(b))
        torch.mul(through, torch.neg(core).expm1_().neg_(), out=of_core)
        torch.mul(through.mul_(core), 1 - gate, out=of_gate)
        return torch.as_tensor(result)


class BatchNorm(nn.BatchNorm1d):
    """Batch norm over the rows of all ranks, whose rows count several times.

    So a graph with one atom an orbit has the statistics of the whole one, and a batch that is shared among ranks those
    of the undivided batch (torch's SyncBatchNorm, which refuses CPUs and knows no counts). Ioffe & Szegedy, ICML 2015.
    A batch of a single row has no spread of its own and takes the running statistics.
    """

    running_mean: Tensor
    running_var: Tensor

    def forward(self, value: Tensor, count: Tensor | None = None) -> Tensor:
        """`value` (N, F), `count` (N,) how often each row counts, once if None → (N, F)."""
        if not self.training:
            still = (self.running_mean, self.running_var, self.weight, self.bias)
            return functional.batch_norm(value, *still, training=False, eps=self.eps)
        if count is None:
            count = value.new_ones(len(value))
        sums = total_with_gradient(torch.cat([count @ value, count.sum()[None]]))
        total = sums[-1].detach()
        enough = total > 1  # chosen by `where`: to ask a GPU is to wait for it
        mean = torch.where(enough, sums[:-1] / total.clamp(min=1), self.running_mean)
        centred = value - mean
        variance = total_with_gradient(count @ centred.square()) / total.clamp(min=1)
        variance = torch.where(enough, variance, self.running_var)
        with torch.no_grad():
            momentum = enough * (self.momentum or 0.0)
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance * (total / (total - 1).clamp(min=1)), momentum)
        return torch.addcmul(self.bias, centred, self.weight * (variance + self.eps).rsqrt())


class CGConv(nn.Module):
    """v_i' = v_i + Σ_j σ(z_ij W_f + b_f) ⊙ softplus(z_ij W_s + b_s), z_ij = v_i ⊕ v_j ⊕ u_ij (the paper's Eq. 5).

    Normalisation "sum" is batch norm on the sum over neighbours, which leaves v_i a path through all layers; "output"
    is batch norm on v_i' (the textbook); "gated" is batch norm on z W and on the sum, and softplus on v_i' (the
    authors' released code). Without a gate, σ is left out (the ablation).
    """

    def __init__(self, features: int, edge_features: int, *, normalization: Normalization, gate: bool = True) -> None:
        super().__init__()
        self.normalization = normalization
        self.gate = gate
        width = 2 * features if gate else features
        self.edges = EdgeLinear(features, edge_features, width)
        self.norm_edges = BatchNorm(width) if normalization == "gated" else None
        self.norm = BatchNorm(features) if normalization != "none" else None

    @property
    def fuses(self) -> bool:
        """Whether `gnn.fused.gated_sum` can compute the sum over neighbours: with gates, no batch norm before them."""
        return self.gate and self.norm_edges is None

    def forward(self, atom: Tensor, edge: Tensor | TruncatedGaussians, segments: Segments) -> Tensor:
        """`atom` (N, F), `edge` (E, K), or where `fuses` is true its truncated Gaussians → (N, F)."""
        if isinstance(edge, TruncatedGaussians):
            added = gated_sum(*self.edges.by_atom(atom), edge, segments)
        else:
            added = segments.sum(self.messages(atom, edge, segments))
        if self.norm is None:
            return atom + added
        if self.normalization == "output":
            return torch.as_tensor(self.norm(atom + added, segments.multiplicity))
        after = atom + self.norm(added, segments.multiplicity)
        return functional.softplus(after) if self.normalization == "gated" else after

    def messages(self, atom: Tensor, edge: Tensor, segments: Segments) -> Tensor:
        """(E, F): the message σ(…) ⊙ softplus(…) of each edge, before the sum."""
        z = self.before_gate(atom, edge, segments)
        message: Tensor = _GatedSoftplus.apply(z) if self.gate else functional.softplus(z)
        return message

    def gates(self, atom: Tensor, edge: Tensor, segments: Segments) -> Tensor:
        """(E, F): the gate σ(z_ij W_f + b_f) of each edge."""
        return torch.sigmoid(self.before_gate(atom, edge, segments)[:, : atom.shape[1]])

    def before_gate(self, atom: Tensor, edge: Tensor, segments: Segments) -> Tensor:
        """(E, 2F) z_ij W + b, the gate's half first, normalised if the gate is; (E, F) without a gate."""
        z: Tensor = self.edges(atom, edge, segments)
        if self.norm_edges is not None:
            count = None if segments.multiplicity is None else segments.multiplicity[segments.target]
            z = self.norm_edges(z, count)
        return z


def mean_pool(atom: Tensor, batch: Batch) -> Tensor:
    """Mean over the atoms of each crystal, an atom counted as often as its multiplicity says: (N, F) → (B, F)."""
    count = batch.multiplicity[:, None]
    total, atoms = (sum_of_each(value, batch.ptr, batch.batch) for value in (count * atom, count))
    return total / atoms.clamp(min=1)  # 0 for a crystal that counts for nothing


def max_pool(atom: Tensor, batch: Batch) -> Tensor:
    """The largest of each feature over the atoms of each crystal, however often an atom counts: (N, F) → (B, F)."""
    return largest_of_each(atom, batch.ptr, batch.batch)


POOLING = {"mean": mean_pool, "max": max_pool}

"""Sums over the edges of a graph, and their gradients, as products with sparse matrices; no scatter."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


class _AddNodes(torch.autograd.Function):
    """edge + nodes[target] + nodes[N + source] in one pass; the gradient of `nodes` is a sum over edges."""

    @staticmethod
    def forward(ctx: Any, edge: Tensor, nodes: Tensor, segments: "Segments") -> Tensor:
        ctx.segments = segments
        ctx.mark_dirty(edge)
        return torch.addmm(edge, segments.ends, nodes, out=edge)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        return gradient, ctx.segments.ends_transposed @ gradient, None


class _Sum(torch.autograd.Function):
    """Σ over the edges of each target; the gradient is a copy to each edge."""

    @staticmethod
    def forward(ctx: Any, message: Tensor, segments: "Segments") -> Tensor:
        ctx.target = segments.target
        return segments.by_target @ message

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        return gradient.index_select(0, ctx.target), None


@dataclass
class Segments:
    """The edges of N atoms: `source` and `target` (E,), sorted by target."""

    source: Tensor
    target: Tensor
    atoms: int

    @cached_property
    def ends(self) -> Tensor:
        """(E, 2N) sparse, two ones a row: at the edge's target, and at N + its source."""
        edges = len(self.source)
        start = torch.arange(0, 2 * edges + 1, 2, device=self.source.device)
        columns = torch.stack([self.target, self.source + self.atoms], dim=1).reshape(-1)
        return _ones(start, columns, (edges, 2 * self.atoms))

    @cached_property
    def ends_transposed(self) -> Tensor:
        """(2N, E) sparse: sums edges at their target, and below at their source."""
        at_target, at_source = self._start(self.target), self._start(self.source)
        edges = torch.arange(len(self.target), device=self.target.device)
        start = torch.cat([at_target, at_source[1:] + len(self.target)])
        columns = torch.cat([edges, torch.argsort(self.source, stable=True)])
        return _ones(start, columns, (2 * self.atoms, len(self.target)))

    @cached_property
    def by_target(self) -> Tensor:
        """(N, E) sparse: sums edges at their target."""
        edges = torch.arange(len(self.target), device=self.target.device)
        return _ones(self._start(self.target), edges, (self.atoms, len(self.target)))

    def _start(self, index: Tensor) -> Tensor:
        start = torch.zeros(self.atoms + 1, dtype=torch.long, device=index.device)
        torch.cumsum(torch.bincount(index, minlength=self.atoms), 0, out=start[1:])
        return start

    def add_nodes(self, edge: Tensor, towards: Tensor, away: Tensor) -> Tensor:
        """edge_ij + towards_i + away_j: (E, F), (N, F), (N, F) → (E, F). Overwrites `edge`."""
        result: Tensor = _AddNodes.apply(edge, torch.cat([towards, away]), self)
        return result

    def sum(self, message: Tensor) -> Tensor:
        """Σ_j message_ij: (E, F) → (N, F)."""
        result: Tensor = _Sum.apply(message, self)
        return result


def _ones(start: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    ones = torch.ones(len(columns), device=columns.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Sparse CSR tensor support is in beta state", said once a process
        return torch.sparse_csr_tensor(start, columns, ones, shape, check_invariants=False)

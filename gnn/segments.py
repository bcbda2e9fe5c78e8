"""Sums over the edges of each atom, and their gradients.

The order of every sum is fixed, so results are the same in every run; scatter operations do not promise that. On a CPU
the sums are products with sparse matrices of ones, which take one pass less; on a GPU, where such products (cuSPARSE)
have no fixed order, they are sums over segments of sorted rows, and nothing here waits for the GPU.
N atoms, E edges, F features.
"""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

PIECES = 8  # fixed, so that the order of every sum is the same with any number of threads


class _AddNodes(torch.autograd.Function):
    """(E, F) edge + nodes[2 target] + nodes[2 source + 1], `nodes` (2N, F).

    The gradient of `nodes` is the sum over the edges that end there.
    """

    @staticmethod
    def forward(ctx: Any, edge: Tensor, nodes: Tensor, segments: "Segments") -> Tensor:
        ctx.segments = segments
        ctx.mark_dirty(edge)
        if _takes_products(edge):
            return torch.addmm(edge, segments.ends, nodes, out=edge)
        edge += nodes[::2].index_select(0, segments.target)
        edge += nodes[1::2].index_select(0, segments.source)
        return edge

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), segments = gradients, ctx.segments
        if _takes_products(gradient):
            return gradient, segments.ends_transposed @ gradient, None
        order, start = segments.by_source
        of_target = _sums(gradient, segments.start)
        of_source = _sums(gradient.index_select(0, order), start)
        return gradient, torch.stack([of_target, of_source], dim=1).flatten(0, 1), None


class _Sum(torch.autograd.Function):
    """(E, F) → (N, F): the sum over the edges of each target; the gradient is copied to each edge."""

    @staticmethod
    def forward(ctx: Any, message: Tensor, segments: "Segments") -> Tensor:
        ctx.target = segments.target
        return segments.by_target @ message if _takes_products(message) else _sums(message, segments.start)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        return gradient.index_select(0, ctx.target), None


class _OfTarget(torch.autograd.Function):
    """(N, F) → (E, F): the value of each edge's target; the gradient is summed over the edges of each target."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, segments: "Segments") -> Tensor:
        ctx.segments = segments
        return value.index_select(0, segments.target)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,), segments = gradients, ctx.segments
        return segments.by_target @ gradient if _takes_products(gradient) else _sums(gradient, segments.start), None


class _SumOfEach(torch.autograd.Function):
    """(N, F) → (B, F): the sum over the rows from `start` (B + 1,) of each of B; `owner` (N,) is whose a row is."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, start: Tensor, owner: Tensor) -> Tensor:
        ctx.owner = owner
        return _sums(value, start)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        return gradient.index_select(0, ctx.owner), None, None


class _LargestOfEach(torch.autograd.Function):
    """(N, F) → (B, F): the largest over the rows of each owner; rows that are the largest together share the gradient.

    torch's own gradient gives each of several largest rows all of it, if it is negative (torch 2.13).
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, start: Tensor, owner: Tensor) -> Tensor:
        largest = torch.segment_reduce(value, "max", offsets=start, axis=0, unsafe=True)
        ctx.is_largest, ctx.start, ctx.owner = value == largest.index_select(0, owner), start, owner
        return largest

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        chosen = ctx.is_largest.to(gradient.dtype)
        shared = gradient / _sums(chosen, ctx.start)
        return chosen * shared.index_select(0, ctx.owner), None, None


@dataclass
class Segments:
    """The edges of N = `atoms` atoms: `source` and `target` (E,) are atom indices, sorted by target.

    `ptr` (B + 1,) is the first atom of each crystal, between which there are no edges; None is one crystal.
    """

    source: Tensor
    target: Tensor
    atoms: int
    ptr: Tensor | None = None  # (B + 1,) the first atom of each crystal
    multiplicity: Tensor | None = None  # (N,) how many atoms each one stands for; None: one

    @cached_property
    def start(self) -> Tensor:
        """(N + 1,) the first edge of each target."""
        return (_starts if _takes_products(self.target) else _bounds)(self.target, self.atoms)

    @cached_property
    def by_source(self) -> tuple[Tensor, Tensor]:
        """(E,) the edges sorted by their source, and (N + 1,) the first one of each."""
        source, order = torch.sort(self.source, stable=True)
        return order, _bounds(source, self.atoms)

    @cached_property
    def pieces(self) -> Tensor:
        """(at most PIECES + 1,) atoms between which the graph falls into parts of about as many edges."""
        crystals = torch.tensor([0, self.atoms]) if self.ptr is None else self.ptr
        before = self.start[crystals]
        wanted = torch.arange(PIECES) * len(self.target) // PIECES
        bounds: Tensor = torch.cat([crystals[torch.searchsorted(before, wanted)], crystals[-1:]]).unique()
        return bounds

    @cached_property
    def ends(self) -> Tensor:
        """(E, 2N) sparse, two ones a row: at twice the edge's target, and at twice its source + 1."""
        edges = len(self.source)
        start = torch.arange(0, 2 * edges + 1, 2, device=self.source.device)
        columns = torch.stack([2 * self.target, 2 * self.source + 1], dim=1).reshape(-1)
        return _ones(start, columns, (edges, 2 * self.atoms))

    @cached_property
    def ends_transposed(self) -> Tensor:
        """(2N, E) sparse: row 2i sums the edges with target i, row 2i + 1 those with source i."""
        rows = torch.cat([2 * self.target, 2 * self.source + 1])
        columns = torch.argsort(rows, stable=True) % len(self.target)
        return _ones(_starts(rows, 2 * self.atoms), columns, (2 * self.atoms, len(self.target)))

    @cached_property
    def by_target(self) -> Tensor:
        """(N, E) sparse: sums edges at their target."""
        edges = torch.arange(len(self.target), device=self.target.device)
        return _ones(self.start, edges, (self.atoms, len(self.target)))

    def add_nodes(self, edge: Tensor, nodes: Tensor) -> Tensor:
        """edge_ij + nodes_i0 + nodes_j1: (E, F), (N, 2, F) → (E, F). Overwrites `edge`."""
        result: Tensor = _AddNodes.apply(edge, nodes.flatten(0, 1), self)
        return result

    def sum(self, message: Tensor) -> Tensor:
        """Σ_j message_ij: (E, F) → (N, F)."""
        result: Tensor = _Sum.apply(message, self)
        return result

    def of_target(self, value: Tensor) -> Tensor:
        """value_i of each edge's target i: (N, F) → (E, F)."""
        result: Tensor = _OfTarget.apply(value, self)
        return result


def sum_of_each(value: Tensor, start: Tensor, owner: Tensor) -> Tensor:
    """(N, F) → (B, F): sums over each owner's rows. `owner` (N,) is sorted, `start` (B + 1,) the first row of each."""
    if _takes_products(value):
        return value.new_zeros(len(start) - 1, value.shape[1]).index_add(0, owner, value)
    summed: Tensor = _SumOfEach.apply(value, start, owner)
    return summed


def starts(count: Tensor) -> Tensor:
    """(M + 1,) where each of M parts with so many values begins, and the end of the last."""
    start = torch.zeros(len(count) + 1, dtype=torch.long, device=count.device)
    torch.cumsum(count, 0, out=start[1:])
    return start


def largest_of_each(value: Tensor, start: Tensor, owner: Tensor) -> Tensor:
    """(N, F) → (B, F): the largest over each owner's rows, of which it has at least one; the rest as `sum_of_each`."""
    largest: Tensor = _LargestOfEach.apply(value, start, owner)
    return largest


def _starts(rows: Tensor, count: int) -> Tensor:
    """(count + 1,) where each row starts once they are sorted."""
    return starts(torch.bincount(rows, minlength=count))


def _takes_products(value: Tensor) -> bool:
    return value.device.type == "cpu"


def _bounds(rows: Tensor, count: int) -> Tensor:
    """The same of `rows` that are sorted, on a GPU: a `bincount` waits for it."""
    return torch.searchsorted(rows, torch.arange(count + 1, device=rows.device))


def _sums(value: Tensor, start: Tensor) -> Tensor:
    return torch.segment_reduce(value, "sum", offsets=start, axis=0, unsafe=True, initial=0)


def _ones(start: Tensor, columns: Tensor, shape: tuple[int, int]) -> Tensor:
    ones = torch.ones(len(columns), device=columns.device)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "Sparse CSR tensor support is in beta state", said once a process
        return torch.sparse_csr_tensor(start, columns, ones, shape, check_invariants=False)

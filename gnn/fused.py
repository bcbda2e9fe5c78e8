"""The sum over neighbours of the gated convolution (Eq. 5 of Xie & Grossman, PRL 120, 145301, 2018) on a CPU.

Compiled by numba; it and its gradient are one pass over the edges each.


Three things make it faster than the same equation in torch's operations. What an edge needs stays in the cache from the
linear map to the sum. The two derivatives of a message are all that is kept for the gradient. And a Gaussian further
than `REACH` σ from a distance is below 3e-7 there, so the basis is truncated: an edge multiplies with the few centres
around it, not with all.
"""

import math
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.polynomial import Chebyshev, Polynomial
from torch import Tensor

from gnn.segments import PIECES, Segments

# numba reads this when it is imported, and starts as many OpenMP threads at its first parallel function, by default as
# there are cores; torch has as many from then on, too, whatever OMP_NUM_THREADS said.
os.environ.setdefault("NUMBA_NUM_THREADS", str(torch.get_num_threads()))

import numba

REACH = 5.5
UNROLLED = 4  # centres a round of the inner loop takes
KEPT = 8  # arrays whose memory waits to be used again

compiled: Any = numba.njit(
    fastmath={"contract", "reassoc", "nsz", "arcp"}, parallel=True, error_model="numpy", cache=True
)
f32 = np.float32


@dataclass
class TruncatedGaussians:
    """Sparse Gaussian basis of E distances: `values` (E, w) at centres `first` (E,) … `first` + w − 1; else 0."""

    first: Tensor
    values: Tensor


def truncated_gaussians(distance: Tensor, centres: Tensor, step: float, sigma: float) -> TruncatedGaussians:
    """(E,) Å, evenly spaced centres (K,) → the w centres around each distance; w may pass K, for weights of zero."""
    width = UNROLLED * math.ceil((2 * REACH * sigma / step + 1) / UNROLLED)
    last = max(len(centres) - width, 0)
    middle = (distance - centres[0]).div_(step).add_(0.5 - width / 2).floor_()
    first = middle.clamp_(0, last)
    offset = centres[0] + step * torch.arange(width)
    values = ((distance - step * first)[:, None] - offset).square_().mul_(-0.5 / sigma**2).exp_()
    return TruncatedGaussians(first.int(), values)


def gated_sum(nodes: Tensor, weight: Tensor, edge: TruncatedGaussians, segments: Segments) -> Tensor:
    """Σ_j σ(a) ⊙ softplus(b), a ⊕ b = nodes_i0 + nodes_j1 + W u_ij: (N, 2, 2F), (2F, K) → (N, F)."""
    summed: Tensor = _GatedSum.apply(nodes, weight, edge, segments)
    return summed


class _GatedSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, nodes: Tensor, weight: Tensor, edge: TruncatedGaussians, segments: Segments) -> Tensor:
        ctx.edge, ctx.segments, ctx.centres = edge, segments, weight.shape[1]
        width = weight.shape[0]
        out = np.empty((len(nodes), width // 2), f32)
        # ∂message/∂a and ∂message/∂b, where somebody will ask; the largest array of all, so its memory is used again.
        ctx.slope = _buffers.take(len(edge.first) if any(ctx.needs_input_grad) else 1, width)
        _forward(*_edges(edge, segments), _array(nodes), _by_centre(weight, edge), out, ctx.slope)
        return torch.from_numpy(out)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        edge, segments, slope = ctx.edge, ctx.segments, ctx.slope
        gradient = _array(gradients[0])
        nodes = np.zeros((len(gradient), 2, slope.shape[1]), f32)
        weight = np.zeros((PIECES, max(ctx.centres, edge.values.shape[1]), slope.shape[1]), f32)
        _backward(*_edges(edge, segments), gradient, slope, nodes, weight)
        ctx.slope = None
        _buffers.give_back(slope)
        return torch.from_numpy(nodes), torch.from_numpy(weight.sum(axis=0)[: ctx.centres].T), None, None


class _BufferPool:
    """Memory of finished arrays, given to the next ones: a fresh page costs more than what is computed on it."""

    def __init__(self) -> None:
        self._free: list[np.ndarray] = []

    def take(self, rows: int, columns: int) -> np.ndarray:
        size = rows * columns
        fitting = [n for n, flat in enumerate(self._free) if len(flat) >= size]
        flat = self._free.pop(fitting[0]) if fitting else np.empty(size + size // 8, f32)
        return flat[:size].reshape(rows, columns)

    def give_back(self, array: np.ndarray) -> None:
        self._free = sorted([*self._free, array.reshape(-1)], key=len)[-KEPT:]


_buffers = _BufferPool()


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.detach().contiguous().numpy()
    return array


def _by_centre(weight: Tensor, edge: TruncatedGaussians) -> np.ndarray:
    """(2F, K) → (max(K, w), 2F), the rows past K zero."""
    turned = np.zeros((max(weight.shape[1], edge.values.shape[1]), weight.shape[0]), f32)
    turned[: weight.shape[1]] = weight.detach().numpy().T
    return turned


def _edges(edge: TruncatedGaussians, segments: Segments) -> tuple[np.ndarray, ...]:
    numba.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    arrays = (segments.pieces, segments.start, segments.source, edge.first, edge.values)
    return tuple(array.numpy() for array in arrays)


def _fit_polynomial(function: Any, low: float, high: float, degree: int) -> tuple[np.float32, ...]:
    """Coefficients of the polynomial through the Chebyshev points of [low, high]."""
    series = Chebyshev.interpolate(function, degree, domain=[low, high])
    return tuple(f32(c) for c in series.convert(kind=Polynomial).coef)


def _artanh_by_square(square: np.ndarray) -> np.ndarray:
    root: np.ndarray = np.sqrt(np.maximum(square, 1e-12))
    value: np.ndarray = 2 * np.arctanh(root) / root
    return value


E0, E1, E2, E3, E4, E5 = _fit_polynomial(np.exp, -math.log(2) / 2, math.log(2) / 2, 5)
A0, A1, A2, A3, A4 = _fit_polynomial(_artanh_by_square, 0, 1 / 9, 4)
LOG2_E, LN_2 = f32(1 / math.log(2)), f32(math.log(2))


@numba.njit(inline="always")
def _exp(x: Any) -> Any:
    """Exp of x ≤ 0 as 2^n e^r, 2^n written as its bits, |r| ≤ ln(2) / 2; error below 3e-7 of the value."""
    y = max(x * LOG2_E, f32(-126))
    n = np.floor(y + f32(0.5))
    r = (y - n) * LN_2
    q = r * r
    p = (E0 + E1 * r) + q * ((E2 + E3 * r) + q * (E4 + E5 * r))
    return p * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(inline="always")
def _twice_artanh(s: Any) -> Any:
    """2 artanh(s) of 0 ≤ s ≤ 1/3, which is ln(1 + t) for s = t / (2 + t), 0 ≤ t ≤ 1."""
    q = s * s
    return s * ((A0 + A1 * q) + q * q * ((A2 + A3 * q) + q * q * A4))


@compiled
def _forward(  # noqa: PLR0913 compiled functions take arrays
    pieces: Any, start: Any, source: Any, centre: Any, values: Any, nodes: Any, weight: Any, out: Any, slope: Any
) -> None:
    features = out.shape[1]
    kept = len(slope) > 1
    for piece in numba.prange(len(pieces) - 1):
        z = np.empty(2 * features, f32)
        for i in range(pieces[piece], pieces[piece + 1]):
            for f in range(features):
                out[i, f] = f32(0)
            for e in range(start[i], start[i + 1]):
                j, c = source[e], centre[e]
                for f in range(2 * features):
                    z[f] = nodes[i, 0, f] + nodes[j, 1, f]
                for k in range(0, values.shape[1], UNROLLED):
                    g0, g1, g2, g3 = values[e, k], values[e, k + 1], values[e, k + 2], values[e, k + 3]
                    r = c + k
                    for f in range(2 * features):
                        low = g0 * weight[r, f] + g1 * weight[r + 1, f]
                        z[f] += low + g2 * weight[r + 2, f] + g3 * weight[r + 3, f]
                row = e if kept else 0  # a branch in the loop would keep it from being vectorised
                for f in range(features):
                    a, b = z[f], z[features + f]
                    small_a, small_b = _exp(-abs(a)), _exp(-abs(b))
                    one_a, one_b, two_b = f32(1) + small_a, f32(1) + small_b, f32(2) + small_b
                    both_b = one_b * two_b
                    # 1 / (1 + small_a), 1 / (1 + small_b), small_b / (2 + small_b) by one division, the slow operation
                    inverse = f32(1) / (one_a * both_b)
                    inverse_b = inverse * one_a
                    gate = inverse * both_b * (f32(1) if a >= 0 else small_a)
                    core = max(b, f32(0)) + _twice_artanh(inverse_b * one_b * small_b)
                    out[i, f] += gate * core
                    slope[row, f] = core * (gate - gate * gate)
                    slope[row, features + f] = gate * inverse_b * two_b * (f32(1) if b >= 0 else small_b)


@compiled
def _backward(  # noqa: PLR0913
    pieces: Any, start: Any, source: Any, centre: Any, values: Any, gradient: Any, slope: Any, nodes: Any, weights: Any
) -> None:
    features = gradient.shape[1]
    for piece in numba.prange(len(pieces) - 1):
        z = np.empty(2 * features, f32)
        weight = weights[piece]
        for i in range(pieces[piece], pieces[piece + 1]):
            for e in range(start[i], start[i + 1]):
                j, c = source[e], centre[e]
                for f in range(features):
                    z[f] = gradient[i, f] * slope[e, f]
                    z[features + f] = gradient[i, f] * slope[e, features + f]
                for f in range(2 * features):
                    nodes[i, 0, f] += z[f]
                    nodes[j, 1, f] += z[f]
                for k in range(0, values.shape[1], UNROLLED):
                    g0, g1, g2, g3 = values[e, k], values[e, k + 1], values[e, k + 2], values[e, k + 3]
                    r = c + k
                    for f in range(2 * features):
                        v = z[f]
                        weight[r, f] += g0 * v
                        weight[r + 1, f] += g1 * v
                        weight[r + 2, f] += g2 * v
                        weight[r + 3, f] += g3 * v

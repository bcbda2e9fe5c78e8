"""Angles between the edges of an atom, at a cost that grows with its edges and not with their pairs.

By the addition theorem of spherical harmonics, a sum over all pairs of edges of P_l(cos θ) falls into a sum over the
edges of each atom and a product with it: the density trick of Bartók et al., PRB 87, 184115 (2013), and Drautz, PRB 99,
014104 (2019). It takes the place of coNGN's line graph (Ruff et al., Digital Discovery 3, 594 (2024)), whose nodes are
pairs of edges. N atoms, E edges, F features, C channels, L the highest degree.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from gnn.layers import EdgeLinear
from gnn.segments import Segments

CHANNELS = 16


class ThreeBody(nn.Module):
    """u_ij' = u_ij + silu(W t_ij), t_ijlc = Σ_k P_l(cos θ_jik) g_ikc / Σ_k 1, with k over all edges of atom i.

    g_ik are C numbers of the edge from k to i: a linear map of both atoms and their distance.
    """

    def __init__(self, features: int, edge_features: int, max_l: int) -> None:
        super().__init__()
        self.max_l = max_l
        self.channels = EdgeLinear(features, edge_features, CHANNELS)
        self.out = nn.Linear((max_l + 1) * CHANNELS, edge_features)

    def forward(self, atom: Tensor, edge: Tensor, vector: Tensor, segments: Segments) -> Tensor:
        """`atom` (N, F), `edge` (E, K), `vector` (E, 3) Å from i to j → (E, K)."""
        harmonics = spherical_harmonics(functional.normalize(vector, dim=1), self.max_l)
        density = harmonics[:, :, None] * self.channels(atom, edge, segments)[:, None, :]
        degree = segments.start.diff().clamp(min=1)[:, None]
        mean = segments.of_target(segments.sum(density.flatten(1)) / degree)
        products = harmonics[:, :, None] * mean.view_as(density)
        sizes = [2 * degree + 1 for degree in range(self.max_l + 1)]
        found = torch.cat([each.sum(dim=1) for each in products.split(sizes, dim=1)], dim=1)
        return edge + functional.silu(self.out(found))


def spherical_harmonics(unit: Tensor, max_l: int) -> Tensor:
    """Real ones of unit vectors (E, 3), all orders of all degrees up to `max_l`: (E, (max_l + 1)²), degree by degree.

    Normalised so that Σ_m Y_lm(a) Y_lm(b) = P_l(a · b). Of z the associated Legendre polynomials without the factor
    (1 − z²)^(m/2), which is in the powers of x + iy (NIST DLMF 14.10.3).
    """
    x, y, z = unit.unbind(1)
    of_z: dict[tuple[int, int], Tensor] = {}
    real, imaginary = [torch.ones_like(z)], [torch.zeros_like(z)]  # (x + iy)^m
    for m in range(max_l + 1):
        of_z[m, m] = torch.full_like(z, math.prod(range(1, 2 * m, 2)))
        for degree in range(m + 1, max_l + 1):
            before = of_z.get((degree - 2, m), torch.zeros_like(z))
            raised = (2 * degree - 1) * z * of_z[degree - 1, m] - (degree + m - 1) * before
            of_z[degree, m] = raised / (degree - m)
        real.append(x * real[m] - y * imaginary[m])
        imaginary.append(x * imaginary[m] + y * real[m])
    columns = []
    for degree in range(max_l + 1):
        for m in range(-degree, degree + 1):
            order = abs(m)
            scale = math.sqrt((2 if m else 1) * math.factorial(degree - order) / math.factorial(degree + order))
            columns.append(scale * of_z[degree, order] * (imaginary if m < 0 else real)[order])
    return torch.stack(columns, dim=1)

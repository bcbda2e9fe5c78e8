"""Angles: a sum over pairs of edges at the cost of one over edges, and what it tells apart."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.polynomial.legendre import Legendre

from gnn.angles import ThreeBody, spherical_harmonics
from gnn.config import ModelConfig
from gnn.segments import Segments


@given(st.integers(0, 6), st.integers(0, 2**32))
def test_products_of_harmonics_are_legendre_polynomials_of_the_angle(degree, seed):
    chance = np.random.default_rng(seed)
    a, b = (torch.nn.functional.normalize(torch.from_numpy(chance.normal(size=(20, 3))), dim=1) for _ in range(2))
    orders = slice(degree**2, (degree + 1) ** 2)
    product = (spherical_harmonics(a, degree)[:, orders] * spherical_harmonics(b, degree)[:, orders]).sum(dim=1)
    np.testing.assert_allclose(product, Legendre.basis(degree)((a * b).sum(dim=1).numpy()), atol=1e-12)


def test_it_is_the_sum_over_all_pairs_of_edges():
    torch.manual_seed(0)
    target = torch.tensor([0, 0, 0, 1, 2, 2])
    segments = Segments(torch.tensor([1, 2, 0, 0, 1, 2]), target, 3)
    vector, atom, edge = torch.randn(6, 3), torch.randn(3, 8), torch.randn(6, 8)
    layer = ThreeBody(8, 8, 2)
    g = layer.channels(atom, edge.clone(), segments)
    unit = torch.nn.functional.normalize(vector, dim=1)
    of_pairs = []
    for ij, atom_i in enumerate(target):
        same = (target == atom_i).nonzero().flatten()
        cosines = (unit[same] @ unit[ij]).detach().numpy()
        by_degree = [torch.from_numpy(Legendre.basis(n)(cosines)).float() @ g[same] for n in range(3)]
        of_pairs.append(torch.cat(by_degree) / len(same))
    expected = edge + torch.nn.functional.silu(layer.out(torch.stack(of_pairs)))
    torch.testing.assert_close(layer(atom, edge.clone(), vector, segments), expected, rtol=1e-4, atol=1e-5)


def test_it_tells_apart_what_distances_do_not():
    """An atom with two neighbours at the same distances, at a right angle and at a wider one."""
    torch.manual_seed(0)
    layer, segments = ThreeBody(4, 4, 2), Segments(torch.tensor([0, 0]), torch.tensor([0, 0]), 1)
    atom, edge = torch.randn(1, 4), torch.randn(1, 4).expand(2, 4)
    vectors = [torch.tensor([[1.0, 0, 0], [np.cos(a), np.sin(a), 0]], dtype=torch.float32) for a in (np.pi / 2, 2.0)]
    right, wide = (layer(atom, edge.clone(), vector, segments).detach() for vector in vectors)
    assert float((right - wide).abs().max()) > 1e-3


def test_max_l_is_for_cogn_alone():
    with pytest.raises(ValueError, match="max_l is for cogn alone; allowed for cgcnn is 0"):
        ModelConfig(max_l=2)

"""The compiled sum over neighbours: the same numbers and gradients as the operations it stands for."""

import os
import subprocess
import sys

import numba
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnn.batches import Batch
from gnn.config import ModelConfig
from gnn.fused import gated_sum
from gnn.layers import CGConv, GaussianBasis
from gnn.models.cgcnn import CGCNN
from gnn.segments import Segments


def random_batch(seed: int, crystals: int, atoms: int, edges: int, longest: float = 9.0) -> Batch:
    """Crystals of `atoms` atoms with `edges` random edges each."""
    chance = torch.Generator().manual_seed(seed)
    ptr = torch.arange(crystals + 1) * atoms
    target = torch.randint(atoms, (crystals, edges), generator=chance).sort(dim=1).values + ptr[:-1, None]
    source = torch.randint(atoms, (crystals, edges), generator=chance) + ptr[:-1, None]
    return Batch(
        z=torch.randint(1, 90, (crystals * atoms,), generator=chance),
        multiplicity=torch.ones(crystals * atoms),
        edge_index=torch.stack([source.reshape(-1), target.reshape(-1)]),
        edge_distance=torch.rand(crystals * edges, generator=chance) * longest,
        batch=torch.arange(crystals).repeat_interleave(atoms),
        ptr=ptr,
        rows=torch.arange(crystals),
    )


def outcome(layer: CGConv, atom: torch.Tensor, edge, segments: Segments) -> list[torch.Tensor]:
    """The layer's output and every gradient of a nonlinear function of it."""
    layer.zero_grad()
    atom = atom.detach().requires_grad_()
    out = layer(atom, edge, segments)
    out.sin().sum().backward()
    return [out.detach(), atom.grad, *(p.grad.clone() for p in layer.parameters())]


@given(
    seed=st.integers(0, 1000),
    shape=st.tuples(st.integers(1, 12), st.integers(1, 5), st.integers(1, 30)),
    features=st.sampled_from([1, 7, 8, 33]),
    basis=st.sampled_from([(8.0, 0.2, None), (6.0, 0.5, 0.2), (2.0, 0.5, None), (8.0, 0.2, 1.3)]),
    normalization=st.sampled_from(["sum", "output", "none"]),
)
def test_it_is_the_sum_of_its_messages(seed, shape, features, basis, normalization):
    batch = random_batch(seed, *shape)
    torch.manual_seed(seed)
    gaussians = GaussianBasis(0.0, *basis)
    layer = CGConv(features, len(gaussians.centres), normalization=normalization).eval()
    atom = torch.randn(len(batch.z), features)
    fused = outcome(layer, atom, gaussians.truncated(batch.edge_distance), batch.segments)
    plain = outcome(layer, atom, gaussians(batch.edge_distance), batch.segments)
    for one, other in zip(fused, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=3e-4)


def test_atoms_without_edges_have_sums_of_zero():
    edge = GaussianBasis(0.0, 8.0, 0.2).truncated(torch.tensor([2.0]))
    for place in (0, 2, 4):  # the one edge joins the atom to itself; the other four are alone
        alone = torch.arange(5) != place
        segments = Segments(torch.tensor([place]), torch.tensor([place]), 5, torch.arange(6))
        summed = gated_sum(torch.randn(5, 2, 8), torch.randn(8, 41), edge, segments)
        assert (summed[alone] == 0).all()
        assert (summed[place] > 0).all()


def test_large_numbers_neither_overflow_nor_vanish():
    batch = random_batch(0, 2, 3, 20)
    layer = CGConv(4, 41, normalization="none")
    gaussians = GaussianBasis(0.0, 8.0, 0.2)
    for scale in (1e3, 1e6):
        atom = scale * torch.randn(6, 4)
        fused = outcome(layer, atom, gaussians.truncated(batch.edge_distance), batch.segments)
        plain = outcome(layer, atom, gaussians(batch.edge_distance), batch.segments)
        torch.testing.assert_close(fused[0], plain[0], rtol=1e-4, atol=1e-4)
        assert all(torch.isfinite(one).all() for one in fused)


def test_the_number_of_threads_changes_no_bit():
    """In a process that may have two: all that OpenMP and numba start, they start once."""
    two = {**os.environ, "OMP_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2"}
    told = subprocess.run([sys.executable, __file__], env=two, capture_output=True, text=True, check=True).stdout
    assert told == "[1, 2] the same\n"


def compare_numbers_of_threads() -> None:
    """What that process does. At numba's first call OpenMP starts its threads, and torch then has as many."""
    batch = random_batch(0, 13, 4, 30)
    edge = GaussianBasis(0.0, 8.0, 0.2).truncated(batch.edge_distance)
    start = torch.randn(52, 2, 32), torch.randn(32, 41)
    gated_sum(*start, edge, batch.segments)
    used, found = [], []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        nodes, weight = (tensor.clone().requires_grad_() for tensor in start)
        out = gated_sum(nodes, weight, edge, batch.segments)
        out.backward(torch.ones_like(out))
        used.append(numba.get_num_threads())
        found.append((out, nodes.grad, weight.grad))
    same = all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    print(used, "the same" if same else "other bits")


@pytest.mark.parametrize(
    ("changes", "fuses"), [({}, True), ({"normalization": "gated"}, False), ({"gate": False}, False)]
)
def test_a_model_takes_it_where_it_can_and_predicts_the_same(changes, fuses):
    model = CGCNN(ModelConfig(**changes)).eval()
    assert model.fuses is fuses
    batch = random_batch(1, 9, 5, 40)
    with torch.no_grad():
        predicted = model(batch)
        model.fuses = False
        torch.testing.assert_close(predicted, model(batch), rtol=1e-5, atol=1e-5)


if __name__ == "__main__":
    compare_numbers_of_threads()

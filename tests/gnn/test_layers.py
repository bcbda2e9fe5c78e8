"""Layers: the equations, against PyTorch Geometric's own operator and numbers counted by hand."""

import pytest
import torch
from torch_geometric.nn import CGConv as PyGConv

from gnn.batches import Batch
from gnn.elements import HIGHEST, element_properties
from gnn.layers import AtomEmbedding, BatchNorm, CGConv, GaussianBasis, max_pool, mean_pool
from gnn.segments import Segments, largest_of_each

F, K, N, E = 8, 5, 7, 40


@pytest.mark.parametrize(("stop", "step"), [(8.0, 0.2), (8.0, 0.2580645), (8.0, 0.3), (7.0, 0.4), (5.0, 1.9)])
def test_gaussians_near_a_distance_are_those_of_all_whether_or_not_the_step_divides_the_range(stop, step):
    """A CPU computes with the former, a GPU with the latter."""
    basis, distance = GaussianBasis(0.0, stop, step), torch.linspace(0.5, stop + 0.5, 200)
    near = basis.truncated(distance)
    width = near.values.shape[1]
    all_of_them = torch.zeros(len(distance), max(len(basis.centres), width))
    all_of_them.scatter_(1, near.first.long()[:, None] + torch.arange(width), near.values)
    torch.testing.assert_close(all_of_them[:, : len(basis.centres)], basis(distance), atol=2e-6, rtol=0)
    assert basis.centres[-1] == pytest.approx(stop, abs=step / 2)


@pytest.fixture
def graph():
    torch.manual_seed(0)
    target = torch.sort(torch.randint(0, N, (E,))).values
    source = torch.randint(0, N, (E,))
    return torch.randn(N, F), torch.rand(E, K), source, target


def test_convolution_is_the_one_of_pytorch_geometric(graph):
    atom, edge, source, target = graph
    theirs = PyGConv(F, K, aggr="add", batch_norm=False)
    ours = CGConv(F, K, normalization="none")
    with torch.no_grad():
        ours.edges.linear.weight.copy_(torch.cat([theirs.lin_f.weight, theirs.lin_s.weight]))
        ours.edges.linear.bias.copy_(torch.cat([theirs.lin_f.bias, theirs.lin_s.bias]))
    gradients = []
    for layer in (theirs, ours):
        x = atom.clone().requires_grad_()
        u = edge.clone().requires_grad_()
        if layer is theirs:
            out = layer(x, torch.stack([source, target]), u)
        else:
            out = layer(x, u, Segments(source, target, N))
        out.square().sum().backward()
        gradients.append((out, x.grad, u.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    weight = torch.cat([theirs.lin_f.weight.grad, theirs.lin_s.weight.grad])
    torch.testing.assert_close(weight, ours.edges.linear.weight.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("normalization", ["none", "output", "gated"])
@pytest.mark.parametrize("gate", [True, False])
def test_gradients_are_those_of_finite_differences(graph, normalization, gate):
    atom, edge, source, target = graph
    layer = CGConv(F, K, normalization=normalization, gate=gate).double()
    segments = Segments(source, target, N)
    # The sparse sums hold ones of single precision: cast them for this test alone.
    for name in ("ends", "ends_transposed", "by_target"):
        setattr(segments, name, getattr(segments, name).double())
    inputs = (atom.double().requires_grad_(), edge.double().requires_grad_())
    assert torch.autograd.gradcheck(lambda v, u: layer(v, u, segments), inputs, eps=1e-6, atol=1e-5)


@pytest.mark.parametrize(
    ("features", "gaussians", "normalization", "count"),
    [(64, 31, "output", 20_608), (64, 41, "gated", 22_144)],
)
def test_parameters_of_the_textbooks_and_the_authors_layer(features, gaussians, normalization, count):
    layer = CGConv(features, gaussians, normalization=normalization)
    assert sum(p.numel() for p in layer.parameters()) == count


def test_gaussians_of_the_textbook():
    basis = GaussianBasis(0.0, 6.0, 0.2)
    assert len(basis.centres) == 31
    values = basis(torch.tensor([2.82]))
    assert float(values.max()) == pytest.approx(0.995, abs=5e-4)
    assert "centres" in basis.state_dict()


def test_gaussians_of_the_authors_code_are_reached_by_their_width():
    values = GaussianBasis(0.0, 8.0, 0.2, sigma=0.2 / 2**0.5)(torch.tensor([3.1]))
    centres = torch.linspace(0, 8, 41)
    torch.testing.assert_close(values[0], torch.exp(-((3.1 - centres) ** 2) / 0.2**2))


def test_every_element_embeds_and_has_properties():
    z = torch.arange(1, HIGHEST + 1)
    assert torch.isfinite(AtomEmbedding(F, embedding=True, properties=True)(z)).all()
    table = element_properties()
    assert table.shape == (HIGHEST + 1, 13)
    assert len({tuple(row.tolist()) for row in table[1:]}) == HIGHEST
    assert table[9, 1] == table[:, 1].max()  # fluorine is the most electronegative element


def test_an_atom_of_nothing_is_refused():
    with pytest.raises(ValueError, match="needs an embedding"):
        AtomEmbedding(F, embedding=False, properties=False)


def test_pooling_is_the_mean_over_atoms_or_the_largest():
    atoms = torch.tensor([[1.0], [3.0], [5.0]])
    none = torch.zeros(0, dtype=torch.long)
    two = Batch(
        z=torch.tensor([1, 1, 2]),
        multiplicity=torch.tensor([1.0, 3.0, 2.0]),
        edge_index=torch.stack([none, none]),
        edge_distance=torch.zeros(0),
        batch=torch.tensor([0, 0, 1]),
        ptr=torch.tensor([0, 2, 3]),
        rows=torch.arange(2),
    )
    assert mean_pool(atoms, two).tolist() == [[2.5], [5.0]]
    assert max_pool(atoms, two).tolist() == [[3.0], [5.0]]


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_rows_that_are_the_largest_together_share_the_gradient(sign):
    value = torch.tensor([[2.0], [2.0], [1.0], [3.0]], requires_grad=True)
    largest = largest_of_each(value, torch.tensor([0, 3, 4]), torch.tensor([0, 0, 0, 1]))
    (gradient,) = torch.autograd.grad(sign * largest.sum(), value)
    assert (sign * gradient).flatten().tolist() == [0.5, 0.5, 0.0, 1.0]


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm_with_counts_is_torchs_own_with_the_rows_repeated(training):
    counts = torch.tensor([1, 4, 2, 7])
    value, weight = torch.randn(4, F), torch.randn(F)
    ours, theirs = BatchNorm(F).train(training), torch.nn.BatchNorm1d(F).train(training)
    for layer in (ours, theirs):
        torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    repeated = value.repeat_interleave(counts, dim=0)
    one, other = value.clone().requires_grad_(), repeated.clone().requires_grad_()
    out, expected = ours(one, counts.float()), theirs(other)
    assert torch.allclose(out.repeat_interleave(counts, dim=0), expected, atol=1e-6)
    (counts[:, None] * out * weight).square().sum().backward()
    ((counts.repeat_interleave(counts)[:, None]).sqrt() * expected * weight).square().sum().backward()
    summed = torch.zeros_like(value).index_add_(0, torch.arange(4).repeat_interleave(counts), other.grad)
    assert torch.allclose(one.grad, summed, atol=1e-4)
    for name in ("running_mean", "running_var"):
        assert torch.allclose(getattr(ours, name), getattr(theirs, name), atol=1e-6)

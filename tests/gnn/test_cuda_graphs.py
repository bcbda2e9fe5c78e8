"""What training on a GPU does to a batch, and the sums it takes there, run on the CPU."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnn import segments
from gnn.batches import Batch
from gnn.config import ModelConfig
from gnn.cuda_graphs import SPARE, padded
from gnn.models.registry import build_model

CONFIGS = [
    ModelConfig(),
    ModelConfig(gate=False),
    ModelConfig(normalization="gated"),
    ModelConfig(normalization="output"),
    ModelConfig(name="cogn"),
    ModelConfig(name="cogn", max_l=2, pooling="max"),
]
each_model = pytest.mark.parametrize("config", CONFIGS, ids=lambda c: f"{c.name}-{c.normalization}-{c.gate}-{c.max_l}")


def batch_of(seed: int, atoms: list[int]) -> Batch:
    """Crystals of so many atoms with 3 random neighbours each."""
    chance = torch.Generator().manual_seed(seed)
    total, ptr = sum(atoms), torch.tensor([0, *atoms]).cumsum(0)
    owner = torch.repeat_interleave(torch.arange(len(atoms)), torch.tensor(atoms))
    target = torch.arange(total).repeat_interleave(3)
    size = torch.tensor(atoms)[owner[target]]
    source = ptr[owner[target]] + (torch.rand(3 * total, generator=chance) * size).long()
    return Batch(
        z=torch.randint(1, 90, (total,), generator=chance),
        multiplicity=torch.randint(1, 5, (total,), generator=chance).float(),
        edge_index=torch.stack([source, target]),
        edge_distance=1 + 5 * torch.rand(3 * total, generator=chance),
        batch=owner,
        ptr=ptr,
        rows=torch.arange(len(atoms)),
        edge_vector=torch.randn(3 * total, 3, generator=chance),
    )


def outcome(config: ModelConfig, batch: Batch) -> tuple[Tensor, list[Tensor]]:
    """Predictions in training mode, and the gradients of the sum of their squares."""
    torch.manual_seed(0)
    model = build_model(config)
    model.fuses = False
    predicted = model.train()(batch)[: len(batch)]
    return predicted.detach(), list(torch.autograd.grad(predicted.square().sum(), list(model.parameters())))


def assert_equal_outcomes(one: tuple[Tensor, list[Tensor]], other: tuple[Tensor, list[Tensor]]) -> None:
    """To the rounding of sums in another order."""
    torch.testing.assert_close(one[0], other[0], rtol=1e-5, atol=1e-5)
    for a, b in zip(one[1], other[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * max(1.0, float(a.abs().max())))


@each_model
def test_padding_counts_for_nothing(config):
    batch = batch_of(1, [3, 1, 7, 40])
    assert_equal_outcomes(outcome(config, batch), outcome(config, padded(batch)))


@each_model
def test_the_sums_of_a_gpu_are_those_of_a_cpu(config, monkeypatch):
    batch = batch_of(2, [5, 2, 30])
    on_cpu = outcome(config, batch)
    monkeypatch.setattr(segments, "_takes_products", lambda _value: False)
    assert_equal_outcomes(on_cpu, outcome(config, batch_of(2, [5, 2, 30])))


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.integers(0, 9))
def test_a_padded_batch_has_one_crystal_more_and_sorted_edges(atoms, seed):
    batch = batch_of(seed, atoms)
    more = padded(batch)
    assert more.ptr.tolist() == [*batch.ptr.tolist(), len(more.z)]
    assert len(more.z) - len(batch.z) >= SPARE
    assert bool((more.edge_index[1].diff() >= 0).all())
    assert bool((more.batch[more.edge_index[0]] == more.batch[more.edge_index[1]]).all())
    assert float(more.multiplicity[len(batch.z) :].sum()) == 0
    kept = slice(0, len(batch.edge_distance))
    assert torch.equal(more.edge_index[:, kept], batch.edge_index)


def test_batches_of_a_data_set_have_few_sizes():
    """Twenty crystals of 100 to 118 atoms: few graphs, and little padding."""
    atoms = [20 * (100 + 2 * seed) for seed in range(10)]
    found = [len(padded(batch_of(seed, [count // 20] * 20)).z) for seed, count in enumerate(atoms)]
    assert len(set(found)) <= 4
    assert all(size <= (count + SPARE) * 9 / 8 for size, count in zip(found, atoms, strict=True))

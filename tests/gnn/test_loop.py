"""Steps of the training loop that only a full GPU would see otherwise."""

import logging

import pytest
import torch
from torch import nn

from gnn.batches import Graphs
from gnn.heads import Head
from gnn.loop import Data, Training
from gnn.recipe import Recipe
from gnn.steps import Step
from storage.errors import InputError


class Small(nn.Module):
    """A model with room for so many atoms: with more, it does what a full GPU does."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.weight = room, nn.Parameter(torch.ones(119))

    def forward(self, batch) -> torch.Tensor:
        if len(batch.z) > self.room:
            raise torch.OutOfMemoryError("no room")
        return torch.zeros(len(batch)).index_add(0, batch.batch, self.weight[batch.z])


def training(table, room: int) -> Training:
    graphs = Graphs.of(table)
    target = torch.tensor(table["energy_ev"].to_numpy())
    rows = torch.arange(len(table))
    edges = graphs.edge_counts()
    data = Data(graphs, target, Head.fit(target), rows, rows, torch.device("cpu"), edges)
    return Training(Small(room), data, Recipe(optimizer="sgd", ema=0.0))


def step(of: Training, rows: torch.Tensor) -> Step:
    return Step.of(of.data.graphs, of.data.device, rows, of.data.edges)


def test_a_batch_that_does_not_fit_is_taken_in_parts_with_the_same_gradient(table, caplog):
    caplog.set_level(logging.INFO)
    rows = torch.arange(40)
    roomy, tight = training(table, 10_000), training(table, 45)
    losses = [of._gradients(step(of, rows)) for of in (roomy, tight)]
    assert torch.allclose(*losses)
    assert torch.allclose(roomy.model.weight.grad, tight.model.weight.grad, atol=1e-6)
    assert "40 crystals" in caplog.text
    assert "taken in 4 parts" in caplog.text


def test_a_crystal_that_does_not_fit_alone_is_one_line(table):
    tight = training(table, 2)
    with pytest.raises(InputError, match="1 crystals, 18 edges, does not fit"):
        tight._gradients(step(tight, torch.tensor([5])))

"""What networks give for graphs: the same numbers, however the batches have to be cut."""

import pytest
import torch
from torch import nn

from gnn import outputs
from gnn.batches import Graphs
from gnn.outputs import outputs_of
from storage.errors import InputError

CPU = torch.device("cpu")


class Counting(nn.Module):
    """The sum of the atomic numbers and their count; with more than so many atoms, what a full GPU does."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.edges = room, list[int]()

    def forward(self, batch) -> torch.Tensor:
        if len(batch.z) > self.room:
            raise torch.OutOfMemoryError("no room")
        self.edges.append(len(batch.edge_distance))
        found = torch.stack([batch.z, torch.ones_like(batch.z)], dim=1).float()
        return torch.zeros(len(batch), 2).index_add(0, batch.batch, found)


@pytest.fixture
def graphs(table) -> Graphs:
    return Graphs.of(table)


def of(model: nn.Module, graphs: Graphs, rows: torch.Tensor, **more) -> torch.Tensor:
    return outputs_of([model], graphs, rows, 2, CPU, **more)[0]


@pytest.fixture
def rows(graphs) -> torch.Tensor:
    return torch.randperm(len(graphs), generator=torch.Generator().manual_seed(0))


def test_a_batch_that_does_not_fit_is_taken_in_halves(graphs, rows):
    roomy, tight = Counting(10_000), Counting(20)
    assert torch.equal(of(roomy, graphs, rows), of(tight, graphs, rows))
    assert len(roomy.edges) == 1
    assert len(tight.edges) > 20


def test_a_crystal_that_does_not_fit_alone_is_one_line(graphs, rows):
    with pytest.raises(InputError, match="a crystal with 18 edges does not fit the GPU's memory"):
        of(Counting(5), graphs, rows)


def test_large_cells_come_in_smaller_batches(graphs, rows, monkeypatch):
    whole = of(Counting(10_000), graphs, rows)
    monkeypatch.setattr(outputs, "EVALUATED_EDGES", 100)
    model = Counting(10_000)
    done = []
    assert torch.equal(of(model, graphs, rows, on_progress=done.append), whole)
    assert max(model.edges) <= 100
    assert done[-1] == len(graphs)
    assert done == sorted(done)

"""One training epoch against the textbook's own model, loader and loop: same edges, sizes, batches, threads.

`python benchmarks/epoch.py [--structures 320] [--atoms 60] [--rounds 5] [--threads 2]` prints the ratio of the two
times, taken in turns in one run after a first epoch of each that does not count, and how far the predictions of both
are apart with the same weights.
"""

import argparse
import time

import numpy as np
import pyarrow as pa
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import MessagePassing, global_mean_pool

from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.neighbors import find_neighbors
from crystals.table import list_column
from gnn.batches import Graphs
from gnn.config import ModelConfig
from gnn.models.cgcnn import CGCNN

BATCH = 32
CHAPTER = ModelConfig(normalization="output", properties=False, gaussian_stop=6.0)


class Gaussians(nn.Module):
    """As the textbook has it, but for the buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.filter = torch.linspace(0.0, 6.0, 31)

    def forward(self, distances: Tensor) -> Tensor:
        return torch.exp(-((distances - self.filter) ** 2) / (2 * 0.2**2))


class TextbookConv(MessagePassing):
    """z_ij concatenated for every edge, two linear maps, batch norm on the residual sum."""

    def __init__(self, features: int, edges: int) -> None:
        super().__init__(aggr="add")
        self.fc_filter = nn.Linear(2 * features + edges, features)
        self.fc_self = nn.Linear(2 * features + edges, features)
        self.bn = nn.BatchNorm1d(features)

    def forward(self, x: Tensor, edge_index: Tensor, edge_attr: Tensor) -> Tensor:
        return self.propagate(edge_index, x=x, edge_attr=edge_attr)

    def message(self, x_i: Tensor, x_j: Tensor, edge_attr: Tensor) -> Tensor:
        z = torch.cat([x_i, x_j, edge_attr], dim=1)
        return torch.sigmoid(self.fc_filter(z)) * F.softplus(self.fc_self(z))

    def update(self, aggr_out: Tensor, x: Tensor) -> Tensor:
        return self.bn(x + aggr_out)


class TextbookCGCNN(nn.Module):
    """The textbook's network with its default sizes, its 92 one-hot classes widened to all elements."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Linear(119, 64)
        self.gaussians = Gaussians()
        self.convs = nn.ModuleList(TextbookConv(64, 31) for _ in range(3))
        self.conv_to_fc = nn.Linear(64, 128)
        self.fc_out = nn.Linear(128, 1)

    def forward(self, data: Data) -> Tensor:
        atom = self.embedding(F.one_hot(data.x.long().squeeze(), num_classes=119).float())
        edge_attr = self.gaussians(data.edge_attr)
        for conv in self.convs:
            atom = conv(atom, data.edge_index, edge_attr)
        crystal = F.softplus(self.conv_to_fc(global_mean_pool(atom, data.batch)))
        return self.fc_out(crystal)


def graphs_of(structures: int, atoms: int) -> Graphs:
    """Random crystals of oxide-like density as the graph step stores them."""
    chance = np.random.default_rng(0)
    edges, numbers = [], []
    for _ in range(structures):
        edge = np.cbrt(11.0 * atoms)
        lattice = edge * (np.eye(3) + chance.normal(0, 0.05, (3, 3)))
        z = chance.integers(1, 90, atoms).astype(np.uint8)
        edges.append(find_neighbors(Crystal(lattice, z, chance.random((atoms, 3))), GraphConfig()))
        numbers.append(z)
    columns = {
        "atomic_numbers": list_column(numbers, pa.uint8()),
        "edge_source": list_column([e.source.astype(np.int32) for e in edges], pa.int32()),
        "edge_target": list_column([e.target.astype(np.int32) for e in edges], pa.int32()),
        "edge_distance": list_column([e.distance.astype(np.float32) for e in edges], pa.float32()),
    }
    return Graphs.of(pa.table(columns))


def data_list(graphs: Graphs, target: Tensor) -> list[Data]:
    """The same graphs as the textbook keeps them: one object each."""
    found = []
    for row in range(len(graphs)):
        one = graphs.batch(torch.tensor([row]), torch.device("cpu"))
        found.append(
            Data(
                x=one.z[:, None],
                edge_index=one.edge_index,
                edge_attr=one.edge_distance[:, None],
                y=target[row].reshape(1, 1),
            )
        )
    return found


def textbook_epoch(model: nn.Module, data: list[Data], optimizer: torch.optim.Optimizer) -> float:
    """Seconds of one epoch of the textbook's loop."""
    began = time.perf_counter()
    model.train()
    for batch in DataLoader(data, batch_size=BATCH, shuffle=True):
        optimizer.zero_grad()
        loss = F.mse_loss(model(batch), batch.y)
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def our_epoch(model: nn.Module, graphs: Graphs, target: Tensor, optimizer: torch.optim.Optimizer) -> float:
    """Seconds of one epoch of ours."""
    began = time.perf_counter()
    model.train()
    for batch in graphs.batches(torch.randperm(len(graphs)), BATCH, torch.device("cpu")):
        optimizer.zero_grad(set_to_none=True)
        loss = F.mse_loss(model(batch), target[batch.rows])
        loss.backward()
        optimizer.step()
    return time.perf_counter() - began


def same_weights(ours: CGCNN, theirs: TextbookCGCNN) -> None:
    """Copy our weights into the textbook's network."""
    with torch.no_grad():
        theirs.embedding.weight.copy_(ours.atoms.scale * ours.atoms.embedding.weight.T)
        theirs.embedding.bias.zero_()
        for our, their in zip(ours.convolutions, theirs.convs, strict=True):
            gate, core = our.edges.linear.weight.chunk(2)
            their.fc_filter.weight.copy_(gate)
            their.fc_self.weight.copy_(core)
            their.fc_filter.bias.copy_(our.edges.linear.bias[:64])
            their.fc_self.bias.copy_(our.edges.linear.bias[64:])
        theirs.conv_to_fc.load_state_dict(ours.hidden[0].state_dict())
        theirs.fc_out.load_state_dict(ours.out.state_dict())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=int, default=320)
    parser.add_argument("--atoms", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    graphs = graphs_of(options.structures, options.atoms)
    target = torch.randn(len(graphs))
    data = data_list(graphs, target)
    ours, theirs = CGCNN(CHAPTER), TextbookCGCNN()
    same_weights(ours, theirs)
    with torch.no_grad():
        batch = next(iter(DataLoader(data, batch_size=BATCH)))
        apart = (ours.eval()(graphs.batch(torch.arange(BATCH), torch.device("cpu"))) - theirs.eval()(batch)[:, 0]).abs()
    print(f"largest difference of predictions with the same weights: {float(apart.max()):.1e}")
    our_rule = torch.optim.Adam(ours.parameters(), lr=1e-3, fused=True)
    their_rule = torch.optim.Adam(theirs.parameters(), lr=1e-3)
    textbook_epoch(theirs, data, their_rule)
    our_epoch(ours, graphs, target, our_rule)  # compiles, where nothing has before
    times: list[tuple[float, float]] = []
    for _ in range(options.rounds):
        torch.set_flush_denormal(False)
        textbook = textbook_epoch(theirs, data, their_rule)
        torch.set_flush_denormal(True)
        times.append((textbook, our_epoch(ours, graphs, target, our_rule)))
        print(
            f"textbook {times[-1][0]:.2f} s, ours {times[-1][1]:.2f} s, ratio {times[-1][0] / times[-1][1]:.1f}",
            flush=True,
        )
    best = min(t for t, _ in times) / min(o for _, o in times)
    print(f"ratio of the best of {options.rounds} epochs, {options.threads} threads: {best:.1f}")


if __name__ == "__main__":
    main()

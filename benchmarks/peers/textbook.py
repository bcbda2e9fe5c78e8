"""CGCNN as the textbook's chapter writes it: its model, its loader and its loop."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import MessagePassing, global_mean_pool

from gnn.batches import Graphs
from gnn.config import ModelConfig
from gnn.models.cgcnn import CGCNN

SAME = ModelConfig(normalization="output", properties=False, gaussian_stop=6.0)  # the network of ours that it is


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
        """(B, 1) of a batch of PyG."""
        atom = self.embedding(F.one_hot(data.x.long().squeeze(1), num_classes=119).float())
        edge_attr = self.gaussians(data.edge_attr)
        for conv in self.convs:
            atom = conv(atom, data.edge_index, edge_attr)
        crystal = F.softplus(self.conv_to_fc(global_mean_pool(atom, data.batch)))
        return self.fc_out(crystal)


def data_list(graphs: Graphs, target: Tensor) -> list[Data]:
    """Graphs as PyG's examples keep them, an object each: x (N, 1), edge_index, edge_attr (E, 1) Å, y (1, 1)."""
    found = []
    for row in range(len(graphs)):
        one = graphs.batch(torch.tensor([row]), torch.device("cpu"))
        x, distance = one.z[:, None], one.edge_distance[:, None]
        found.append(Data(x=x, edge_index=one.edge_index, edge_attr=distance, y=target[row].float().reshape(1, 1)))
    return found


def epoch(model: nn.Module, data: list[Data], optimizer: torch.optim.Optimizer, batch_size: int) -> None:
    """One epoch of the textbook's loop, which is that of PyG's examples."""
    model.train()
    for batch in DataLoader(data, batch_size=batch_size, shuffle=True):
        optimizer.zero_grad()
        loss = F.mse_loss(model(batch), batch.y)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def predictions(model: nn.Module, data: list[Data], batch_size: int) -> Tensor:
    """(M,) in evaluation mode."""
    model.eval()
    return torch.cat([model(batch)[:, 0] for batch in DataLoader(data, batch_size=batch_size)])


@torch.no_grad()
def copy_weights(ours: CGCNN, theirs: TextbookCGCNN) -> None:
    """Copy our weights into the textbook's network."""
    theirs.embedding.weight.copy_(ours.atoms.scale * ours.atoms.embedding.weight.T)
    theirs.embedding.bias.zero_()
    for our, their in zip(ours.convolutions, theirs.convs, strict=True):
        linear = our.edges.linear
        parts = zip(linear.weight.chunk(2), linear.bias.chunk(2), strict=True)
        for half, (weight, bias) in zip((their.fc_filter, their.fc_self), parts, strict=True):
            half.weight.copy_(weight)
            half.bias.copy_(bias)
        their.bn.load_state_dict(our.norm.state_dict())
    theirs.conv_to_fc.load_state_dict(ours.hidden[0].state_dict())
    theirs.fc_out.load_state_dict(ours.out.state_dict())

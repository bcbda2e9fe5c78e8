"""What every model must hold: shapes, one atom, batch = single, order of atoms, save = load."""

import pytest
import torch
from torch import nn

from gnn.batches import Graphs
from gnn.checkpoint import load_model, save_model
from gnn.config import MODELS, ModelConfig
from gnn.model_card import ModelCard
from gnn.models.cgcnn import CGCNN
from gnn.models.registry import ExternalModel, build_model
from gnn.steps import Step
from storage.errors import InputError

CPU = torch.device("cpu")
SMALL = {"atom_fea_len": 8, "h_fea_len": 8, "n_conv": 2}


@pytest.fixture(params=MODELS)
def config(request) -> ModelConfig:
    return ModelConfig(name=request.param, **SMALL)


@pytest.fixture
def model(config):
    torch.manual_seed(0)
    return build_model(config).eval()


@pytest.fixture(scope="module")
def graphs(table) -> Graphs:
    return Graphs.of(table)


@torch.no_grad()
def test_a_batch_gives_what_its_crystals_give_alone(model, graphs):
    rows = torch.tensor([5, 0, 17, 3])
    together = model(graphs.batch(rows, CPU))
    alone = torch.cat([model(graphs.batch(row[None], CPU)) for row in rows])
    assert together.shape == (4,)
    torch.testing.assert_close(together, alone)


@torch.no_grad()
def test_a_crystal_of_one_atom(model, graphs):
    batch = graphs.batch(torch.tensor([0]), CPU)
    assert len(batch.z) == 1
    assert torch.isfinite(model(batch)).all()


@torch.no_grad()
def test_order_of_atoms_does_not_matter(model, graphs):
    batch = graphs.batch(torch.tensor([5]), CPU)
    order = torch.randperm(len(batch.z))
    place = torch.argsort(order)
    source, target = place[batch.edge_index]
    by_target = torch.argsort(target, stable=True)
    other = graphs.batch(torch.tensor([5]), CPU)
    other.z, other.edge_distance = batch.z[order], batch.edge_distance[by_target]
    other.edge_index = torch.stack([source[by_target], target[by_target]])
    torch.testing.assert_close(model(other), model(batch))


def card_of(config: ModelConfig) -> ModelCard:
    return ModelCard(
        model=config,
        graph_config={},
        target="t",
        unit="eV",
        task="regression",
        threshold=0.0,
        mean=1.0,
        deviation=2.0,
        elements=[1],
    )


def test_saved_is_loaded(config, model, graphs, tmp_path):
    card = card_of(config)
    save_model(model.state_dict(), card, tmp_path)
    again, read = load_model(tmp_path, CPU)
    batch = graphs.batch(torch.arange(4), CPU)
    assert read == card
    assert torch.equal(again(batch), model(batch))


def test_the_textbooks_model_has_the_parameters_that_its_sizes_give():
    """76,225 by hand, 5,952 of them for its 92 one-hot elements and a bias; ours embeds 118 elements and nobody."""
    model = CGCNN(ModelConfig(normalization="output", properties=False, gaussian_stop=6.0))
    count = sum(p.numel() for p in model.parameters())
    assert count - 119 * 64 + 5_952 == 76_225


def test_without_a_gate_there_are_no_gates(graphs):
    batch = graphs.batch(torch.arange(4), CPU)
    gated, bare = (CGCNN(ModelConfig(gate=gate, **SMALL)) for gate in (True, False))
    assert [len(gate) for gate in gated.gates(batch)] == [len(batch.edge_distance)] * 2
    assert bare.gates(batch) == []
    assert sum(p.numel() for p in bare.parameters()) < sum(p.numel() for p in gated.parameters())


@pytest.mark.parametrize("switch", ["embedding", "properties"])
def test_each_half_of_an_atom_can_be_switched_off(switch, graphs):
    model = build_model(ModelConfig(**SMALL, **{switch: False}))
    assert torch.isfinite(model(graphs.batch(torch.arange(4), CPU))).all()


def test_a_model_of_pytorch_geometrics_kind_can_be_named(graphs):
    model = build_model(ModelConfig(name="torch.nn:Identity"), trust_code=True)
    assert model.model is not None
    with pytest.raises(InputError, match=r"model\.name torch_geometric\.nn:Nothing"):
        build_model(ModelConfig(name="torch_geometric.nn:Nothing"), trust_code=True)
    batch = graphs.batch(torch.arange(4), CPU)
    assert batch.edge_index.shape == (2, len(batch.edge_distance))


def test_batches_have_the_fields_of_a_pyg_data(table, graphs):
    from torch_geometric.data import Batch as PyGBatch
    from torch_geometric.data import Data

    rows = [4, 11, 2]
    ours = graphs.batch(torch.tensor(rows), CPU)
    theirs = PyGBatch.from_data_list(
        [
            Data(
                z=torch.tensor(row["atomic_numbers"]),
                edge_index=torch.tensor([row["edge_source"], row["edge_target"]]),
                num_nodes=len(row["atomic_numbers"]),
            )
            for row in table.take(rows).to_pylist()
        ]
    )
    assert torch.equal(ours.z, theirs.z)
    assert torch.equal(ours.edge_index, theirs.edge_index)
    assert torch.equal(ours.batch, theirs.batch)
    assert torch.equal(ours.ptr, theirs.ptr)


class Plain(nn.Module):
    """Of PyTorch Geometric's kind: the number of atoms."""

    def forward(self, _z, _edge_index, _edge_attr, batch) -> torch.Tensor:
        return torch.bincount(batch).float()


def test_an_external_model_weighs_no_atoms_and_takes_a_batch_that_counts_for_nothing(table):
    """The latter is that of a rank that has no rows of a small batch."""
    model = ExternalModel(ModelConfig(), Plain())
    graphs, rows = Graphs.of(table), torch.tensor([3])
    nothing = Step(graphs, CPU, rows, edges=12, whole=1, weight=0.0)
    assert model(nothing.batch()).tolist() == [4.0]
    reduced = graphs.batch(rows, CPU)
    reduced.multiplicity[0] = 2
    with pytest.raises(InputError, match="an external model does not weigh atoms"):
        model(reduced)


def test_a_model_whose_gaussians_lie_elsewhere_is_refused(tmp_path):
    """Those of a version in which a CPU and a GPU took other ones where the step does not divide the range."""
    config = ModelConfig(gaussian_step=0.3, **SMALL)
    model = build_model(config)
    save_model(model.state_dict(), card_of(config), tmp_path)
    load_model(tmp_path, CPU)
    model.basis.centres = torch.linspace(0, 8, 28)
    save_model(model.state_dict(), card_of(config), tmp_path)
    with pytest.raises(InputError, match=r"gaussian_step 0\.3 does not divide gaussian_stop 8; train it again"):
        load_model(tmp_path, CPU)

"""One crystal, three ways to write it down, one prediction."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.graphs import graphs_of
from gnn.batches import Graphs
from gnn.config import MODELS, ModelConfig
from gnn.models.registry import build_model
from storage import schemas

NETWORKS = {name: ModelConfig(name=name) for name in MODELS}
NETWORKS |= {"angles": ModelConfig(name="cogn", max_l=3), "largest": ModelConfig(pooling="max")}
KINDS = [GraphConfig(vectors=True), GraphConfig(cutoff=None, max_neighbors=24, vectors=True)]


def graph_table(cells: list[Crystal], config: GraphConfig) -> pa.Table:
    """Their graphs as the graph step writes them."""
    rejected: list[tuple[str, str, str]] = []
    structures = pa.RecordBatch.from_pylist(
        [
            {
                "material_id": str(n),
                "formula": "",
                "lattice": cell.lattice.ravel().tolist(),
                "atomic_numbers": cell.atomic_numbers.tolist(),
                "frac_coords": cell.frac_coords.ravel().tolist(),
                "target": 0.0,
                "spacegroup_number": 1,
            }
            for n, cell in enumerate(cells)
        ],
        schema=schemas.structures(["target"], []),
    )
    return graphs_of(structures, config, schemas.graphs("target", [], vectors=config.vectors), rejected)


def crystal_of(atoms: Atoms) -> Crystal:
    return Crystal(atoms.cell.array, atoms.numbers.astype(np.uint8), atoms.get_scaled_positions())


def strontium_titanate(config: GraphConfig) -> Graphs:
    """Its primitive cell, a 2×2×1 supercell, and that with displacements of 10⁻⁴ Å."""
    sites = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0)]
    primitive = crystal(("Sr", "Ti", "O"), sites, spacegroup=221, cellpar=[3.905, 3.905, 3.905, 90, 90, 90])
    larger = primitive.repeat((2, 2, 1))
    rattled = larger.copy()
    rattled.rattle(1e-4, seed=0)
    return Graphs.of(graph_table([crystal_of(atoms) for atoms in (primitive, larger, rattled)], config))


@torch.no_grad()
def outputs(name: str, graphs: Graphs) -> torch.Tensor:
    torch.manual_seed(0)
    model = build_model(NETWORKS[name]).eval()
    return model(graphs.batch(torch.arange(len(graphs)), torch.device("cpu")))


def predicted(name: str, config: GraphConfig) -> torch.Tensor:
    return outputs(name, strontium_titanate(config))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("config", KINDS)
def test_cell_and_rattle_change_no_prediction(name, config):
    three = predicted(name, config)
    assert float((three - three[0]).abs().max()) < 1e-3 * max(1.0, float(three[0].abs()))


def test_a_shell_that_is_cut_does():
    """What the textbook and the authors' code do: which of equal neighbours are kept depends on the cell."""
    three = predicted("cgcnn", GraphConfig(shell_tolerance=None))
    assert float((three - three[0]).abs().max()) > 0.05


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("config", KINDS)
def test_one_atom_an_orbit_gives_the_prediction_of_the_whole_graph(name, config):
    whole = predicted(name, config.model_copy(update={"reduce_symmetry": False}))
    assert torch.allclose(predicted(name, config), whole, rtol=1e-5, atol=1e-5)


def quartz() -> Crystal:
    """Two orbits, of 3 and of 6 atoms, whose angles are not those of a cube."""
    sites = [(0.4697, 0, 1 / 3), (0.4135, 0.2669, 0.1191)]
    return crystal_of(crystal(("Si", "O"), sites, spacegroup=152, cellpar=[4.916, 4.916, 5.405, 90, 90, 120]))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("reduce_symmetry", [True, False])
def test_neither_a_rotation_nor_a_supercell_nor_the_order_of_atoms_changes_a_prediction(name, reduce_symmetry):
    one, chance = quartz(), np.random.default_rng(0)
    turned = Crystal(one.lattice @ np.linalg.qr(chance.normal(size=(3, 3)))[0], one.atomic_numbers, one.frac_coords)
    order = chance.permutation(len(one))
    shuffled = Crystal(one.lattice, one.atomic_numbers[order], one.frac_coords[order])
    sites = np.concatenate([(one.frac_coords + np.array([0, 0, n])) / [1, 1, 2] for n in range(2)])
    doubled = Crystal(one.lattice * [[1], [1], [2]], np.tile(one.atomic_numbers, 2), sites)
    config = GraphConfig(cutoff=None, vectors=True, reduce_symmetry=reduce_symmetry)
    table = graph_table([one, turned, shuffled, doubled], config)
    assert [len(atoms) for atoms in table["atomic_numbers"]] == ([2] * 4 if reduce_symmetry else [9, 9, 9, 18])
    four = outputs(name, Graphs.of(table))
    assert torch.allclose(four, four[0], rtol=1e-4, atol=1e-5)


def test_vectors_are_as_long_as_distances_and_point_at_the_neighbour():
    one = quartz()
    row = graph_table([one], GraphConfig(vectors=True, reduce_symmetry=False)).to_pylist()[0]
    vector = np.reshape(row["edge_vector"], (-1, 3))
    np.testing.assert_allclose(np.linalg.norm(vector, axis=1), row["edge_distance"], atol=1e-5)
    between = one.frac_coords[row["edge_source"]] - one.frac_coords[row["edge_target"]]
    steps = vector @ np.linalg.inv(one.lattice) - between
    np.testing.assert_allclose(steps, steps.round(), atol=1e-5)


DIFFERENT = {
    "NaCl": {"crystalstructure": "rocksalt", "a": 5.64},
    "ZnS": {"crystalstructure": "zincblende", "a": 5.41},
    "CsCl": {"crystalstructure": "cesiumchloride", "a": 4.12},
    "CaF2": {"crystalstructure": "fluorite", "a": 5.46},
}


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_one_atom_an_orbit_trains_as_the_whole_graph(pooling):
    """Batch statistics count an orbit as often as it has atoms: same outputs, same gradients."""
    cells = [crystal_of(bulk(name, cubic=True, **kwargs)) for name, kwargs in DIFFERENT.items()]
    outcomes = []
    for reduce_symmetry in (True, False):
        graphs = Graphs.of(graph_table(cells, GraphConfig(reduce_symmetry=reduce_symmetry)))
        torch.manual_seed(0)
        model = build_model(ModelConfig(pooling=pooling)).train()
        output = model(graphs.batch(torch.arange(len(cells)), torch.device("cpu")))
        output.square().sum().backward()
        outcomes.append([output.detach(), *(p.grad for p in model.parameters())])
    assert sum(len(t.flatten()) for t in outcomes[0]) > 1000
    for one, other in zip(*outcomes, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)

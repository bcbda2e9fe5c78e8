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
    return graphs_of(structures, config, schemas.graphs("target", []), rejected)


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
def predicted(name: str, config: GraphConfig) -> torch.Tensor:
    torch.manual_seed(0)
    model = build_model(ModelConfig(name=name)).eval()
    return model(strontium_titanate(config).batch(torch.arange(3), torch.device("cpu")))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("config", [GraphConfig(), GraphConfig(cutoff=None, max_neighbors=24)])
def test_cell_and_rattle_change_no_prediction(name, config):
    three = predicted(name, config)
    assert float((three - three[0]).abs().max()) < 1e-3


def test_a_shell_that_is_cut_does():
    """What the textbook and the authors' code do: which of equal neighbours are kept depends on the cell."""
    three = predicted("cgcnn", GraphConfig(shell_tolerance=None))
    assert float((three - three[0]).abs().max()) > 0.05


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("config", [GraphConfig(), GraphConfig(cutoff=None, max_neighbors=24)])
def test_one_atom_an_orbit_gives_the_prediction_of_the_whole_graph(name, config):
    whole = predicted(name, config.model_copy(update={"reduce_symmetry": False}))
    assert torch.allclose(predicted(name, config), whole, rtol=1e-5, atol=1e-5)


DIFFERENT = {
    "NaCl": {"crystalstructure": "rocksalt", "a": 5.64},
    "ZnS": {"crystalstructure": "zincblende", "a": 5.41},
    "CsCl": {"crystalstructure": "cesiumchloride", "a": 4.12},
    "CaF2": {"crystalstructure": "fluorite", "a": 5.46},
}


def test_one_atom_an_orbit_trains_as_the_whole_graph():
    """Batch statistics count an orbit as often as it has atoms: same outputs, same gradients."""
    cells = [crystal_of(bulk(name, cubic=True, **kwargs)) for name, kwargs in DIFFERENT.items()]
    outcomes = []
    for reduce_symmetry in (True, False):
        graphs = Graphs.of(graph_table(cells, GraphConfig(reduce_symmetry=reduce_symmetry)))
        torch.manual_seed(0)
        model = build_model(ModelConfig()).train()
        output = model(graphs.batch(torch.arange(len(cells)), torch.device("cpu")))
        output.square().sum().backward()
        outcomes.append([output.detach(), *(p.grad for p in model.parameters())])
    assert sum(len(t.flatten()) for t in outcomes[0]) > 1000
    for one, other in zip(*outcomes, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)

"""One crystal, three ways to write it down, one prediction."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from ase.spacegroup import crystal

from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.neighbors import find_neighbors
from crystals.table import list_column
from gnn.batches import Graphs
from gnn.config import MODELS, ModelConfig
from gnn.models.registry import build_model


def strontium_titanate(config: GraphConfig) -> Graphs:
    """Its primitive cell, a 2×2×1 supercell, and that with displacements of 10⁻⁴ Å."""
    sites = [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0)]
    primitive = crystal(("Sr", "Ti", "O"), sites, spacegroup=221, cellpar=[3.905, 3.905, 3.905, 90, 90, 90])
    larger = primitive.repeat((2, 2, 1))
    rattled = larger.copy()
    rattled.rattle(1e-4, seed=0)
    cells = [
        Crystal(atoms.cell.array, atoms.numbers.astype(np.uint8), atoms.get_scaled_positions())
        for atoms in (primitive, larger, rattled)
    ]
    edges = [find_neighbors(cell, config) for cell in cells]
    columns = {
        "atomic_numbers": list_column([cell.atomic_numbers for cell in cells], pa.uint8()),
        "edge_source": list_column([e.source.astype(np.int32) for e in edges], pa.int32()),
        "edge_target": list_column([e.target.astype(np.int32) for e in edges], pa.int32()),
        "edge_distance": list_column([e.distance.astype(np.float32) for e in edges], pa.float32()),
    }
    return Graphs(pa.table(columns))


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

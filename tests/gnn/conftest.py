"""Small graphs to train on, as the graph step writes them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gnn import train
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from storage import schemas

TARGET = "energy_ev"
MODEL = {"atom_fea_len": 8, "h_fea_len": 8, "n_conv": 1}
SPLIT = {"validation": 0.2, "test": 0.2}


def _graph(chance: np.random.Generator, atoms: int) -> dict:
    """A ring of atoms, each with both of its neighbours and a longer edge to itself."""
    index = np.arange(atoms)
    target = np.repeat(index, 3)
    source = np.stack([(index + 1) % atoms, (index - 1) % atoms, index], axis=1).ravel()
    distance = chance.uniform(2.0, 4.0, len(source)).astype(np.float32)
    numbers = chance.choice([3, 8, 11, 17, 92, 118], atoms)
    return {
        "atomic_numbers": numbers.tolist(),
        "multiplicity": [1] * atoms,
        "edge_source": source.tolist(),
        "edge_target": target.tolist(),
        "edge_distance": distance.tolist(),
        "edge_image": [0] * (3 * len(source)),
        "cell_volume_per_atom": 15.0 + atoms,
        TARGET: float(numbers.mean() / 50 + distance.mean()),
    }


@pytest.fixture(scope="session")
def table() -> pa.Table:
    """120 graphs of one to six atoms."""
    chance = np.random.default_rng(0)
    rows = [
        {
            "material_id": f"m-{n:03}",
            "formula": f"Na{n % 7 + 1}Cl",
            "spacegroup_number": 225,
            **_graph(chance, n % 6 + 1),
        }
        for n in range(120)
    ]
    return pa.Table.from_pylist(rows, schema=schemas.graphs(TARGET, []))


@pytest.fixture(scope="session")
def shards(table, tmp_path_factory):
    """The same in two shards."""
    folder = tmp_path_factory.mktemp("shards")
    paths = [folder / "0.parquet", folder / "1.parquet"]
    for path, part in zip(paths, (table.slice(0, 70), table.slice(70)), strict=True):
        pq.write_table(part, path)
    return paths


@pytest.fixture
def spec(shards, tmp_path):
    """Makes the spec of a short training, its settings changed."""

    def make(name: str = "run", model: dict | None = None, split: dict | None = None, **settings) -> train.TrainSpec:
        folders = {kind: tmp_path / name / kind for kind in ("output", "scratch")}
        for folder in folders.values():
            folder.mkdir(parents=True)
        return train.TrainSpec(
            **folders,
            graphs=shards,
            graph_config={"cutoff": 8.0},
            target="energy_ev",
            unit="eV",
            model=ModelConfig(**(MODEL | (model or {}))),
            train=TrainConfig(**({"epochs": 3} | settings)),
            split=SplitConfig(**(SPLIT | (split or {}))),
            device="cpu",
        )

    return make

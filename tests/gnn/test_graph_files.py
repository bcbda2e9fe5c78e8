"""Graphs in flat files: the same batches as from memory, and memory of one batch while they stream."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from crystals.table import list_column
from gnn import train
from gnn.batches import Graphs
from gnn.config import Placement
from gnn.graph_files import decode, open_graphs
from storage import schemas

CPU = torch.device("cpu")


def same(one, other) -> bool:
    names = ["z", "multiplicity", "edge_index", "edge_distance", "batch", "ptr"]
    names += [] if one.edge_vector is None and other.edge_vector is None else ["edge_vector"]
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in names)


@pytest.mark.parametrize("streaming", [True, False])
def test_files_give_the_batches_that_the_table_gives(shards, table, tmp_path, streaming):
    decode(shards, "energy_ev", tmp_path / "arrays")
    graphs, target = open_graphs(tmp_path / "arrays", streaming=streaming)
    rows = torch.randperm(len(table), generator=torch.Generator().manual_seed(0))[:50]
    assert same(graphs.batch(rows, CPU), Graphs.of(table).batch(rows, CPU))
    assert target.tolist() == table["energy_ev"].to_pylist()
    assert torch.equal(graphs.take(rows).volume_per_atom, Graphs.of(table).volume_per_atom[rows])


@pytest.fixture
def with_vectors(shards, table, tmp_path):
    """The same graphs with a random vector an edge: two shards, and the table of both."""
    chance = np.random.default_rng(0)
    vectors = [chance.normal(size=3 * len(row)).astype(np.float32) for row in table["edge_source"]]
    schema = schemas.graphs("energy_ev", [], vectors=True)
    columns = {**{name: table[name] for name in table.column_names}, "edge_vector": list_column(vectors, pa.float32())}
    whole = pa.table([columns[name] for name in schema.names], schema=schema)
    paths = [tmp_path / shard.name for shard in shards]
    for path, part in zip(paths, (whole.slice(0, 70), whole.slice(70)), strict=True):
        pq.write_table(part, path)
    return paths, whole


@pytest.mark.parametrize("streaming", [True, False])
def test_files_give_the_vectors_that_the_table_gives(with_vectors, tmp_path, streaming):
    paths, whole = with_vectors
    decode(paths, "energy_ev", tmp_path / "arrays")
    graphs, _ = open_graphs(tmp_path / "arrays", streaming=streaming)
    rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))[:50]
    batch = graphs.batch(rows, CPU)
    assert batch.edge_vector.shape == (len(batch.edge_distance), 3)
    assert same(batch, Graphs.of(whole).batch(rows, CPU))


def test_what_a_kill_left_half_written_is_written_anew(shards, table, tmp_path):
    folder = tmp_path / "arrays"
    folder.mkdir()
    (folder / "distance").write_bytes(b"\1" * 100)
    decode(shards, "energy_ev", folder)
    graphs, _ = open_graphs(folder, streaming=False)
    everything = torch.arange(len(table))
    assert same(graphs.batch(everything, CPU), Graphs.of(table).batch(everything, CPU))


def test_streaming_ends_with_the_bytes_of_resident(spec):
    kinds = ("resident", "streaming")
    runs = [spec(data, epochs=5).model_copy(update={"placement": Placement(data=data)}) for data in kinds]
    facts = [train.build(run) for run in runs]
    assert [f["data"] for f in facts] == ["resident", "streaming"]
    for name in ("model.safetensors", "history.parquet", "predictions.parquet", "gates.parquet", "model.json"):
        assert (runs[0].output / name).read_bytes() == (runs[1].output / name).read_bytes(), name


READS_ALL = """
import sys
from pathlib import Path
import torch
from gnn.cost import peak_memory
from gnn.graph_files import open_graphs
CPU = torch.device("cpu")
graphs, target = open_graphs(Path(sys.argv[1]), streaming=sys.argv[2] == "streaming")
graphs.batch(torch.arange(8), CPU)  # what torch takes once
before = peak_memory(CPU)
for rows in torch.randperm(len(graphs)).split(8):
    graphs.batch(rows, CPU)
print(peak_memory(CPU) - before)
"""


def test_streaming_gives_the_memory_of_each_batch_back(tmp_path):
    """50 MB of edges pass through a process that grows by a fraction of it; resident, it keeps them."""
    shard = tmp_path / "large.parquet"
    edges = 7000 * 600
    offsets = pa.array(np.arange(0, edges + 1, 7000, dtype=np.int32))
    zeros = np.zeros(edges, np.int32)
    columns = {
        "atomic_numbers": pa.array([[8]] * 600, pa.list_(pa.uint8())),
        "multiplicity": pa.array([[1]] * 600, pa.list_(pa.uint16())),
        "edge_source": pa.ListArray.from_arrays(offsets, pa.array(zeros)),
        "edge_target": pa.ListArray.from_arrays(offsets, pa.array(zeros)),
        "edge_distance": pa.ListArray.from_arrays(offsets, pa.array(np.ones(edges, np.float32))),
        "cell_volume_per_atom": pa.array([10.0] * 600),
        "energy_ev": pa.array([0.0] * 600),
    }
    pq.write_table(pa.table(columns), shard)
    decode([shard], "energy_ev", tmp_path / "arrays")
    grown = {}
    for data in ("resident", "streaming"):
        command = [sys.executable, "-c", READS_ALL, str(tmp_path / "arrays"), data]
        grown[data] = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout) / 2**20
    assert grown["resident"] > 40  # MiB
    assert grown["streaming"] < 25

"""A CUDA GPU: that it gives what a CPU gives, that a killed training ends with the same bytes, and how fast it is.

    python benchmarks/gpu.py [--structures 28000] [--epochs 3] [--device cuda]
    python benchmarks/gpu.py --device cpu        # every line of it with tiny sizes: no figure of it means anything

First come two checks, which end it with exit status 1 if they fail: predictions of `cgcnn` and `cogn`, trained on the
device, on it and on the CPU, within 1e-4; and the training program, killed (-9) and resumed, against an undisturbed
run, byte by byte. Then it measures epochs of `gnn.loop.Training` on synthetic graphs of about 30 atoms with 12
neighbours (random ones: speed does not ask where they are), three layers of 64 features, batches of 256: graphs
resident on the device, with and without CUDA graphs, or streamed from the disk, matrix products in float32 and in TF32.

Bytes and FLOPs are counted from the shapes of one batch's operations: each reads its inputs and writes its outputs
once. That over the bandwidth of a large copy in the same run is the floor of these operations; kernels that join some
of them would have a lower one. Without a CUDA device it ends with one line and exit status 2.
"""

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from counting import Counts, count
from program import RESULT, How, train
from samples import COGN, COGN_GRAPHS, RANDOM_TARGET, markdown, random_crystals, write_shards

from crystals.config import GraphConfig
from gnn.batches import Graphs
from gnn.config import ModelConfig, Placement
from gnn.cost import Cost, peak_memory
from gnn.device import select_device
from gnn.graph_files import decode, open_graphs
from gnn.heads import Head
from gnn.loop import Data, Training
from gnn.models.registry import build_model
from gnn.outputs import predict
from gnn.recipe import Recipe
from storage import schemas
from storage.errors import InputError

CPU = torch.device("cpu")
TOLERANCE = 1e-4
ATOMS, NEIGHBORS, BATCH = 30, 12, 256
MODELS = {"cgcnn": (ModelConfig(), GraphConfig()), "cogn": (COGN, COGN_GRAPHS)}
HEAD = ("graphs", "matrix products", "s an epoch", "structures/s", "peak memory (MiB)", "share of the floor")


def synthetic(structures: int) -> pa.Table:
    """A graphs table of random graphs: 15 to 45 atoms, each with 12 random neighbours at 2 to 6 Å."""
    chance = np.random.default_rng(0)
    atoms = chance.integers(ATOMS // 2, ATOMS * 3 // 2 + 1, structures)
    owner = np.repeat(np.arange(structures), atoms)
    first = np.cumsum(atoms) - atoms
    edges, size = len(owner) * NEIGHBORS, np.repeat(atoms[owner], NEIGHBORS)
    values = {
        "atomic_numbers": (chance.integers(1, 90, len(owner)), 1),
        "multiplicity": (np.ones(len(owner)), 1),
        "edge_source": (np.floor(chance.random(edges) * size), NEIGHBORS),
        "edge_target": (np.repeat(np.arange(len(owner)) - first[owner], NEIGHBORS), NEIGHBORS),
        "edge_distance": (np.sort(chance.uniform(2.0, 6.0, (len(owner), NEIGHBORS))).ravel(), NEIGHBORS),
        "edge_image": (np.zeros(3 * edges), 3 * NEIGHBORS),
    }
    schema = schemas.graphs(RANDOM_TARGET, [])
    before = np.append(0, np.cumsum(atoms))
    columns = {
        name: pa.ListArray.from_arrays(
            pa.array(before * per_atom, pa.int32()), pa.array(value, schema.field(name).type.value_type, safe=False)
        )
        for name, (value, per_atom) in values.items()
    }
    columns |= {
        schemas.MATERIAL_ID: pa.array([f"synthetic-{number:06}" for number in range(structures)]),
        "formula": pa.array(["X"] * structures),
        schemas.CELL_VOLUME_PER_ATOM: pa.array(np.full(structures, 11.0)),
        RANDOM_TARGET: pa.array(chance.normal(size=structures)),
        "spacegroup_number": pa.nulls(structures, pa.int16()),
    }
    return pa.table([columns[name] for name in schema.names], schema=schema)


def data_of(graphs: Graphs, target: torch.Tensor, device: torch.device) -> Data:
    """All of them as training rows."""
    edges, rows = graphs.edge_counts(), torch.arange(len(graphs))
    resident = graphs if graphs.reads_ahead or device == CPU else graphs.to(device)
    return Data(resident, target, Head.fit(target), rows, rows[:0], device, edges)


def training_of(model: ModelConfig, data: Data, epochs: int) -> Training:
    """A training that takes the operations of a GPU on a CPU, too."""
    network = build_model(model).to(data.device)
    network.fuses = False
    return Training(network, data, Recipe(batch_size=BATCH, epochs=epochs))


def check_predictions(device: torch.device, structures: int) -> None:
    """Train a little on the device; what it predicts there and on the CPU has to be the same."""
    sample = random_crystals(structures, ATOMS)
    for name, (config, graph_config) in MODELS.items():
        table = sample.graphs(graph_config)
        graphs, target = Graphs.of(table), torch.tensor(table[sample.target].to_numpy())
        training = training_of(config, data_of(graphs, target, device), 2)
        for epoch in range(2):
            training.epoch(epoch, Cost(device))
        rows, plain = torch.arange(len(graphs)), Head(0.0, 1.0)
        there = predict(training.model, training.data.graphs, rows, plain, device)
        network = build_model(config)
        network.load_state_dict(copy.deepcopy(training.model.state_dict()))
        here = predict(network, graphs, rows, plain, CPU)
        apart = float(((there - here).abs() / here.abs().clamp(min=1)).max())
        print(f"{name}: predictions on {device} and on the CPU differ by {apart:.1e}", flush=True)
        if not apart <= TOLERANCE:
            sys.exit(f"{name}: that is more than {TOLERANCE:g}")


def check_resumption(device: torch.device, shards: list[Path]) -> None:
    """A killed training ends with the bytes of an undisturbed one."""
    config = Recipe(batch_size=BATCH, epochs=6)
    whole, resumed = (
        train(shards, RANDOM_TARGET, ModelConfig(), config, How(Placement(processes=1), device.type, kill_after=kill))
        for kill in (None, 2)
    )
    begun = resumed.facts["resumed_from"]
    how = f"killed, and resumed after epoch {begun} of {config.epochs}"
    differ = [name for name in RESULT if whole.files[name] != resumed.files[name]]
    if differ or not 2 <= begun < config.epochs:
        sys.exit(f"{how}: other bytes in {', '.join(differ) or 'no file'}")
    print(f"{how}: the same bytes in {', '.join(RESULT)}", flush=True)


def best_seconds(device: torch.device, work: Callable[[], object], times: int) -> float:
    """The least of some times, after one that does not count."""
    found = []
    for _ in range(times + 1):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return min(found[1:])


def bandwidth(device: torch.device, size: int) -> float:
    """Bytes a second, read and written, of a copy of `size` bytes."""
    source = torch.ones(size // 4, device=device)
    target = torch.empty_like(source)
    return 2 * size / best_seconds(device, lambda: target.copy_(source), 10)


def product_rate(device: torch.device, width: int) -> float:
    """FLOPs a second of a square matrix product in the precision that is set."""
    one = torch.ones(width, width, device=device)
    return 2 * width**3 / best_seconds(device, lambda: one @ one, 10)


def counts_of_epoch(data: Data) -> Counts:
    """An epoch's bytes, FLOPs and operations: those of one batch, times the edges and the batches of all."""
    one = replace(data, train=data.train[:BATCH])
    training = training_of(ModelConfig(), one, 1)
    training.captured = None  # a replayed CUDA graph shows none of its operations
    training.epoch(0, Cost(data.device))  # makes the optimizer's state, which is no part of an epoch
    found = count(lambda: training.epoch(0, Cost(data.device)))
    share = float(data.edges.sum() / data.edges[one.train].sum())
    batches = -(-len(data.train) // BATCH)
    return Counts(round(found.bytes * share), round(found.flops * share), found.operations * batches)


def measure(device: torch.device, folder: Path, epochs: int, *, dry: bool) -> str:
    """The table and what its last column stands on."""
    resident, streaming = (open_graphs(folder, streaming=streamed) for streamed in (False, True))
    kept = {"resident": resident, "resident, no CUDA graphs": resident, "streaming": streaming}
    counts = counts_of_epoch(data_of(*resident, device))
    speed = bandwidth(device, 2**22 if dry else 2**31)
    floor = counts.bytes / speed
    rows = []
    for precision, setting in {"float32": "highest", "TF32": "high"}.items():
        torch.set_float32_matmul_precision(setting)
        rate = product_rate(device, 128 if dry else 8192)
        need = f"an epoch's products would take {counts.flops / rate:.3f} s"
        print(f"a large matrix product in {precision}: {rate / 1e12:.2f} TFLOP/s, at which {need}")
        for name, (graphs, target) in kept.items():
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            training = training_of(ModelConfig(), data_of(graphs, target, device), epochs + 1)
            if name.endswith("no CUDA graphs"):
                training.captured = None
            seconds = best_seconds(device, lambda: training.epoch(0, Cost(device)), epochs)  # noqa: B023 called here
            memory = peak_memory(device) / 2**20
            share = f"{floor / seconds:.0%}"
            rows.append((name, precision, f"{seconds:.2f}", f"{len(graphs) / seconds:,.0f}", f"{memory:,.0f}", share))
    torch.set_float32_matmul_precision("highest")
    moved = f"{counts.bytes / 1e9:.1f} GB moved by {counts.operations:,} operations, {counts.flops / 1e12:.3f} TFLOP"
    print(f"an epoch: {moved}; a large copy moves {speed / 1e9:,.0f} GB/s; so the floor is {floor:.3f} s\n")
    return markdown(HEAD, rows)


def main() -> None:
    """Check, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--structures", type=int, default=28_000)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, …, or cpu for a dry run with tiny sizes")
    options = parser.parse_args()
    try:
        device = select_device(options.device)
    except InputError as error:
        print(f"gpu.py: {error}; --device cpu is a dry run", file=sys.stderr)
        sys.exit(2)
    dry = device == CPU
    torch.manual_seed(0)
    structures = min(options.structures, 2 * BATCH) if dry else options.structures
    name = "DRY RUN on a CPU" if dry else torch.cuda.get_device_name(device)
    print(f"{name}, torch {torch.__version__}, {structures:,} structures, batches of {BATCH}", flush=True)
    check_predictions(device, 8 if dry else 256)
    with tempfile.TemporaryDirectory() as folder:
        table = synthetic(structures)
        check_resumption(device, write_shards(table.slice(0, 64 if dry else 4096), Path(folder, "few")))
        shards = write_shards(table, Path(folder, "all"))
        decode(shards, RANDOM_TARGET, Path(folder, "arrays"))
        print(measure(device, Path(folder, "arrays"), options.epochs, dry=dry))


if __name__ == "__main__":
    main()

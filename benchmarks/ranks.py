"""Several processes against one on the same machine, and how the cost of an epoch grows.

    python benchmarks/ranks.py --table FILE [--rows 4000] [--epochs 4] [--rounds 2] [--crystals 256]

Everything is the training program itself, `python -m gnn.train SPEC`, on graph shards made from a random sample of the
table, or of random crystals. The first table has one process with one thread, one with a thread a core, and 2 and,
where there are as many cores, 4 processes of one thread, in turns: seconds an epoch after the first, the best of the
rounds, and the largest relative difference of the losses and validation errors of all epochs from those of one process.
The second has an epoch of 1×, 2× and 4× as many structures, and of random crystals of 8 to 64 atoms, on as many
processes. Without `--table` the structures are random crystals of 30 atoms.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from program import How, Run, train
from samples import Sample, markdown, random_crystals, rows_of_table, write_shards

from crystals.config import GraphConfig
from gnn.config import ModelConfig, Placement, TrainConfig

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
RANKS = [ranks for ranks in (1, 2, 4) if ranks == 1 or ranks <= CORES]
ATOMS = (8, 16, 32, 64)
SHARDS = 4


def run(graphs: pa.Table, target: str, epochs: int, ranks: int, threads: int) -> Run:
    """A training of the default model in so many processes of so many threads."""
    with tempfile.TemporaryDirectory() as folder:
        shards = write_shards(graphs, Path(folder), SHARDS)
        how = How(Placement(processes=ranks), threads=threads)
        return train(shards, target, ModelConfig(), TrainConfig(epochs=epochs), how)


def apart(one: Run, other: Run) -> float:
    """The largest relative difference of the losses and validation errors of two trainings' epochs."""
    pairs = zip(one.history, other.history, strict=True)
    names = ("train_loss", "validation_mae")
    return max(abs(a[name] - b[name]) / abs(b[name]) for a, b in pairs for name in names)


def side_by_side(sample: Sample, epochs: int, rounds: int) -> str:
    """The first table."""
    graphs = sample.graphs(GraphConfig())
    kinds = dict.fromkeys([(1, 1), (1, CORES), *((ranks, 1) for ranks in RANKS)])
    runs: dict[tuple[int, int], list[Run]] = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind, found in runs.items():
            found.append(run(graphs, sample.target, epochs, *kind))
            say(f"{kind[0]} processes of {kind[1]} threads: {found[-1].later_epochs:.2f} s")
    alone = runs[1, 1]
    seconds = {kind: min(each.later_epochs for each in found) for kind, found in runs.items()}
    rows = []
    for kind, found in runs.items():
        differ = max(apart(each, alone[0]) for each in found)
        ratio = seconds[1, 1] / seconds[kind]
        rows.append((*kind, f"{seconds[kind]:.2f}", f"{ratio:.2f}×", f"{differ:.1e}"))
    head = (
        "processes",
        "threads each",
        "s an epoch after the first",
        "as fast as one of one thread",
        "curves differ by",
    )
    return f"{sample.label}, {epochs} epochs:\n\n{markdown(head, rows)}"


def growth(sizes: Iterator[Sample], epochs: int) -> str:
    """The second table."""
    rows = []
    for sample in sizes:
        graphs = sample.graphs(GraphConfig())
        edges = len(pc.list_flatten(graphs["edge_source"]))
        found = [run(graphs, sample.target, epochs, ranks, 1) for ranks in RANKS]
        cells = [f"{each.later_epochs:.2f}" for each in found]
        per_edge = 1e6 * found[0].later_epochs / edges
        per_structure = 1e3 * found[0].later_epochs / len(graphs)
        rows.append((sample.label, f"{edges:,}", *cells, f"{per_structure:.2f}", f"{per_edge:.2f}"))
        say("; ".join(rows[-1]))
    columns = [f"s an epoch, {ranks} process{'es' if ranks > 1 else ''}" for ranks in RANKS]
    return markdown(("structures", "edges", *columns, "ms a structure (1 process)", "µs an edge (1 process)"), rows)


def say(line: str) -> None:
    """Progress, which is no part of the tables."""
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--target", help="a numeric column of the table; its first one if not named")
    parser.add_argument("--rows", type=int, default=4000, help="structures of the largest training")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--crystals", type=int, default=256, help="random crystals of each size")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs: at least 2, because the first does not count")

    def structures(count: int) -> Sample:
        if options.table is None:
            return random_crystals(count, 30)
        return rows_of_table(options.table, count, options.target)

    def sizes() -> Iterator[Sample]:
        yield from (structures(options.rows // part) for part in (4, 2, 1))
        yield from (random_crystals(options.crystals, atoms) for atoms in ATOMS)

    print(side_by_side(structures(options.rows), options.epochs, options.rounds), flush=True)
    print(f"\n{growth(sizes(), options.epochs)}")
    print(f"\n{CORES} cores; the threads and cores are those of this machine, the same in all runs.")


if __name__ == "__main__":
    main()

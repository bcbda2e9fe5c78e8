"""Memory and speed of the training program on more and more graphs: streamed from the disk, and resident in memory.

    python benchmarks/streaming_memory.py (--graphs FOLDER… | --table FILE [--rows N]) [--times 1 4 16] [--data KIND]

Each line is `python -m gnn.train SPEC` on the same shards listed once, four times and sixteen times: one epoch of a
small network, and predictions of all structures. FOLDER is an artefact of the graph step (`STORE/graph-shard/KEY`), or
a folder with some below it. Printed are the peak of resident memory that the program reports of itself (VmHWM; of
mapped files, the pages that were in memory count), training structures a second, and the seconds of the whole process.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from program import How, train
from samples import markdown, rows_of_table, write_shards

from crystals.config import GraphConfig
from gnn.config import ModelConfig, Placement, TrainConfig
from storage import schemas

SMALL = ModelConfig(n_conv=1, atom_fea_len=16, h_fea_len=16)
HEAD = ("data", "structures", "edges", "peak memory (MiB)", "structures/s", "seconds in all")
MODES = ("streaming", "resident")


def measure(shards: list[Path], target: str, data: str) -> tuple[object, ...]:
    """A line of the table."""
    files = [pq.ParquetFile(path) for path in shards]
    structures = sum(file.metadata.num_rows for file in files)
    edges = sum(leaf_values(file, "edge_source") for file in files)
    found = train(shards, target, SMALL, TrainConfig(epochs=1), How(Placement(data=data)))
    memory, speed = found.facts["peak_memory_mib"], found.facts["structures_per_second"]
    return data, f"{structures:,}", f"{edges:,}", f"{memory:,}", f"{speed:,.0f}", f"{found.seconds:.0f}"


def leaf_values(file: pq.ParquetFile, column: str) -> int:
    """The number of values in the lists of a column."""
    groups = [file.metadata.row_group(n) for n in range(file.num_row_groups)]
    leaves = [group.column(c) for group in groups for c in range(group.num_columns)]
    return sum(leaf.num_values for leaf in leaves if leaf.path_in_schema.partition(".")[0] == column)


def target_of(shard: Path) -> str:
    """The name of the target of a graph shard: the one column that every target's schema does not have."""
    names = pq.read_schema(shard).names
    known = {*schemas.graphs("", []).names, *schemas.split_columns(names)}
    return next(name for name in names if name not in known)


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--graphs", type=Path, nargs="+", metavar="FOLDER")
    source.add_argument("--table", type=Path)
    parser.add_argument("--target", help="a numeric column of the table; its first one if not named")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--data", nargs="+", default=MODES, choices=MODES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.table:
            sample = rows_of_table(options.table, options.rows, options.target)
            shards = write_shards(sample.graphs(GraphConfig()), Path(folder))
        else:
            shards = sorted(path for given in options.graphs for path in given.rglob("graphs*.parquet"))
        if not shards:
            parser.error(f"--graphs: no graphs*.parquet in {', '.join(map(str, options.graphs))}")
        target, *others = sorted({target_of(shard) for shard in shards})
        if others:
            parser.error(f"--graphs: these are of several targets: {', '.join([target, *others])}")
        rows = []
        for times in options.times:
            for data in options.data:
                rows.append(measure(shards * times, target, data))
                print(*rows[-1], sep="; ", file=sys.stderr, flush=True)
    print(markdown(HEAD, rows))


if __name__ == "__main__":
    main()

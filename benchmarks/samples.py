"""What the benchmarks measure on: random crystals, a random sample of a table, their graphs, and graph shards."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.graphs import graphs_of
from crystals.sources.batches import Row, batches_of
from crystals.sources.table import Table, row_of
from gnn.config import ModelConfig
from storage import schemas

COGN = ModelConfig(  # the preset `cogn`
    name="cogn", n_conv=4, n_h=0, gaussian_step=8 / 31, gaussian_sigma=0.5
)
COGN_GRAPHS = GraphConfig(cutoff=None, max_neighbors=24)
VOLUME = 11.0  # Å³ an atom, as in oxides
RANDOM_TARGET = "random_ev"


@dataclass
class Sample:
    """Structures as the download step writes them, the name of their target, and what to call them in a table."""

    label: str
    target: str
    batches: list[pa.RecordBatch]

    def graphs(self, config: GraphConfig) -> pa.Table:
        """Their graphs table; a structure with an isolated atom is left out."""
        schema = schemas.graphs(self.target, [])
        return pa.concat_tables(graphs_of(batch, config, schema, []) for batch in self.batches)


def random_crystals(count: int, atoms: int) -> Sample:
    """Nearly cubic cells of random elements and positions; no two atoms are equal by symmetry."""
    chance = np.random.default_rng(0)
    edge = math.cbrt(VOLUME * atoms)

    def rows() -> Iterator[Row]:
        for number in range(count):
            lattice = edge * (np.eye(3) + chance.normal(0, 0.05, (3, 3)))
            z = chance.integers(1, 90, atoms).astype(np.uint8)
            crystal = Crystal(lattice, z, chance.random((atoms, 3)))
            yield Row(f"random-{number:06}", {RANDOM_TARGET: chance.normal()}, lambda crystal=crystal: crystal)

    batches = list(batches_of(rows(), schemas.structures([RANDOM_TARGET], [])))
    return Sample(f"{count:,} random crystals of {atoms} atoms", RANDOM_TARGET, batches)


def rows_of_table(path: Path, count: int, target: str | None = None) -> Sample:
    """A random sample of a table's rows, the same in every run; the target is its first one unless it is named."""
    target = target or Table(path).targets()[0]
    table = pq.read_table(path)
    table = table.filter(pc.is_finite(table[target]))
    chosen = np.sort(np.random.default_rng(0).permutation(len(table))[:count])
    rows = [row_of(n, row) for n, row in enumerate(table.take(pa.array(chosen)).to_pylist(), start=1)]
    return Sample(f"{len(rows):,} of {path.name}", target, list(batches_of(rows, schemas.structures([target], []))))


def with_neighbors(sample: Sample, least: int) -> Sample:
    """Without the structures of which an atom has fewer neighbours within 8 Å."""
    whole = sample.graphs(GraphConfig(max_neighbors=least, shell_tolerance=None, reduce_symmetry=False))
    atoms = pc.list_value_length(whole["atomic_numbers"])
    full = pc.equal(pc.list_value_length(whole["edge_source"]), pc.multiply(atoms, least))
    kept = whole[schemas.MATERIAL_ID].filter(full)
    batches = [batch.filter(pc.is_in(batch[schemas.MATERIAL_ID], kept.combine_chunks())) for batch in sample.batches]
    name = sample.label.partition(" ")[2]
    return Sample(f"{len(kept):,} {name}", sample.target, [batch for batch in batches if len(batch)])


def write_shards(graphs: pa.Table, folder: Path, number: int = 4) -> list[Path]:
    """A graphs table as so many shards of about as many rows."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"graphs-{shard}.parquet" for shard in range(number)]
    for path, rows in zip(paths, np.array_split(np.arange(len(graphs)), number), strict=True):
        schemas.write_table(graphs.take(pa.array(rows)), path)
    return paths


def markdown(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)

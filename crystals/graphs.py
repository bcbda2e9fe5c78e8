"""The program of one shard of the graph step: it turns structures into crystal graphs."""

import logging
import time
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.neighbors import IsolatedAtom, find_neighbors
from crystals.reuse import EarlierFiles, EarlierShard, with_reuse
from crystals.symmetry import Quotient, quotient, spacegroup_number
from crystals.table import crystals_of, graph_columns, rejected_table
from storage import schemas
from storage.program import Facts, Spec, main

log = logging.getLogger(__name__)


class GraphsSpec(Spec):
    """The file with one shard of structures, the columns of the target and of auxiliary ones, the graph configuration.

    Rows of `earlier` shards are taken where the crystal is the same; this saves time and changes no byte.
    """

    structures: Path
    target: str
    config: GraphConfig
    auxiliary: tuple[str, ...] = ()
    earlier: tuple[EarlierFiles, ...] = ()


def build(spec: GraphsSpec) -> Facts:
    """Write graphs.parquet, and rejected.parquet with the structures that have an isolated atom."""
    began = time.perf_counter()
    source = pq.ParquetFile(spec.structures)
    splits = schemas.splitting_columns(source.schema_arrow.names)
    schema = schemas.graphs(spec.target, splits, spec.auxiliary, vectors=spec.config.vectors)
    rejected: list[tuple[str, str, str]] = []
    counts: Counter[str] = Counter(rows=0, accepted=0, atoms=0, orbits=0, edges=0, reused=0)
    earlier = [EarlierShard(files) for files in spec.earlier]
    with pq.ParquetWriter(spec.output / "graphs.parquet", schema, compression="zstd") as writer:
        for batch in source.iter_batches(512):
            graphs, reused = with_reuse(
                batch, earlier, lambda new: graphs_of(new, spec.config, schema, rejected), rejected
            )
            counts.update(rows=len(batch), accepted=len(graphs), reused=reused)
            counts.update(atoms=pc.sum(pc.list_flatten(graphs["multiplicity"])).as_py() or 0)
            counts.update(orbits=len(graphs["atomic_numbers"].combine_chunks().values))
            counts.update(edges=len(graphs["edge_source"].combine_chunks().values))
            writer.write_table(graphs)
    schemas.write_table(rejected_table(rejected, schemas.REJECTED), spec.output / "rejected.parquet")
    by_rule = dict(Counter(rule for _, rule, _ in rejected))
    made = counts["rows"] - counts["reused"]
    if earlier:
        name = spec.structures.stem.replace("structures-", "shard ")
        log.info("graphs %s: %s rows reused, %s made", name, f"{counts['reused']:,}", f"{made:,}")
    facts = {**counts, "made": made, "rejected": len(rejected), "by_rule": by_rule}
    return {**facts, "seconds": time.perf_counter() - began}


def graphs_of(
    batch: pa.RecordBatch, config: GraphConfig, schema: pa.Schema, rejected: list[tuple[str, str, str]]
) -> pa.Table:
    """The graphs table of a batch of structures. A structure with an isolated atom is appended to `rejected`.

    Space groups that the source does not know are looked for if `schema` has them.
    """
    kept: list[int] = []
    crystals: list[Crystal] = []
    graphs: list[Quotient] = []
    volumes: list[float] = []
    for row, crystal in enumerate(crystals_of(batch)):
        if crystal is None:
            raise ValueError(f"row {row} has no crystal; validation lets none of these through")
        try:
            found = find_neighbors(crystal, config)
        except IsolatedAtom as reason:
            rejected.append((batch.column(schemas.MATERIAL_ID)[row].as_py(), "isolated_atom", str(reason)))
            continue
        kept.append(row)
        graphs.append(quotient(crystal, found, config))
        volumes.append(crystal.volume / len(crystal))
        crystals.append(crystal)
    rows = batch.take(pa.array(kept, pa.int64()))
    columns = {
        **graph_columns(graphs),
        schemas.CELL_VOLUME_PER_ATOM: pa.array(volumes, pa.float64()),
    }
    if "spacegroup_number" in schema.names:
        known = rows.column("spacegroup_number").to_pylist()
        groups = [spacegroup_number(c) if number is None else number for c, number in zip(crystals, known, strict=True)]
        columns["spacegroup_number"] = pa.array(groups, pa.int16())
    return pa.table([columns[n] if n in columns else rows.column(n) for n in schema.names], schema=schema)


if __name__ == "__main__":
    main(GraphsSpec, build)

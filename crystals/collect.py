"""The program that ends the graph step: it merges the rejected tables of all shards and adds up their counts."""

import json
import logging
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from crystals.config import GraphConfig
from storage import schemas
from storage.errors import InputError
from storage.program import Facts, Spec, main

log = logging.getLogger(__name__)

COUNTS = ("rows", "accepted", "rejected", "atoms", "orbits", "edges", "reused", "made")


class CollectSpec(Spec):
    """The target, the graph configuration, and for each shard its artefact's folder and the facts it reported."""

    target: str
    config: GraphConfig
    shards: list[Path]
    facts: list[dict[str, Any]]


def build(spec: CollectSpec) -> Facts:
    """Write rejected.parquet and graphs.json. Raises InputError if no graph is left."""
    about = {"target": spec.target, "config": spec.config.model_dump()}
    (spec.output / "graphs.json").write_text(json.dumps(about, indent=1, sort_keys=True))
    rejected = pa.concat_tables(pq.read_table(shard / "rejected.parquet") for shard in spec.shards)
    schemas.write_table(rejected.sort_by(schemas.MATERIAL_ID), spec.output / "rejected.parquet")
    total = {name: sum(facts[name] for facts in spec.facts) for name in COUNTS}
    by_rule: dict[str, int] = {}
    for rule in rejected["rule"].to_pylist():
        by_rule[rule] = by_rule.get(rule, 0) + 1
    for rule, count in by_rule.items():
        log.info("%s: %s structures rejected", rule, f"{count:,}")
    if total["reused"]:
        log.info("graphs: %s rows reused, %s made", f"{total['reused']:,}", f"{total['made']:,}")
    if not total["accepted"]:
        raise InputError(f"no structure is left: all {total['rows']:,} were rejected by {', '.join(by_rule)}")
    seconds = sum(f["seconds"] for f in spec.facts)
    return {**total, "by_rule": by_rule, "shards": len(spec.shards), "shard_seconds": seconds}


if __name__ == "__main__":
    main(CollectSpec, build)

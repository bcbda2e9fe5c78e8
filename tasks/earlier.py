"""Finds the shards of earlier runs whose graphs a new shard may reuse."""

from typing import Any

from crystals.config import GraphConfig
from storage.artefact import Artefact, Part
from storage.partition import shard_count, shards_in_common
from tasks.caching import Hint, RunContext, Shard

MOST_RUNS = 3  # that are looked into: the last run on the same source has nearly all, but which that is, rows tell


class EarlierShards(Hint):
    """Shards of structures, each with the graphs that were made from it, the most promising first."""

    pairs: list[tuple[Shard, Part]]


def shards_of(structures: Artefact) -> list[Shard]:
    """The shards that validation wrote, in order."""
    return [
        Shard(step=structures.step, key=structures.key, name=name, sha256=file.sha256)
        for name, file in sorted(structures.files.items())
        if name.startswith("structures-")
    ]


def earlier_shards(structures: Artefact, target: str, config: GraphConfig, context: RunContext) -> list[EarlierShards]:
    """For each shard of `structures`, the shards of the last runs with this configuration that may have its materials.

    Runs for the same target come first, then the newest.
    """
    store, asked = context.artefacts, config.model_dump(mode="json")
    tables = {table.digest: table for table in store.list("validate")}
    made = [graphs for graphs in store.list("graphs") if graphs.parameters["config"] == asked]
    made = [graphs for graphs in made if graphs.inputs["structures"] in tables]
    made.sort(key=lambda graphs: graphs.parameters["target"] != target)
    runs = [(tables[graphs.inputs["structures"]], graphs.parts) for graphs in made[:MOST_RUNS]]
    return [
        EarlierShards(pairs=[pair for table, parts in runs for pair in _in_common(shard, structures, table, parts)])
        for shard in shards_of(structures)
    ]


def _in_common(shard: Shard, structures: Artefact, table: Artefact, parts: list[Part]) -> list[tuple[Shard, Part]]:
    counts = (shard_count(artefact.facts["rows"]) for artefact in (structures, table))
    numbers = shards_in_common(_number(shard), *counts)
    return [pair for pair in zip(shards_of(table), parts, strict=True) if _number(pair[0]) in numbers]


def _number(shard: Shard) -> int:
    return int(shard.name.removeprefix("structures-").partition(".")[0])


def earlier_files(earlier: EarlierShards, version: int, context: RunContext) -> list[dict[str, Any]]:
    """Where the files of these shards lie. A shard of another version of the step, or a damaged one, is left out."""
    store, files = context.artefacts, []
    for shard, part in earlier.pairs:
        graphs = store.find(part.step, part.key, lambda _: None)
        table = store.read(shard.step, shard.key)
        if graphs is None or table is None or graphs.version != version or graphs.inputs["structures"] != shard.sha256:
            continue
        structures = store.verified_path(table, shard.name)
        if structures is not None and table.files[shard.name].sha256 == shard.sha256:
            files.append({"structures": structures, "graphs": store.folder(graphs.step, graphs.key)})
    return files

"""Step 3: from structures to crystal graphs, one task run a shard."""

from concurrent.futures import CancelledError
from itertools import count
from typing import Any

from prefect import unmapped
from prefect.futures import PrefectFuture

from crystals.config import GraphConfig
from storage.artefact import Artefact, Part
from storage.errors import WorldError
from tasks.caching import BuildPlan, RunContext, Shard, step
from tasks.earlier import EarlierShards, earlier_files, earlier_shards, shards_of
from tasks.observer import observer
from tasks.programs import Program

VERSION = 5  # of a shard


@step(version=VERSION)
def graph_shard(
    structures: Shard,
    target: str,
    config: GraphConfig,
    earlier: EarlierShards,
    context: RunContext,
    auxiliary: list[str] | None = None,
) -> BuildPlan:
    """The crystal graphs of one shard of structures. Rows of `earlier` shards are reused for equal crystals."""
    path = context.artefacts.local_folder(structures.step, structures.key) / structures.name
    spec = {"structures": path, "target": target, "config": config}
    spec |= {"earlier": earlier_files(earlier, VERSION, context), "auxiliary": auxiliary or ()}
    return BuildPlan(program=Program(module="crystals.graphs", spec=spec))


@step(version=2, retries=0)  # its shards have retries of their own
def graphs(
    structures: Artefact, target: str, config: GraphConfig, context: RunContext, auxiliary: list[str] | None = None
) -> BuildPlan:
    """The crystal graphs of every accepted structure. The parts of this artefact are its shards."""
    futures = graph_shard.map(
        shards_of(structures),
        target=unmapped(target),
        config=unmapped(config),
        earlier=earlier_shards(structures, target, config, context),
        context=unmapped(context),
        auxiliary=unmapped(auxiliary),
    )
    finished = count(1)
    for future in futures:
        future.add_done_callback(lambda _: observer().progressed("graphs", "shards", next(finished), len(futures)))
    try:
        shards = futures.result()
    except CancelledError as error:  # Dask's, when the scheduler is gone
        raise WorldError(
            f"the shards that were under way are lost, those that were finished are kept: {error}"
        ) from None
    folders = [context.artefacts.local_folder(shard.step, shard.key) for shard in shards]
    spec = {"target": target, "config": config, "shards": folders, "facts": [_facts_of(future) for future in futures]}
    program = Program(module="crystals.collect", spec=spec)
    return BuildPlan(program=program, parts=[Part(step=s.step, key=s.key, digest=s.digest) for s in shards])


def _facts_of(shard: PrefectFuture[Artefact]) -> dict[str, Any]:
    """The facts of a finished shard. Of one from the store, this run made no row, whatever the run did that made it."""
    facts = shard.result().facts
    return {**facts, "reused": facts["rows"], "made": 0, "seconds": 0.0} if shard.state.name == "Cached" else facts

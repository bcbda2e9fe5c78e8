"""Step 3: from structures to crystal graphs, one task run a shard."""

from concurrent.futures import CancelledError
from itertools import count

from prefect import unmapped

from crystals.config import GraphConfig
from storage.artefact import Artefact, Part
from storage.errors import WorldError
from tasks.caching import BuildPlan, RunContext, Shard, step
from tasks.observer import observer
from tasks.programs import Program


@step(version=4)
def graph_shard(structures: Shard, target: str, config: GraphConfig, context: RunContext) -> BuildPlan:
    """The crystal graphs of one shard of structures."""
    path = context.artefacts.local_folder(structures.step, structures.key) / structures.name
    spec = {"structures": path, "target": target, "config": config}
    return BuildPlan(program=Program(module="crystals.graphs", spec=spec))


@step(version=2, retries=0)  # its shards have retries of their own
def graphs(structures: Artefact, target: str, config: GraphConfig, context: RunContext) -> BuildPlan:
    """The crystal graphs of every accepted structure. The parts of this artefact are its shards."""
    futures = graph_shard.map(
        shards_of(structures), target=unmapped(target), config=unmapped(config), context=unmapped(context)
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
    spec = {"target": target, "config": config, "shards": folders, "facts": [shard.facts for shard in shards]}
    program = Program(module="crystals.collect", spec=spec)
    return BuildPlan(program=program, parts=[Part(step=s.step, key=s.key, digest=s.digest) for s in shards])


def shards_of(structures: Artefact) -> list[Shard]:
    """The shards that validation wrote, in order."""
    return [
        Shard(step=structures.step, key=structures.key, name=name, sha256=file.sha256)
        for name, file in sorted(structures.files.items())
        if name.startswith("structures-")
    ]

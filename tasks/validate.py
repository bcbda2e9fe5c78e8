"""Step 2: from the structures table to shards of structures that can be trained on."""

from crystals.config import ChecksConfig
from storage.artefact import Artefact
from tasks.caching import BuildPlan, RunContext, step
from tasks.programs import Program


@step(version=2)
def validate(
    downloaded: Artefact,
    target: str,
    checks: ChecksConfig,
    context: RunContext,
    auxiliary: list[str] | None = None,
) -> BuildPlan:
    """Accepted structures in shards, and the rejected rows with rule and message."""
    structures = context.file(downloaded, "structures.parquet")
    spec = {"structures": structures, "target": target, "checks": checks, "auxiliary": auxiliary or ()}
    return BuildPlan(program=Program(module="crystals.validate", spec=spec))

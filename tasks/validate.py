"""Step 2: from the structures table to shards of structures that can be trained on."""

from crystals.config import ChecksConfig
from storage.artefact import Artefact
from tasks.caching import Made, Place, step
from tasks.programs import Program


@step(version=1)
def validate(downloaded: Artefact, target: str, checks: ChecksConfig, place: Place) -> Made:
    """Accepted structures in shards, and the rejected rows with rule and message."""
    structures = place.file(downloaded, "structures.parquet")
    spec = {"structures": structures, "target": target, "checks": checks}
    return Made(program=Program(module="crystals.validate", spec=spec))

"""Step 1: from a source to the structures table."""

from tasks.caching import Made, Place, step
from tasks.programs import Program


@step(version=1)
def download(source: str, contents: str, place: Place) -> Made:  # noqa: ARG001  place says where
    """Every row of the source as one table. `contents` is the digest of what the source holds now."""
    return Made(program=Program(module="crystals.download", spec={"source": source, "contents": contents}))

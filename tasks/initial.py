"""Fine-tuning: the trained model whose weights a training starts from, as an artefact of the store."""

from pathlib import Path

from storage.artefact import Artefact, digest_of_file
from storage.registry import WEIGHTS
from tasks.caching import BuildPlan, Hint, RunContext, step
from tasks.programs import Program

FILES = ("model.json", WEIGHTS)


class Folder(Hint):
    """Where the model lies now; its key is in its bytes."""

    path: Path


@step(version=1)
def initial_weights(digests: list[str], folder: Folder, context: RunContext) -> BuildPlan:  # noqa: ARG001
    """A copy of a model's files, which a worker without the folder finds, too."""
    return BuildPlan(program=Program(module="gnn.initial", spec={"folder": folder.path}))


def copy_of(folder: Path, context: RunContext) -> Artefact:
    """The model of one member in `folder`, in the store."""
    return initial_weights([digest_of_file(folder / name) for name in FILES], Folder(path=folder), context)

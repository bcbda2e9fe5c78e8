"""The folder of the model that `cgcnn predict` uses. Imports no Prefect."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.registry import is_release_checkpoint, model_folder
from storage.store import Store
from tasks.programs import Program, run_program


@contextmanager
def usable_model(wanted: str, store: str, log: Callable[[str], None]) -> Iterator[Path]:
    """The folder of the model `wanted`; that of a `.pth.tar` of CGCNN's release is made here, and gone afterwards.

    Raises InputError where there is no such model, or it cannot be used.
    """
    model = model_folder(wanted, Store.at(store)).absolute()
    if not is_release_checkpoint(model):
        yield model
        return
    with tempfile.TemporaryDirectory(prefix="cgcnn-model-") as folder:
        run_program(Program(module="gnn.release_weights", spec={"checkpoint": model}), Path(folder), log)
        yield Path(folder) / "output"

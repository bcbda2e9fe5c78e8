"""The property of many structures from a stored model, as a deployment: `cgcnn predict` on a worker."""

from typing import Annotated

from prefect import flow
from pydantic import Field

from flows.options import end_programs
from tasks.predict import predict_files
from tasks.printable_logs import make_logs_printable


@flow(
    name="predict",
    on_running=[make_logs_printable],
    on_cancellation=[end_programs],
    on_crashed=[end_programs],
)
def predict(
    files: Annotated[list[str], Field(min_length=1)],
    output: Annotated[str, Field(pattern=r"\.(csv|parquet)$")],
    model: str = "champion",
    store: str = "store",
    trust_code: bool = False,
) -> dict[str, int | str]:
    """A table with id, formula, predicted, error and warning of each structure; what was refused says why.

    Args:
        files: Files of structures (CIF, POSCAR, extxyz, …), folders of them, and tables, on the worker's machine.
        output: The table to write, a .csv or .parquet file on the worker's machine.
        model: champion, a champion's name, a run, latest, a model's folder, or a .pth.tar file of CGCNN's release.
        store: The folder that keeps every run's results, or its URL.
        trust_code: Run the code that the model names, where it is a package.module:Class from outside.
    """
    return predict_files(files, model, store, output, trust_code)

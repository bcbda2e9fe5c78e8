"""Structures → graphs as a model was trained on → predictions, in the order of the inputs.

Imports no Prefect: `cgcnn predict` uses it, too.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from storage.errors import InputError
from storage.registry import model_folder
from storage.store import Store
from storage.text import printable
from tasks.programs import Program, run_program


def predict(
    files: list[str], wanted: str, root: str, output: Path | None, log: Callable[[str], None]
) -> dict[str, int | str]:
    """Write id, formula, predicted and error of each input to `output`, or as CSV to the standard output.

    `log` gets each line that a person should read. Returns how many were predicted and refused, and of what.
    """
    if output and output.suffix not in {".csv", ".parquet"}:
        raise InputError(f"--output {output}: expected a name that ends in .csv or .parquet")
    if output and output.is_dir():
        raise InputError(f"--output {output}: is a folder")
    if output and not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {output.parent}")
    missing = [name for name in files if not Path(name).exists()]
    if missing:
        raise InputError(f"{missing[0]}: no such file or folder")
    model = model_folder(wanted, Store.at(root)).absolute()
    config = _graphs_of(model)
    form = output.suffix if output else ".csv"
    with tempfile.TemporaryDirectory(dir=output.parent if output else None, prefix=".predict-") as folder:
        work = Path(folder)
        inputs = Program(module="crystals.predict_inputs", spec={"files": files, "config": config})
        read = run_program(inputs, _made(work / "inputs"), log)
        made = work / "inputs" / "output"
        spec = {"model": model, "graphs": [made / "graphs.parquet"], "inputs": made / "inputs.parquet", "form": form}
        answered = run_program(Program(module="gnn.predict", spec=spec), _made(work / "predictions"), log)
        table = work / "predictions" / "output" / f"predictions{form}"
        if output:
            table.replace(output)
        else:
            with table.open(encoding="utf-8") as lines:
                sys.stdout.writelines(map(printable, lines) if sys.stdout.isatty() else lines)
    quantity = " ".join(f"{answered['target']} {answered['unit']}".split())
    unseen = answered["unseen_elements"]
    if unseen:
        log(f"the model has not seen the elements {', '.join(unseen)}: expect large errors where they occur")
    log(f"{read['rows'] - read['refused']:,} predicted, {read['refused']:,} refused ({quantity})")
    return {"predicted": read["rows"] - read["refused"], "refused": read["refused"], "quantity": quantity}


def _graphs_of(model: Path) -> dict[str, Any]:
    """The graph configuration that the model was trained with."""
    try:
        return dict(json.loads((model / "model.json").read_text(encoding="utf-8"))["graph_config"])
    except (ValueError, KeyError, TypeError):
        raise InputError(f"--model {model}: its model.json was not written by cgcnn") from None


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder

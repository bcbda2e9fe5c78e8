"""Structures → graphs as a model was trained on → predictions, in the order of the inputs.

Imports no Prefect: `cgcnn predict` uses it, too.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from crystals.config import GraphConfig
from gnn.model_card import check_trust, read_card
from storage.errors import InputError, first_fault
from storage.program import PROGRESS
from storage.text import is_utf8, printable
from tasks.prediction_folder import Work, record_of, work_folder
from tasks.prediction_model import usable_model
from tasks.programs import Program, run_together

Log = Callable[[str], None]
OnProgress = Callable[[str, int, int], None]  # what, done, total; total 0: it is not known
Display = Callable[[Log], AbstractContextManager[tuple[Log, OnProgress | None]]]


class PredictRequest(BaseModel):
    """What to predict for, with which model, and where to. Without `output` the table is CSV on the standard output.

    `trust_code` lets a model run code from outside this package: model.name package.module:Class.
    """

    model_config = ConfigDict(frozen=True)

    files: list[str]
    model: str = "champion"
    store: str = "store"
    output: Path | None = None
    trust_code: bool = False


@contextmanager
def _without_progress(log: Log) -> Iterator[tuple[Log, None]]:
    yield log, None


def predict(request: PredictRequest, log: Log, display: Display = _without_progress) -> dict[str, int | str]:
    """Write id, formula, predicted, error and warning of each input; of a calibrated model, also the uncertainty.

    `log` gets each line that a person should read; while the work goes on, `display` may show them and the progress in
    its own way. Returns how many were predicted, refused and warned of, and of what.
    """
    _check_paths(request.files, request.output)
    with usable_model(request.model, request.store, log) as model:
        answered = _predict_with(model, request, log, display)
    quantity = " ".join(answered["quantity"].split())
    _log_warnings(answered, log)
    if answered["coverage"]:
        log(
            f"uncertainty: of structures drawn like the validation rows, "
            f"{answered['coverage']:.1%} have their value between low and high"
        )
    predicted, refused = answered["rows"] - answered["refused"], answered["refused"]
    log(f"{predicted:,} predicted, {refused:,} refused ({quantity})")
    return {"predicted": predicted, "refused": refused, "warned": answered["warned"], "quantity": quantity}


def _predict_with(model: Path, request: PredictRequest, log: Log, display: Display) -> dict[str, Any]:
    """Write the table with the model in that folder; what the program that wrote it says of it."""
    output = request.output
    config = _usable(model, trust_code=request.trust_code)
    record = partial(record_of, request.files, model, trust_code=request.trust_code)
    with work_folder(output, record, log) as work:
        with display(log) as (log_line, on_progress):
            table, answered = _run(request, (model, config), work, _line_handler(log_line, on_progress))
        if output:
            table.replace(output)
        else:
            with table.open(encoding="utf-8") as lines:
                sys.stdout.writelines(map(printable, lines) if sys.stdout.isatty() else lines)
    return answered


def _run(
    request: PredictRequest, model: tuple[Path, GraphConfig], work: Work, on_line: Log
) -> tuple[Path, dict[str, Any]]:
    """The finished table, and what the program that wrote it says of it."""
    folder, config = model
    form = request.output.suffix if request.output else ".csv"
    read, predicted = (_made(work.attempt / name) for name in ("inputs", "predictions"))
    inputs = Program(
        module="crystals.predict_inputs", spec={"files": request.files, "config": config, "skip": work.rows}
    )
    spec = {"model": folder, "batches": (read / "output").absolute(), "parts": work.parts.absolute(), "form": form}
    spec |= {"first_part": work.first_part, "trust_code": request.trust_code}
    # The second takes what the first offers: both have to run.
    both = [(inputs, read), (Program(module="gnn.predict", spec=spec), predicted)]
    _, answered = run_together(both, on_line)
    return predicted / "output" / f"predictions{form}", answered


def _check_paths(files: list[str], output: Path | None) -> None:
    if output and output.suffix not in {".csv", ".parquet"}:
        raise InputError(f"--output {output}: expected a name that ends in .csv or .parquet")
    for name in (*files, str(output or "")):
        if not is_utf8(name):
            raise InputError(f"{name}: a name that is no UTF-8 cannot be written to a table; rename it")
    if output and output.is_dir():
        raise InputError(f"--output {output}: is a folder")
    if output and not output.parent.is_dir():
        raise InputError(f"--output {output}: there is no folder {output.parent}")
    missing = [name for name in files if not Path(name).exists()]
    if missing:
        raise InputError(f"{missing[0]}: no such file or folder")


def _usable(model: Path, *, trust_code: bool) -> GraphConfig:
    """The graph configuration that the model was trained with; refuses a model that cannot be used, before any work."""
    card = read_card(model)
    for config in card.models:
        check_trust(config, trust_code=trust_code)
    try:
        return GraphConfig.model_validate(card.graph_config)
    except ValidationError as error:
        where, message = first_fault(error)
        where = ".".join(filter(None, ["graph_config", where]))
        raise InputError(f"{model}/model.json: {where}: {message}"[:500]) from None


def _line_handler(log: Log, on_progress: OnProgress | None) -> Log:
    """A callback for each line that a program prints: progress goes to `on_progress`, everything else is logged.

    The total that the program which reads tells is that of both.
    """
    known = 0

    def handle(line: str) -> None:
        nonlocal known
        if not line.startswith(f'{{"{PROGRESS}":'):
            log(line)
        elif on_progress is not None:
            record = json.loads(line)
            known = record["total"] or known
            on_progress(record[PROGRESS], record["done"], known)

    return handle


def _log_warnings(answered: dict[str, Any], log: Log) -> None:
    if not answered["has_ranges"]:
        log("the model has no training ranges, for it was made before they were kept: only its elements are compared")
    if answered["warned"]:
        unseen = ", ".join(answered["unseen_elements"])
        kinds = [
            f"{kind} {count:,}" + (f" ({unseen})" if kind == "elements never seen" else "")
            for kind, count in answered["warnings"].items()
        ]
        log(
            f"{answered['warned']:,} unlike the training structures, errors may exceed the test error "
            f"(column `warning`): {', '.join(kinds)}"
        )


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder

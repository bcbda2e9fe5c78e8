"""Handles the lines that a program prints: log lines, and progress for the terminal, the standard output and the UI."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging.handlers import APILogHandler

from storage.program import PROGRESS
from tasks.epochs import notify_watcher
from tasks.observer import observer


def line_handler(step: str) -> Callable[[str], None]:
    """A callback for the lines of a step's program: lines of progress are shown as such, all others are logged."""
    logger = get_run_logger()
    shown: dict[str, Progress] = {}

    def handle(line: str) -> None:
        record = _record_of(line)
        if record is None:
            logger.info("%s", line)
        elif "epoch" in record:
            epochs = shown.setdefault("epoch", Progress(step, "epochs", key="training", description="Epochs trained"))
            epochs.move(record["epoch"], record["epochs"], line, f"validation MAE {record['validation_mae']:.4g}")
            notify_watcher(record)
        else:
            what = record[PROGRESS]
            progress = shown.setdefault(
                what, Progress(step, what, key=step, description=f"{what.capitalize()} of this step")
            )
            progress.move(record["done"], record["total"])

    return handle


def _record_of(line: str) -> dict[str, Any] | None:
    return dict(json.loads(line)) if line.startswith(('{"epoch":', f'{{"{PROGRESS}":')) else None


class Progress:
    """The progress of one program, passed to the observer, the log, and a progress artifact in the UI."""

    def __init__(self, step: str, unit: str, *, key: str, description: str) -> None:
        self._step, self._unit, self._key, self._description = step, unit, key, description
        self._artifact: UUID | None = None
        self._tenths = 0

    def move(self, done: int, total: int, line: str | None = None, note: str = "") -> None:
        """Report that `done` of `total` units are done.

        `line` is printed on the standard output unchanged, unless the display draws on the same terminal. If there is
        no line, every tenth of the way is logged.
        """
        observer().progressed(self._step, self._unit, done, total, note)
        if line is not None:
            self._report(line)
        elif 10 * done // total > self._tenths:
            self._tenths = 10 * done // total
            get_run_logger().info("%s of %s %s", f"{done:,}", f"{total:,}", self._unit)
        self._update_ui(100.0 * done / total)

    def _report(self, line: str) -> None:
        logger: Any = get_run_logger() if observer().draws else _ui_log()
        logger.info("%s", line)
        if not (observer().draws and sys.stdout.isatty()):
            print(line, flush=True)

    def _update_ui(self, percent: float) -> None:
        if self._artifact is None:
            self._artifact = _create_artifact(percent, self._key, self._description)
        else:
            update_progress_artifact(self._artifact, progress=percent)


def _ui_log() -> logging.Logger:
    """A logger that writes to the server only, because the line is printed on the console already."""
    log = logging.getLogger("cgcnn.progress")
    if not log.handlers:
        log.addHandler(APILogHandler())
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


def _create_artifact(percent: float, key: str, description: str) -> UUID:
    made = create_progress_artifact(progress=percent, key=key, description=description)
    if not isinstance(made, UUID):
        raise TypeError("create_progress_artifact is awaited only in an async task")
    return made

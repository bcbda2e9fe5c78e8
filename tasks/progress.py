"""Shows the output of a running program: its log lines, and its progress as a bar, as lines, and in the UI."""

import json
import logging
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.logging.handlers import APILogHandler
from tqdm import tqdm

from storage.program import PROGRESS


def line_handler(step: str) -> Callable[[str], None]:
    """A callback for each line that a step's program prints: progress is shown, everything else is logged."""
    logger = get_run_logger()
    shown: dict[str, Progress] = {}

    def handle(line: str) -> None:
        record = _record_of(line)
        if record is None:
            logger.info("%s", line)
        elif "epoch" in record:
            epochs = shown.setdefault("epoch", Progress(step, "epoch", key="training", description="Epochs trained"))
            epochs.move(record["epoch"], record["epochs"], line, f"validation MAE {record['validation_mae']}")
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
    """A bar in a terminal, lines elsewhere, and a progress artifact in the UI."""

    def __init__(self, step: str, unit: str, *, key: str, description: str) -> None:
        self._step, self._unit, self._key, self._description = step, unit, key, description
        self._bar: tqdm[Any] | None = None
        self._artifact: UUID | None = None
        self._tenths = 0

    def move(self, done: int, total: int, line: str | None = None, beside: str = "") -> None:
        """Move on. Outside a terminal `line` is report_key as it is; without one, every tenth of the way is logged."""
        if sys.stderr.isatty():
            self._bar = self._bar or tqdm(total=total, desc=self._step, unit=self._unit)
            self._bar.set_postfix_str(beside)
            self._bar.update(done - self._bar.n)
            if done == total:
                self._bar.close()
        elif line is not None:
            print(line, flush=True)
        if line is not None:
            _ui_log().info("%s", line)
        elif 10 * done // total > self._tenths:
            self._tenths = 10 * done // total
            logger = _ui_log() if sys.stderr.isatty() else get_run_logger()
            logger.info("%s of %s %s", f"{done:,}", f"{total:,}", self._unit)
        self._update_ui(100.0 * done / total)

    def _update_ui(self, percent: float) -> None:
        if self._artifact is None:
            self._artifact = _create_artifact(percent, self._key, self._description)
        else:
            update_progress_artifact(self._artifact, progress=percent)


def _ui_log() -> logging.Logger:
    """A logger that writes to the server alone: on the console the bar, or the bare line, is enough."""
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

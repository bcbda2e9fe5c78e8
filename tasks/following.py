"""What a person sees of a running program: its log lines, and for a training one bar or one JSON line an epoch."""

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


def follower(step: str) -> Callable[[str], None]:
    """What is done with each line of a step's program: log it, or show it as progress if it tells an epoch."""
    logger = get_run_logger()
    progress = EpochProgress(step)

    def follow(line: str) -> None:
        record = _epoch_of(line)
        if record is None:
            logger.info("%s", line)
        else:
            progress.show(record, line)

    return follow


def _epoch_of(line: str) -> dict[str, Any] | None:
    if not line.startswith('{"epoch":'):
        return None
    return dict(json.loads(line))


class EpochProgress:
    """A bar in a terminal, the program's own JSON line elsewhere, and a progress artifact in the UI."""

    def __init__(self, step: str) -> None:
        self._step = step
        self._bar: tqdm[Any] | None = None
        self._artifact: UUID | None = None

    def show(self, record: dict[str, Any], line: str) -> None:
        """Move on to the epoch that `record` tells."""
        done, total = record["epoch"], record["epochs"]
        if sys.stderr.isatty():
            self._bar = self._bar or tqdm(total=total, desc=self._step, unit="epoch")
            self._bar.set_postfix_str(f"validation MAE {record['validation_mae']}")
            self._bar.update(done - self._bar.n)
            if done == total:
                self._bar.close()
        else:
            print(line, flush=True)
        _ui_log().info("%s", line)
        percent = 100.0 * done / total
        if self._artifact is None:
            self._artifact = _created(percent)
        else:
            update_progress_artifact(self._artifact, progress=percent)


def _ui_log() -> logging.Logger:
    """A logger that writes to the server alone: on the console the bar, or the bare line, is enough."""
    log = logging.getLogger("cgcnn.epochs")
    if not log.handlers:
        log.addHandler(APILogHandler())
        log.setLevel(logging.INFO)
        log.propagate = False
    return log


def _created(percent: float) -> UUID:
    made = create_progress_artifact(progress=percent, key="training", description="Epochs trained")
    if not isinstance(made, UUID):
        raise TypeError("create_progress_artifact is awaited only in an async task")
    return made

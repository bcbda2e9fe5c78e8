"""What Prefect's temporary server says when it is stopped: nothing, unless something is lost."""

import os
import subprocess
import sys
from pathlib import Path

from flows.temporary_server import RECORDER, STARTED_BY

SAID = f"""
import asyncio, logging
import flows.temporary_server
log = logging.getLogger({RECORDER!r})
for fault in (asyncio.CancelledError(), OSError()):
    for numbers in ("(2 to retry, 0 dropped)", "(1 to retry, 1 dropped)"):
        try:
            raise fault
        except BaseException:
            log.error(f"{{type(fault).__name__}} {{numbers}}", exc_info=True)
"""


def said(parent: int) -> list[str]:
    environment = {**os.environ, STARTED_BY: str(parent)}
    done = subprocess.run([sys.executable, "-c", SAID], env=environment, capture_output=True, text=True, check=True)
    return [line.split(" (")[0] for line in done.stderr.splitlines() if "to retry" in line]


def test_an_event_that_is_written_again_before_the_end_is_no_error():
    assert said(os.getpid()) == ["CancelledError", "OSError", "OSError"]


def test_a_server_that_somebody_else_started_says_all():
    assert said(1) == ["CancelledError", "CancelledError", "OSError", "OSError"]


def test_prefect_has_that_logger_and_says_it_in_these_words():
    from prefect.server.services import task_run_recorder

    assert task_run_recorder.logger.name == RECORDER
    assert "{dropped} dropped)" in Path(task_run_recorder.__file__).read_text(encoding="utf-8")

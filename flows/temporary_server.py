"""Ends Prefect's temporary server when the process that started it is gone, even where that was killed (-9).

Prefect loads the entry points `prefect.collections` in each server that starts, and this module is one. In any other
process, and in a server that somebody else started, it does nothing.
"""

import asyncio
import logging
import os
import signal
import threading
import time

STARTED_BY = "CGCNN_SERVER_STARTED_BY"
RECORDER = "prefect.server.services.task_run_recorder"


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


def _is_news(record: logging.LogRecord) -> bool:
    """Log filter. A server that is told to stop while it writes an event writes it again before it ends: no error."""
    stopped = record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError)
    return not (stopped and " 0 dropped" in record.getMessage())


if os.environ.get(STARTED_BY) == str(os.getppid()):
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()
    logging.getLogger(RECORDER).addFilter(_is_news)

"""Ends Prefect's temporary server when the process that started it is gone, even where that was killed (-9).

Prefect loads the entry points `prefect.collections` in each server that starts, and this module is one. In any other
process, and in a server that somebody else started, it does nothing.
"""

import os
import signal
import threading
import time

STARTED_BY = "CGCNN_SERVER_STARTED_BY"


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


if os.environ.get(STARTED_BY) == str(os.getppid()):
    threading.Thread(target=_end_with, args=[os.getppid()], daemon=True).start()

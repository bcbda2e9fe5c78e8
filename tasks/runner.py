"""Where the task runs of a fan-out go: to threads of this process, or to a Dask cluster."""

import os
from typing import Any, cast

from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

DASK = "CGCNN_DASK"  # the address of a scheduler, as in tcp://10.0.0.5:8786


def side_by_side(at_once: int) -> TaskRunner[Any]:
    """Like `runner`, for so many task runs that may start others and wait for them."""
    return runner() if os.environ.get(DASK) else cast(TaskRunner[Any], ThreadPoolTaskRunner(max_workers=at_once))


def runner() -> TaskRunner[Any]:
    """Threads, each of which waits for a program of its own; or the Dask cluster that CGCNN_DASK names."""
    address = os.environ.get(DASK)
    if not address:
        return cast(TaskRunner[Any], ThreadPoolTaskRunner(max_workers=os.cpu_count() or 1))
    from prefect_dask import DaskTaskRunner  # an extra: `pip install 'cgcnn-flows[dask]'`

    return cast(TaskRunner[Any], DaskTaskRunner(address=address))

"""Sets to *Crashed* the runs of our flows that are dead: a machine that is switched off leaves them *Running*.

    python deployments/watch.py

Looks every half minute at the server that PREFECT_API_URL names. One of it is enough; `make serve` starts it.
"""

import contextlib
import time
from datetime import UTC, datetime

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import StateType

from tasks.life import ended_if_dead

FLOWS = ["retrain", "train", "predict"]
AT_WORK = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
EVERY = 30  # seconds


def look(client: SyncPrefectClient, now: datetime) -> None:
    """Once; a line for each."""
    at_work = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=AT_WORK)))
    ours = FlowFilter(name=FlowFilterName(any_=FLOWS))
    for run in client.read_flow_runs(flow_filter=ours, flow_run_filter=at_work):
        fault = ended_if_dead(client, run, now)
        if fault:
            print(f"flow run {run.name}: {fault}; set to Crashed", flush=True)


def main() -> None:
    """For ever, also when the server is busy, or away for a while."""
    while True:
        try:
            with get_client(sync_client=True) as client:
                look(client, datetime.now(UTC))
        except (HTTPError, RuntimeError) as error:  # the second is the client's, when it asks for the server's version
            print(f"watch: the server does not answer: {error}", flush=True)
        time.sleep(EVERY)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

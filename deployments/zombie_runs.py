"""Sets zombie runs to Crashed: runs of our flows that the server still has as running, but whose process is gone.

    python deployments/zombie_runs.py

It checks the server at PREFECT_API_URL every 30 seconds. One process for a server is enough; `make serve` starts it.
"""

import contextlib
import time
from datetime import UTC, datetime
from pathlib import Path

import yaml
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

from storage.text import one_line
from tasks.heartbeat import crash_if_zombie

DEPLOYED = yaml.safe_load(Path(__file__).with_name("prefect.yaml").read_text(encoding="utf-8"))["deployments"]
FLOWS = sorted({each["entrypoint"].rpartition(".")[2] for each in DEPLOYED})
ACTIVE = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
EVERY = 30  # seconds


def crash_zombies(client: SyncPrefectClient, now: datetime) -> None:
    """Check all active runs once, and print a line for each one that was set to Crashed."""
    active = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=ACTIVE)))
    ours = FlowFilter(name=FlowFilterName(any_=FLOWS))
    for run in client.read_flow_runs(flow_filter=ours, flow_run_filter=active):
        reason = crash_if_zombie(client, run, now)
        if reason:
            print(one_line(f"flow run {run.name}: {reason}; set to Crashed"), flush=True)


def main() -> None:
    """Check until Ctrl-C. While the server does not answer, print a line and go on."""
    while True:
        try:
            with get_client(sync_client=True) as client:
                crash_zombies(client, datetime.now(UTC))
        except (HTTPError, RuntimeError) as error:  # the second is the client's, when it asks for the server's version
            print(one_line(f"zombie_runs: the server does not answer: {error}"), flush=True)
        time.sleep(EVERY)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()

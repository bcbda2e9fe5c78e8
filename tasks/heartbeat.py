"""Zombie runs: their process is gone (its machine was switched off), but the server still has them as running.

They are found by their missing heartbeats, and set to Crashed.
"""

from datetime import datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.states import Crashed

TIMEOUT = timedelta(seconds=150)  # runs of our deployments send a heartbeat every 30 s
ADHOC_TIMEOUT = timedelta(minutes=10)  # other runs every 180 s, Prefect's default


def crash_if_zombie(client: SyncPrefectClient, run: FlowRun, now: datetime) -> str | None:
    """Set the run to Crashed if it is a zombie. Returns the reason, or None where its process may be alive."""
    reason = _zombie_reason(client, run, now)
    if reason:
        client.set_flow_run_state(run.id, Crashed(message=reason), force=True)
    return reason


def _zombie_reason(client: SyncPrefectClient, run: FlowRun, now: datetime) -> str | None:
    state = run.state
    if state is None or state.is_final():
        return None
    if state.type == StateType.RUNNING:
        last = max([state.timestamp, *_heartbeats(client, run)])
        limit = TIMEOUT if run.deployment_id else ADHOC_TIMEOUT
        return None if now - last < limit else f"no heartbeat since {last:%H:%M:%S} UTC"
    if not run.work_pool_name or online_workers(client, run.work_pool_name):
        return None
    return f"no worker of the pool {run.work_pool_name} is alive any more"


def online_workers(client: SyncPrefectClient, pool: str) -> list[str]:
    """Names of the workers of a pool that are online. A dead one counts as online for another minute and a half."""
    return [worker.name for worker in client.read_workers_for_work_pool(pool) if worker.status == WorkerStatus.ONLINE]


def _heartbeats(client: SyncPrefectClient, run: FlowRun) -> list[datetime]:
    of_run = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    return [event.occurred for event in client.read_events(of_run, limit=1).events]

"""Ends runs that are dead: their machine was switched off, and the server believes that they go on."""

from datetime import datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType, WorkerStatus
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.states import Crashed

SILENCE = timedelta(seconds=150)  # our deployments give a sign of life every 30 s
LONG_SILENCE = timedelta(minutes=10)  # Prefect's own pace is 180 s


def ended_if_dead(client: SyncPrefectClient, run: FlowRun, now: datetime) -> str | None:
    """Set the run to *Crashed* if nobody can be working on it any more: why; None where somebody may."""
    fault = _fault_of(client, run, now)
    if fault:
        client.set_flow_run_state(run.id, Crashed(message=fault), force=True)
    return fault


def _fault_of(client: SyncPrefectClient, run: FlowRun, now: datetime) -> str | None:
    state = run.state
    if state is None or state.is_final():
        return None
    if state.type == StateType.RUNNING:
        last = max([state.timestamp, *_signs(client, run)])
        limit = SILENCE if run.deployment_id else LONG_SILENCE
        return None if now - last < limit else f"no sign of life since {last:%H:%M:%S} UTC"
    if not run.work_pool_name or workers(client, run.work_pool_name):
        return None
    return f"no worker of the pool {run.work_pool_name} is alive any more"


def workers(client: SyncPrefectClient, pool: str) -> list[str]:
    """Names of the workers of a pool that are alive; the server finds out after a minute and a half."""
    return [worker.name for worker in client.read_workers_for_work_pool(pool) if worker.status == WorkerStatus.ONLINE]


def _signs(client: SyncPrefectClient, run: FlowRun) -> list[datetime]:
    of_run = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    return [event.occurred for event in client.read_events(of_run, limit=1).events]

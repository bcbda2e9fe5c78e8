"""Heartbeats of runs and workers: which runs are zombies, and what a silent run waits for.

A zombie run is one that the server has as running, but whose process is gone (its machine was switched off). It is
found by its missing heartbeats and set to Crashed.
"""

from datetime import datetime, timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun, StateType, Worker, WorkerStatus
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter
from prefect.states import Crashed

TIMEOUT = timedelta(seconds=150)  # runs of our deployments send a heartbeat every 30 s
ADHOC_TIMEOUT = timedelta(minutes=10)  # other runs every 180 s, Prefect's default
OVERDUE = timedelta(seconds=45)  # after this a heartbeat of a run of our deployments is late
WORKER_INTERVAL = 30  # seconds between the heartbeats of a worker that does not say its own interval
WORKER_MISSES = 3  # the server calls a worker offline after this many missed heartbeats


def crash_if_zombie(client: SyncPrefectClient, run: FlowRun, now: datetime) -> str | None:
    """Set the run to Crashed if it is a zombie. Returns the reason, or None if its process may be alive."""
    reason = _zombie_reason(client, run, now)
    if reason:
        client.set_flow_run_state(run.id, Crashed(message=reason), force=True)
    return reason


def _zombie_reason(client: SyncPrefectClient, run: FlowRun, now: datetime) -> str | None:
    state = run.state
    if state is None or state.is_final():
        return None
    if state.type == StateType.RUNNING:
        last = _last_heartbeat(client, run)
        limit = TIMEOUT if run.deployment_id else ADHOC_TIMEOUT
        return None if now - last < limit else f"no heartbeat since {last:%H:%M:%S} UTC"
    if not run.work_pool_name or online_workers(client, run.work_pool_name):
        return None
    return f"no worker of the pool {run.work_pool_name} is alive any more"


def online_workers(client: SyncPrefectClient, pool: str) -> list[Worker]:
    """The workers of a pool that are online. One that died counts as online for 90 s after its last heartbeat."""
    return [worker for worker in client.read_workers_for_work_pool(pool) if worker.status == WorkerStatus.ONLINE]


def waiting_line(client: SyncPrefectClient, run: FlowRun, now: datetime) -> str | None:
    """What a run that is silent waits for, with the age of the last heartbeat, as one line for its log.

    None if there is nothing to wait for: it is running, with its last heartbeat less than 45 s ago.
    """
    if run.state_type == StateType.RUNNING:
        age, limit = now - _last_heartbeat(client, run), TIMEOUT
        late = (
            f"flow run {run.name}: last heartbeat {_seconds(age)} s ago; after {_seconds(limit)} s it counts as crashed"
        )
        return late if age > OVERDUE else None
    workers = online_workers(client, run.work_pool_name or "")
    ages = [
        f"last heartbeat of {w.name} {_seconds(now - w.last_heartbeat_time)} s ago"
        for w in workers
        if w.last_heartbeat_time
    ]
    limits = [WORKER_MISSES * (worker.heartbeat_interval_seconds or WORKER_INTERVAL) for worker in workers]
    what = f"{', '.join(ages)}; after {max(limits)} s it counts as offline" if ages else "none is online"
    return f"waiting for a worker of the pool {run.work_pool_name}: {what}"


def _seconds(duration: timedelta) -> int:
    return round(duration.total_seconds())


def _last_heartbeat(client: SyncPrefectClient, run: FlowRun) -> datetime:
    """The time of the last heartbeat of a running run; until the first one, the time at which it began to run."""
    return max([*([run.state.timestamp] if run.state else []), *_heartbeats(client, run)])


def _heartbeats(client: SyncPrefectClient, run: FlowRun) -> list[datetime]:
    of_run = EventFilter(
        event=EventNameFilter(name=["prefect.flow-run.heartbeat"]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{run.id}"]),
    )
    return [event.occurred for event in client.read_events(of_run, limit=1).events]

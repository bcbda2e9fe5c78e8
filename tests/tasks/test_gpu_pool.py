"""A training that waits for a worker says so: when it has been silent for a while, and then sparingly."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prefect import flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Cancelled, Running

from tasks import gpu_pool
from tasks.heartbeat import waiting_line


@pytest.fixture
def client(server) -> Iterator[SyncPrefectClient]:
    settings = {PREFECT_API_URL: server, PREFECT_LOGGING_TO_API_ENABLED: False}
    with temporary_settings(settings), SyncPrefectClient(server) as found:
        yield found


@pytest.fixture
def dispatched(client) -> FlowRun:
    """A scheduled run of a deployment in a pool of its own, which has no worker."""
    pool = client.create_work_pool(WorkPoolCreate(name=f"pool-{uuid.uuid4().hex[:8]}", type="process")).name
    flow_id = client.create_flow_from_name("train")
    deployment = client.create_deployment(flow_id, f"train-{pool}", work_pool_name=pool)
    return client.read_flow_run(client.create_flow_run_from_deployment(deployment).id)


@pytest.fixture
def beat(ask_server, server) -> Callable[[FlowRun, str], Any]:
    """A heartbeat of a worker of the run's pool, as a worker sends it; that worker sends no other one."""

    def send(run: FlowRun, name: str) -> None:
        where = f"work_pools/{run.work_pool_name}/workers/heartbeat"
        with pytest.raises(ValueError, match="Expecting value"):  # it has no content
            ask_server(server, where, name=name, heartbeat_interval_seconds=30)

    return send


def test_the_line_says_whose_heartbeat_was_when(client, dispatched, beat):
    assert waiting_line(client, dispatched, datetime.now(UTC)).endswith("none is online")
    beat(dispatched, "w")
    (worker,) = client.read_workers_for_work_pool(dispatched.work_pool_name)
    assert waiting_line(client, dispatched, worker.last_heartbeat_time + timedelta(seconds=42)) == (
        f"waiting for a worker of the pool {dispatched.work_pool_name}: last heartbeat of w 42 s ago; "
        "after 90 s it counts as offline"
    )


def test_nothing_is_said_of_a_run_whose_heart_beats(client, dispatched):
    """However long its epochs are."""
    client.set_flow_run_state(dispatched.id, Running(), force=True)
    run = client.read_flow_run(dispatched.id)
    assert waiting_line(client, run, run.state.timestamp + timedelta(seconds=40)) is None
    line = waiting_line(client, run, run.state.timestamp + timedelta(seconds=60))
    assert line == f"flow run {run.name}: last heartbeat 60 s ago; after 150 s it counts as crashed"


def test_who_waits_says_so_sparingly(client, dispatched, beat, monkeypatch, caplog):
    for name, value in {"POLL": 0.1, "SILENCE": 1, "REPEAT": 2}.items():
        monkeypatch.setattr(gpu_pool, name, value)
    beat(dispatched, "w")

    def told() -> list[float]:
        return [record.created for record in caplog.records if "waiting for a worker" in record.getMessage()]

    def cancel() -> None:
        while len(told()) < 2:
            time.sleep(0.1)
        with SyncPrefectClient(str(client.api_url)) as other:
            other.set_flow_run_state(dispatched.id, Cancelled(), force=True)

    @flow
    def waits() -> tuple[float, str]:
        threading.Thread(target=cancel).start()
        return time.time(), str(gpu_pool._wait_for(client, dispatched).state_name)

    began, ended = waits()
    first, second = told()[:2]
    assert ended == "Cancelled"
    assert first - began >= 1
    assert second - first >= 2

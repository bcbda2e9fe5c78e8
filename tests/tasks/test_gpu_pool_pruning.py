"""A training in the pool that is ended early: its run is cancelled, but not the run that somebody else waits for."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect import Task, flow
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import LogCreate, WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings
from prefect.states import Cancelled, Cancelling, Completed, Pending, Running
from prefect.types import DateTime

from storage.artefact import Recipe
from storage.errors import WorldError
from tasks import gpu_pool
from tasks.caching import RunContext
from tasks.epochs import Pruned, watched_epochs

HERE = RunContext(store="/stores/here")
EPOCH = {"epoch": 1, "epochs": 9, "validation_mae": 0.5, "seconds": 1.0}


@pytest.fixture
def client(server, monkeypatch) -> Iterator[SyncPrefectClient]:
    for name in ("POLL", "ENDING"):
        monkeypatch.setattr(gpu_pool, name, 0.1)
    settings = {PREFECT_API_URL: server, PREFECT_LOGGING_TO_API_ENABLED: False}
    with temporary_settings(settings), SyncPrefectClient(server) as found:
        yield found


@pytest.fixture
def recipe() -> Recipe:
    """Of a training that nobody has asked for yet."""
    return Recipe(step="train-model", version=1, parameters={"own": uuid.uuid4().hex}, inputs={})


@pytest.fixture
def in_training(client, recipe) -> Callable[[str], FlowRun]:
    """in_training(id of a flow run): the training's run, dispatched by that flow run, after its first epoch.

    Its pool has no worker, so what becomes of it is what this process does with it.
    """

    def begin(parent: str) -> FlowRun:
        pool = client.create_work_pool(WorkPoolCreate(name=f"pool-{uuid.uuid4().hex[:8]}", type="process")).name
        deployment = client.create_deployment(client.create_flow_from_name("train"), pool, work_pool_name=pool)
        task = Task(name="train/gpu", fn=lambda: None)
        link = client.create_task_run(task, flow_run_id=parent, dynamic_key="0", state=Pending())
        run = client.create_flow_run_from_deployment(
            deployment, tags=[gpu_pool._tag(recipe, HERE.store)], parent_task_run_id=link.id
        )
        client.set_flow_run_state(run.id, Running(), force=True)
        message = json.dumps(EPOCH)
        log = LogCreate(name="x", level=20, message=message, timestamp=DateTime.now("UTC"), flow_run_id=run.id)
        client.create_logs([log])
        return run

    return begin


def another(client: SyncPrefectClient, state: Any) -> str:
    """The id of another flow run, which is in that state."""

    @flow
    def retrain() -> None: ...

    return str(client.create_flow_run(retrain, state=state).id)


def prune(_metrics: dict[str, Any]) -> None:
    raise Pruned("after 1 of 9 epochs")


@pytest.mark.parametrize(
    ("whose", "state"), [("own", "CANCELLING"), ("another's", "RUNNING"), ("one that has ended", "CANCELLING")]
)
def test_only_a_run_that_nobody_else_waits_for_is_cancelled(whose, state, client, recipe, in_training, caplog):
    @flow
    def watches() -> FlowRun:
        others = {"another's": Running(), "one that has ended": Completed()}
        run = in_training(another(client, others[whose]) if whose in others else flow_run.id)
        with watched_epochs(prune), pytest.raises(Pruned, match="after 1 of 9 epochs"):
            gpu_pool.dispatch_training(recipe, {"context": HERE})
        return client.read_flow_run(run.id)

    assert str(watches().state_type.value) == state
    assert ("has not ended it" in caplog.text) == (state == "CANCELLING")  # nobody does, here


def test_it_returns_when_the_run_has_ended(client, recipe, in_training, caplog):
    """Here it had ended before it was cancelled: its last state stays."""

    @flow
    def watches() -> FlowRun:
        run = in_training(flow_run.id)

        def prune_late(metrics: dict[str, Any]) -> None:
            client.set_flow_run_state(run.id, Completed(), force=True)
            prune(metrics)

        with watched_epochs(prune_late), pytest.raises(Pruned):
            gpu_pool.dispatch_training(recipe, {"context": HERE})
        return client.read_flow_run(run.id)

    assert watches().state_type == StateType.COMPLETED
    assert "has not ended it" not in caplog.text


def test_who_waits_for_a_run_that_another_one_ends_early_trains_it_further(client, recipe, in_training):
    """WorldError: the step's next attempt dispatches it again. A cancellation by a person is no such reason."""

    @flow
    def waits(reason: str) -> str:
        run = in_training(another(client, Running()))

        def end(_metrics: dict[str, Any]) -> None:
            client.set_flow_run_state(run.id, Cancelling(message=reason))
            client.set_flow_run_state(run.id, Cancelled(message="by the worker"))

        with watched_epochs(end), pytest.raises(Exception, match="its finished epochs are kept") as raised:
            gpu_pool.dispatch_training(recipe, {"context": HERE})
        return type(raised.value).__name__

    assert waits("ended early after 1 of 9 epochs") == WorldError.__name__
    assert waits("by a person") == "InputError"


def test_a_training_into_another_store_is_another_one(client, recipe, in_training, caplog):
    """Its model would never come here."""

    @flow
    def looks() -> list[bool]:
        in_training(flow_run.id)
        stores = [HERE.store, "/stores/there", "s3://bucket/stores/here"]
        found = [gpu_pool._active_run(client, recipe, store) for store in stores]
        return [run is not None for run in found]

    assert looks() == [True, False, False]
    assert caplog.text.count("is training it already") == 1

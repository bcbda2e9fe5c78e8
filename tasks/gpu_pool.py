"""A training on a worker of the work pool `gpu`: handed over, followed, and then found in the store."""

import time
from datetime import UTC, datetime
from typing import Any

from httpx import HTTPError
from prefect import Flow, get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterParentFlowRunId,
    FlowRunFilterState,
    FlowRunFilterStateType,
    FlowRunFilterTags,
    LogFilter,
    LogFilterFlowRunId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from storage.artefact import Recipe
from storage.errors import InputError, WorldError
from tasks.following import follower
from tasks.life import ended_if_dead, workers

DEPLOYMENT = "train/gpu"
POOL = "gpu"
SETTING = "train.where=gpu-pool"
UNDER_WAY = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING])
)

POLL = 2  # seconds
LOOK = 30  # seconds between looks whether it lives


def hand_over(recipe: Recipe, arguments: dict[str, Any]) -> None:
    """Have a training made by the deployment train/gpu, and return when it is in the store.

    One that is under way already, for a run that is no more, is followed to its end. Raises InputError at once where
    no worker is alive, WorldError where the worker died: then the next attempt goes on from the last epoch.
    """
    try:
        with get_client(sync_client=True) as client:
            run = _followed(client, _under_way(client, recipe) or _started(client, recipe, arguments))
    except HTTPError as error:
        raise WorldError(f"the server does not answer ({error}); a training under way goes on") from None
    _raise_for(run)


def cancel_with(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """A hook: the trainings that a cancelled run has handed over are cancelled, too."""
    with get_client(sync_client=True) as client:
        of_it = FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]),
            state=UNDER_WAY,
        )
        for child in client.read_flow_runs(flow_run_filter=of_it):
            client.set_flow_run_state(child.id, Cancelling(message=f"{flow_run.name} was cancelled"))


def _tag(recipe: Recipe) -> str:
    return f"training:{recipe.key[:16]}"


def _under_way(client: SyncPrefectClient, recipe: Recipe) -> FlowRun | None:
    the_same = FlowRunFilter(tags=FlowRunFilterTags(all_=[_tag(recipe)]), state=UNDER_WAY)
    found = next(iter(client.read_flow_runs(flow_run_filter=the_same)), None)
    if found is not None:
        get_run_logger().info("flow run %s of the pool %s is at it already", found.name, POOL)
    return found


def _check(client: SyncPrefectClient) -> None:
    try:
        client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise InputError(f"{SETTING}: the server has no deployment {DEPLOYMENT}; `make deploy` applies it") from None
    if not workers(client, POOL):
        raise InputError(
            f"{SETTING}: no worker of the pool {POOL} is alive; start one (`prefect worker start --pool {POOL}`), or "
            "train here (train.where=here)"
        )


def _started(client: SyncPrefectClient, recipe: Recipe, arguments: dict[str, Any]) -> FlowRun:
    _check(client)
    graphs, place = arguments["graphs"], arguments["place"]
    settings = {name: arguments[name].model_dump(mode="json") for name in ("model", "train", "split")}
    parameters = {**settings, "graphs": graphs.key, "store": place.artefacts.address, "device": place.device}
    name = f"{graphs.parameters['target']} {recipe.key[:8]}"
    # mypy takes the coroutine that it gives where there is an event loop
    run: Any = run_deployment(DEPLOYMENT, parameters=parameters, timeout=0, tags=[_tag(recipe)], flow_run_name=name)
    get_run_logger().info("handed over to the pool %s: flow run %s", POOL, name)
    return FlowRun.model_validate(run, from_attributes=True)


def _followed(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """The run when it has ended. What it tells of its epochs is told here, too."""
    follow, read, looked = follower("train-model"), 0, time.monotonic()
    lines_of = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    while True:
        run = client.read_flow_run(run.id)
        while lines := client.read_logs(lines_of, offset=read):
            read += len(lines)
            for line in lines:
                if line.message.startswith('{"epoch"'):
                    follow(line.message)
        if run.state and run.state.is_final():
            return run
        if time.monotonic() - looked > LOOK:
            looked = time.monotonic()
            if fault := ended_if_dead(client, run, datetime.now(UTC)):
                get_run_logger().warning("flow run %s: %s", run.name, fault)
        time.sleep(POLL)


def _raise_for(run: FlowRun) -> None:
    message, which = (run.state and run.state.message) or "", f"flow run {run.name} of the pool {POOL}"
    for kind in (InputError, WorldError):
        _, told, reason = message.partition(f"{kind.__name__}: ")
        if told:
            raise kind(reason)
    match run.state_type:
        case StateType.COMPLETED:
            return
        case StateType.CRASHED:
            raise WorldError(f"{which} crashed: {message}; its finished epochs are kept")
        case StateType.CANCELLED:
            raise InputError(f"{which} was cancelled; its finished epochs are kept")
    raise RuntimeError(f"{which} failed: {message}")

"""Runs a training on a worker of the work pool `gpu`: dispatches it, waits for it; the model is then in the store."""

import time
from contextlib import suppress
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
    TaskRunFilter,
    TaskRunFilterId,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import flow_run as own_flow_run
from prefect.states import Cancelling

from storage.artefact import Recipe, digest_of
from storage.errors import InputError, WorldError
from tasks.epochs import Pruned
from tasks.heartbeat import crash_if_zombie, online_workers, waiting_line
from tasks.progress import line_handler

DEPLOYMENT = "train/gpu"
POOL = "gpu"
SETTING = "train.where=gpu-pool"
ACTIVE = FlowRunFilterState(
    type=FlowRunFilterStateType(any_=[StateType.SCHEDULED, StateType.PENDING, StateType.RUNNING])
)

POLL = 2  # seconds
CHECK = 30  # seconds between checks that the run is no zombie
SILENCE = 15  # seconds without a log line or a change of state, after which the log says what is waited for
REPEAT = 30  # seconds until it says so again
ENDING = 60  # seconds to wait for the end of a cancelled run; a worker kills its process after 30
ENDED_EARLY = "ended early"


def dispatch_training(recipe: Recipe, arguments: dict[str, Any]) -> None:
    """Run a training as the deployment train/gpu, and return when its model is in the store.

    If the same training is already running, dispatched by an earlier run, this waits for that one. Raises InputError at
    once if no worker is online, and WorldError if the worker dies: the next attempt resumes from the last epoch.

    Raises Pruned if whoever watches the epochs ends the training. Its run is then cancelled to free the worker;
    one that another flow run dispatched and waits for goes on.
    """
    try:
        with get_client(sync_client=True) as client:
            run = _active_run(client, recipe, _store_of(arguments)) or _submit(client, recipe, arguments)
            try:
                run = _wait_for(client, run)
            except Pruned as pruned:
                _end_early(client, run, pruned)
                raise
            _raise_for(client, run)
    except HTTPError as error:
        raise WorldError(f"the server does not answer ({error}); a training under way goes on") from None


def cancel_dispatched(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:  # noqa: ARG001
    """Hook of a cancelled flow run: also cancel the trainings that it dispatched."""
    with get_client(sync_client=True) as client:
        of_it = FlowRunFilter(
            parent_flow_run_id=FlowRunFilterParentFlowRunId(any_=[flow_run.id]),
            state=ACTIVE,
        )
        for child in client.read_flow_runs(flow_run_filter=of_it):
            client.set_flow_run_state(child.id, Cancelling(message=f"{flow_run.name} was cancelled"))


def _store_of(arguments: dict[str, Any]) -> str:
    return str(arguments["context"].artefacts.address)


def _tag(recipe: Recipe, store: str) -> str:
    """What a training is found by: its key, and the address of the store that its model goes to.

    A server may have runs of several stores; a model in another store would not be found here.
    """
    return f"training:{recipe.key[:16]}:{digest_of(store)[:8]}"


def _active_run(client: SyncPrefectClient, recipe: Recipe, store: str) -> FlowRun | None:
    the_same = FlowRunFilter(tags=FlowRunFilterTags(all_=[_tag(recipe, store)]), state=ACTIVE)
    found = next(iter(client.read_flow_runs(flow_run_filter=the_same)), None)
    if found is not None:
        get_run_logger().info("flow run %s of the pool %s is training it already", found.name, POOL)
    return found


def _check(client: SyncPrefectClient) -> None:
    try:
        client.read_deployment_by_name(DEPLOYMENT)
    except ObjectNotFound:
        raise InputError(f"{SETTING}: the server has no deployment {DEPLOYMENT}; `make deploy` applies it") from None
    if not online_workers(client, POOL):
        raise InputError(
            f"{SETTING}: no worker of the pool {POOL} is alive; start one (`prefect worker start --pool {POOL}`), or "
            "train here (train.where=here)"
        )


def _submit(client: SyncPrefectClient, recipe: Recipe, arguments: dict[str, Any]) -> FlowRun:
    _check(client)
    graphs, context = arguments["graphs"], arguments["context"]
    settings = {name: arguments[name].model_dump(mode="json") for name in ("model", "train", "split")}
    settings["train"] |= context.placement.model_dump(mode="json")
    start = arguments["start"] and arguments["start"].key
    parameters = {
        **settings,
        "graphs": graphs.key,
        "start": start,
        "store": _store_of(arguments),
        "device": context.device,
    }
    name = f"{graphs.parameters['target']} {recipe.key[:8]}"
    tag = _tag(recipe, _store_of(arguments))
    # mypy takes the coroutine that it gives where there is an event loop
    run: Any = run_deployment(DEPLOYMENT, parameters=parameters, timeout=0, tags=[tag], flow_run_name=name)
    get_run_logger().info("dispatched to the pool %s: flow run %s", POOL, name)
    return FlowRun.model_validate(run, from_attributes=True)


def _wait_for(client: SyncPrefectClient, run: FlowRun) -> FlowRun:
    """Wait until the run ends, and return it. Log its epoch metrics, and what it waits for while it is silent."""
    handle_line, read, checked = line_handler("train-model"), 0, time.monotonic()
    silence = _Silence(client)
    lines_of = LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id]))
    while True:
        run = client.read_flow_run(run.id)
        while lines := client.read_logs(lines_of, offset=read):
            read += len(lines)
            for line in lines:
                if line.message.startswith('{"epoch"'):
                    handle_line(line.message)
        if _has_ended(run):
            return run
        silence.watch(run, read)
        if time.monotonic() - checked > CHECK:
            checked = time.monotonic()
            if reason := crash_if_zombie(client, run, datetime.now(UTC)):
                get_run_logger().warning("flow run %s: %s", run.name, reason)
        time.sleep(POLL)


def _end_early(client: SyncPrefectClient, run: FlowRun, pruned: Pruned) -> None:
    """Cancel the run and wait for its end, unless another flow run waits for it."""
    log = get_run_logger()
    if _is_of_another(client, run):
        log.info("flow run %s goes on: it was dispatched by another flow run", run.name)
        return
    client.set_flow_run_state(run.id, Cancelling(message=f"{ENDED_EARLY} {pruned}"))
    until = time.monotonic() + ENDING
    with suppress(HTTPError):  # a new attempt would train it further
        while not _has_ended(client.read_flow_run(run.id)):
            if time.monotonic() > until:
                log.warning("flow run %s was cancelled %d s ago, and its worker has not ended it", run.name, ENDING)
                return
            time.sleep(POLL)


def _is_of_another(client: SyncPrefectClient, run: FlowRun) -> bool:
    """Whether another flow run, which has not ended, dispatched the run."""
    if run.parent_task_run_id is None:
        return True
    parents = client.read_flow_runs(task_run_filter=TaskRunFilter(id=TaskRunFilterId(any_=[run.parent_task_run_id])))
    return any(str(parent.id) != own_flow_run.id and not _has_ended(parent) for parent in parents)


def _has_ended(run: FlowRun) -> bool:
    return run.state is not None and run.state.is_final()


class _Silence:
    """Logs what a run waits for after SILENCE seconds without news, and again every REPEAT seconds."""

    def __init__(self, client: SyncPrefectClient) -> None:
        self._client = client
        self._seen: tuple[object, int] | None = None
        self._next = 0.0

    def watch(self, run: FlowRun, lines: int) -> None:
        """Log the line if it is due. `lines` is the number of lines in the run's log."""
        now, seen = time.monotonic(), (run.state_type, lines)
        if seen != self._seen:
            self._seen, self._next = seen, now + SILENCE
        elif now > self._next:
            self._next = now + REPEAT
            if line := waiting_line(self._client, run, datetime.now(UTC)):
                get_run_logger().info("%s", line)


def _raise_for(client: SyncPrefectClient, run: FlowRun) -> None:
    message, which = (run.state and run.state.message) or "", f"flow run {run.name} of the pool {POOL}"
    for kind in (InputError, WorldError):
        _, found, reason = message.partition(f"{kind.__name__}: ")
        if found:
            raise kind(reason)
    match run.state_type:
        case StateType.COMPLETED:
            return
        case StateType.CRASHED:
            raise WorldError(f"{which} crashed: {message}; its finished epochs are kept")
        case StateType.CANCELLED if _was_ended_early(client, run):
            raise WorldError(
                f"{which} was ended early by the flow run that dispatched it; its finished epochs are kept"
            )
        case StateType.CANCELLED:
            raise InputError(f"{which} was cancelled; its finished epochs are kept")
    raise RuntimeError(f"{which} failed: {message}")


def _was_ended_early(client: SyncPrefectClient, run: FlowRun) -> bool:
    # The worker writes its own message into the last state.
    return any((state.message or "").startswith(ENDED_EARLY) for state in client.read_flow_run_states(run.id))

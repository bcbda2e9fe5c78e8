"""The step decorator: a Prefect task whose result is an artefact of the store, found there or made there.

The store is the only cache; Prefect's own result records are not used. The key is computed from the task's arguments,
and a hit is verified byte by byte, so the UI shows *Cached* exactly when the store has the artefact.
"""

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from prefect import Task, get_run_logger, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed
from prefect.tasks import exponential_backoff
from pydantic import BaseModel, ConfigDict, Field

from gnn.config import Placement
from storage.artefact import Artefact, Part, Recipe
from storage.errors import InputError, WorldError
from storage.store import Store
from tasks.checkpoints import shared_checkpoints
from tasks.epochs import Pruned
from tasks.observer import observer
from tasks.programs import Program, run_program
from tasks.progress import line_handler

PRUNED = "Pruned"  # the name of the state of a training that was ended early


class RunContext(BaseModel):
    """Where and how a step runs. Nothing here changes the bytes of a result, so nothing here is part of a key."""

    model_config = ConfigDict(frozen=True)

    store: str
    device: str = Field("auto", description="cpu, cuda, or auto: cuda where there is one.")
    placement: Placement = Field(Placement(), description="How a training runs: in how many processes, on what data.")
    dispatch: bool = Field(False, description="True to run the steps that support it on another work pool.")
    label: str = Field("", description="Which of several runs of one step it is, for those who watch: 2 of 5.")

    @property
    def artefacts(self) -> Store:
        """The store, with an absolute path, because programs run in other folders."""
        return Store.at(self.store).absolute()

    def file(self, artefact: Artefact, name: str) -> Path:
        """One file of an artefact."""
        return self.artefacts.path(artefact, name)


class Shard(BaseModel):
    """One file of an artefact as the input of a step. Its key contains this file's digest, not the other files'."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    name: str
    sha256: str


class Artefacts(BaseModel):
    """Several artefacts as one input of a step, by labels that are part of its key."""

    model_config = ConfigDict(frozen=True)

    by_label: dict[str, Artefact]


class Hint(BaseModel):
    """What a step may use to be done sooner. It changes no byte of the result, so it is not part of a key."""

    model_config = ConfigDict(frozen=True)


class BuildPlan(BaseModel):
    """How to build an artefact: the program to run, and the artefacts that become parts of it.

    `checkpoint_minutes` is for a program that writes checkpoints: how often they are copied to the store's URL.
    """

    program: Program
    parts: list[Part] = []
    checkpoint_minutes: float | None = None


def recipe_of(step: str, version: int, arguments: dict[str, Any]) -> Recipe:
    """The recipe of a call of a step: artefacts become inputs, by their digests; other values become parameters."""
    inputs, parameters = {}, {}
    for name, value in arguments.items():
        if isinstance(value, RunContext | Hint):
            continue
        if isinstance(value, Artefact):
            inputs[name] = value.digest
        elif isinstance(value, Shard):
            inputs[name] = value.sha256
        elif isinstance(value, Artefacts):
            inputs |= {f"{name}.{label}": artefact.digest for label, artefact in value.by_label.items()}
        else:
            parameters[name] = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return Recipe(step=step, version=version, parameters=parameters, inputs=inputs)


def artefact_of(made: Artefact) -> Artefact:
    """What a step gave that was called directly: Prefect passes the state on where the step returned one."""
    state: Any = made
    return cast(Artefact, state.result()) if isinstance(state, State) else made


def is_retryable(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """True only for a WorldError: neither a wrong input nor a bug goes away by itself."""
    return isinstance(state.result(raise_on_failure=False), WorldError)


def step(
    version: int,
    retries: int = 3,
    extra_key: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    on_complete: Callable[[Artefact, dict[str, Any], bool], None] | None = None,
    dispatch: Callable[[Recipe, dict[str, Any]], None] | None = None,
) -> Callable[[Callable[..., BuildPlan]], Task[..., Artefact]]:
    """Turn a function that returns a BuildPlan into a Prefect task whose result is an artefact of the store.

    The function is called only when the store does not have the artefact yet. Raise `version` when the same arguments
    come to give other bytes. `extra_key(arguments)` returns what the artefact depends on besides the contents of its
    inputs and its configuration (a name, a setting); unless it is empty, it becomes part of the key.
    `on_complete(artefact, arguments, found)` is called at the end; `found` is whether the store had it.
    `dispatch(recipe, arguments)` has the artefact built by a worker of another pool, into the same store; it is used
    where `RunContext.dispatch` is set.

    Where whoever watches the epochs (`tasks.epochs`) ended the training, the state is *Pruned*, without an artefact.
    """

    def decorate(plan: Callable[..., BuildPlan]) -> Task[..., Artefact]:
        name = plan.__name__.replace("_", "-")
        signature = inspect.signature(plan)

        def run_step(*args: Any, **kwargs: Any) -> Artefact:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            context = next(v for v in bound.arguments.values() if isinstance(v, RunContext))
            given = {n: v for n, v in bound.arguments.items() if not _is_left_out(signature.parameters[n], v)}
            extra = {"extra_key": key} if extra_key and (key := extra_key(bound.arguments)) else {}
            recipe = recipe_of(name, version, {**given, **extra})
            try:
                with _observed(name):
                    if dispatch is not None and context.dispatch:
                        artefact, found = get_or_dispatch(context, recipe, lambda: dispatch(recipe, bound.arguments))
                    else:
                        artefact, found = get_or_build(context.artefacts, recipe, lambda: plan(*args, **kwargs))
                    if on_complete is not None:
                        on_complete(artefact, bound.arguments, found)
            except Pruned as pruned:
                return cast(Artefact, Completed(name=PRUNED, message=str(pruned)))
            observer().finished(name, {**artefact.facts, "label": context.label}, found)
            if not found:
                return artefact
            message = f"{summary_line(artefact)}; from the store"
            return cast(Artefact, Completed(name="Cached", message=message, data=artefact))

        run_step.__name__ = plan.__name__
        run_step.__doc__ = plan.__doc__
        run_step.__signature__ = signature.replace(return_annotation=Artefact)  # type: ignore[attr-defined]
        return task(
            name=name,
            version=str(version),
            retries=retries,
            retry_delay_seconds=exponential_backoff(backoff_factor=2),
            retry_jitter_factor=0.5,
            retry_condition_fn=is_retryable,
            persist_result=False,
        )(run_step)

    return decorate


def _is_left_out(parameter: inspect.Parameter, value: Any) -> bool:
    """An option that nobody took is in no key, so that a new one changes none."""
    return value is None and parameter.default is None


@contextmanager
def _observed(name: str) -> Iterator[None]:
    observer().started(name)
    try:
        yield
    except BaseException:
        observer().failed(name)
        raise


def get_or_build(store: Store, recipe: Recipe, plan: Callable[[], BuildPlan]) -> tuple[Artefact, bool]:
    """The artefact of `recipe`, and whether the store had it. One run at a time builds it; others wait for it."""
    logger = get_run_logger()
    found = store.find(recipe.step, recipe.key, logger.warning)
    if found is None:
        with store.building(recipe.step, recipe.key) as work:
            found = store.find(recipe.step, recipe.key, logger.debug)  # another run may have built it while this waited
            if found is None:
                artefact = _build(store, recipe, plan(), work)
                logger.info("%s", summary_line(artefact))
                return artefact, False
    return found, True


def _build(store: Store, recipe: Recipe, plan: BuildPlan, work: Path) -> Artefact:
    handle_line = line_handler(recipe.step)
    with shared_checkpoints(store, recipe, work, plan.checkpoint_minutes, get_run_logger()) as log_copies:

        def on_line(line: str) -> None:
            handle_line(line)
            log_copies()

        facts = run_program(plan.program, work, on_line)
        return store.commit(recipe, work / "output", facts, plan.parts)


def get_or_dispatch(context: RunContext, recipe: Recipe, dispatch: Callable[[], None]) -> tuple[Artefact, bool]:
    """The artefact of `recipe`, and whether the store had it.

    `dispatch` returns when a worker has built it. Raises InputError if it is not in the store after that.
    """
    logger = get_run_logger()
    found = context.artefacts.find(recipe.step, recipe.key, logger.warning)
    if found is not None:
        return found, True
    dispatch()
    artefact = stored(recipe.step, recipe.key, context)
    logger.info("%s", summary_line(artefact))
    return artefact, False


def stored(step_name: str, key: str, context: RunContext) -> Artefact:
    """The artefact of a step with this key. Raises InputError if it is not in the store."""
    found = context.artefacts.find(step_name, key, get_run_logger().warning)
    if found is None:
        raise InputError(f"{context.artefacts.address}: has no {step_name} {key[:8]}; was it made in another store?")
    return found


def summary_line(artefact: Artefact) -> str:
    """One line for the log: which artefact, and the numbers that its program reported."""
    numbers = [
        f"{k} {v:,}" if isinstance(v, int) else f"{k} {v:.4g}" for k, v in artefact.facts.items() if _is_number(v)
    ]
    return f"{artefact.step} {artefact.key[:8]}: {', '.join(numbers)}".removesuffix(": ")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

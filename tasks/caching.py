"""The step decorator: a Prefect task whose result is an artefact of the store, found there or made there.

The store is the only cache. Its key is computed from the task's own arguments, and a hit is verified byte by byte,
so the UI shows *Cached* exactly when the store has the artefact; there is no second record that could disagree.
"""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from prefect import Task, get_run_logger, task
from prefect.client.schemas.objects import State, TaskRun
from prefect.states import Completed
from prefect.tasks import exponential_backoff
from pydantic import BaseModel, ConfigDict, Field

from storage.artefact import Artefact, Part, Recipe
from storage.errors import InputError, WorldError
from storage.store import Store
from tasks.following import follower
from tasks.programs import Program, run_program


class Place(BaseModel):
    """Where and how a step runs. None of it can change a byte of the result, so none of it is in a key."""

    model_config = ConfigDict(frozen=True)

    store: str
    device: str = Field("auto", description="cpu, cuda, or auto: cuda where there is one.")
    elsewhere: bool = Field(False, description="Is what can be made elsewhere handed over?")

    @property
    def artefacts(self) -> Store:
        """The store, its path absolute: programs run in other folders."""
        return Store.at(self.store).absolute()

    def file(self, artefact: Artefact, name: str) -> Path:
        """One file of an artefact."""
        return self.artefacts.path(artefact, name)


class Shard(BaseModel):
    """One file of an artefact, known by its content: the other files may change without changing this input."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    name: str
    sha256: str


class Made(BaseModel):
    """How a step that is not in the store is made: a program, and the artefacts that become parts of its own."""

    program: Program
    parts: list[Part] = []


def recipe_of(step: str, version: int, arguments: dict[str, Any]) -> Recipe:
    """The recipe that a call of a step stands for: artefacts are inputs, configuration and plain values parameters."""
    inputs, parameters = {}, {}
    for name, value in arguments.items():
        if isinstance(value, Artefact):
            inputs[name] = value.digest
        elif isinstance(value, Shard):
            inputs[name] = value.sha256
        elif isinstance(value, BaseModel) and not isinstance(value, Place):
            parameters[name] = value.model_dump(mode="json")
        elif not isinstance(value, Place):
            parameters[name] = value
    return Recipe(step=step, version=version, parameters=parameters, inputs=inputs)


def worth_retrying(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Only where the world failed: a wrong input stays wrong, and a bug stays a bug."""
    return isinstance(state.result(raise_on_failure=False), WorldError)


def step(
    version: int,
    retries: int = 3,
    told: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
    then: Callable[[Artefact, dict[str, Any], bool], None] | None = None,
    elsewhere: Callable[[Recipe, dict[str, Any]], None] | None = None,
) -> Callable[[Callable[..., Made]], Task[..., Artefact]]:
    """Make a Prefect task of a function that says how its artefact is made.

    The function is called only when the store does not have what it would make. Raise `version` when the same
    arguments come to give other bytes. `told` picks from the arguments what the step writes down of them besides their
    contents (a name, a setting): it becomes part of the key. `then` is called with the artefact, the arguments, and
    whether it was found. `elsewhere` has it made by somebody else, into the same store, where the place says so.
    """

    def decorate(plan: Callable[..., Made]) -> Task[..., Artefact]:
        name = plan.__name__.replace("_", "-")
        signature = inspect.signature(plan)

        def found_or_made(*args: Any, **kwargs: Any) -> Artefact:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            place = next(v for v in bound.arguments.values() if isinstance(v, Place))
            besides = {} if told is None else {"told": told(bound.arguments)}
            recipe = recipe_of(name, version, {**bound.arguments, **besides})
            if elsewhere is not None and place.elsewhere:
                artefact, found = made_elsewhere(place, recipe, lambda: elsewhere(recipe, bound.arguments))
            else:
                artefact, found = made_or_found(place.artefacts, recipe, lambda: plan(*args, **kwargs))
            if then is not None:
                then(artefact, bound.arguments, found)
            if not found:
                return artefact
            message = f"{line_of(artefact)}; from the store"
            return cast(Artefact, Completed(name="Cached", message=message, data=artefact))

        found_or_made.__name__ = plan.__name__
        found_or_made.__doc__ = plan.__doc__
        found_or_made.__signature__ = signature.replace(return_annotation=Artefact)  # type: ignore[attr-defined]
        return task(
            name=name,
            version=str(version),
            retries=retries,
            retry_delay_seconds=exponential_backoff(backoff_factor=2),
            retry_jitter_factor=0.5,
            retry_condition_fn=worth_retrying,
            persist_result=False,
        )(found_or_made)

    return decorate


def made_or_found(store: Store, recipe: Recipe, plan: Callable[[], Made]) -> tuple[Artefact, bool]:
    """The artefact of `recipe`, and whether the store had it; one run at a time makes it, others wait for it."""
    logger = get_run_logger()
    found = store.find(recipe.step, recipe.key, logger.warning)
    if found is None:
        with store.building(recipe.step, recipe.key) as work:
            found = store.find(recipe.step, recipe.key, logger.debug)  # another run may have made it while this waited
            if found is None:
                made = plan()
                facts = run_program(made.program, work, follower(recipe.step))
                artefact = store.commit(recipe, work / "output", facts, made.parts)
                logger.info("%s", line_of(artefact))
                return artefact, False
    return found, True


def made_elsewhere(place: Place, recipe: Recipe, make: Callable[[], None]) -> tuple[Artefact, bool]:
    """The artefact of `recipe`, and whether the store had it. Raises InputError if it is not there when it was made."""
    logger = get_run_logger()
    found = place.artefacts.find(recipe.step, recipe.key, logger.warning)
    if found is not None:
        return found, True
    make()
    artefact = stored(recipe.step, recipe.key, place)
    logger.info("%s", line_of(artefact))
    return artefact, False


def stored(step_name: str, key: str, place: Place) -> Artefact:
    """An artefact that was made before, by its key. Raises InputError if it is not in the store."""
    found = place.artefacts.find(step_name, key, get_run_logger().warning)
    if found is None:
        raise InputError(f"{place.artefacts.address}: has no {step_name} {key[:8]}; was it made in another store?")
    return found


def line_of(artefact: Artefact) -> str:
    """One line for the log: which artefact, and the numbers its program told."""
    numbers = [f"{k} {v:,}" if isinstance(v, int) else f"{k} {v:.4g}" for k, v in artefact.facts.items() if _plain(v)]
    return f"{artefact.step} {artefact.key[:8]}: {', '.join(numbers)}".removesuffix(": ")


def _plain(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

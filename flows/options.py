"""What the flows that train have in common for Prefect: the run's name, its threads, and what ends its programs."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect.runtime import flow_run

from crystals.sources.registry import target_of
from storage.errors import InputError
from tasks.gpu_pool import cancel_dispatched
from tasks.printable_logs import make_logs_printable
from tasks.programs import end_all
from tasks.runner import runner


def run_name() -> str:
    """The name of the flow run in the UI: source, target, and the day (UTC)."""
    return named(f"{datetime.now(UTC):%Y-%m-%d}")


def named(last: str) -> str:
    """The name of the flow run: source, target, and a `last` word."""
    source, target = flow_run.parameters["source"], flow_run.parameters["target"]
    with suppress(InputError):  # the run itself tells what is wrong
        target = target_of(source, target)
    return " ".join(word for word in (Path(source).name, target, last) if word)


def end_programs(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001  a worker calls hooks by these names
    """Hook of a flow run that was cancelled or crashed: kill the programs of this process."""
    end_all()


def training_flow(run_name: Callable[[], str] = run_name) -> dict[str, Any]:
    """The arguments of `@flow` but for its name; `run_name` names its runs."""
    return {
        "flow_run_name": run_name,
        "task_runner": runner(),
        "on_running": [make_logs_printable],
        "on_cancellation": [end_programs, cancel_dispatched],
        "on_crashed": [end_programs],
    }

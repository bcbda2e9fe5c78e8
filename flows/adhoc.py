"""Runs flows for the command line, in this process: with the server of PREFECT_API_URL, or a temporary one."""

import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from pkgutil import resolve_name
from typing import Any, TypeVar, cast

from crystals.sources.registry import ResolvedSource, check_source
from flows.config import RetrainConfig
from flows.interrupt import remember_run
from flows.show import result
from flows.start import start_folder
from flows.temporary_server import STARTED_BY
from storage.artefact import Artefact
from storage.errors import InputError, WorldError
from storage.registry import CARD, Card, Run
from storage.schemas import safe_name
from storage.store import Store
from storage.studies import STUDY, StudyCard

BEST = "best.yaml"  # the settings that a sweep found
MODEL = "model"  # a fact of a sweep whose model is an ensemble: the folder in the store

T = TypeVar("T")


def retrain_here(config: RetrainConfig, *, verbose: bool = False) -> list[str]:
    """Run the flow. Returns the last lines to print: the test error beside the baseline's, and the report's place."""
    run = watched(config, lambda ready: run_here(config, ready), verbose=verbose)
    report = Store.at(config.store).location(run.card.report)
    return [f"{run.card.run}: {run.card.target}", result(run), f"report: {report}"]


def study_here(entry: str, config: RetrainConfig, *, verbose: bool = False) -> list[str]:
    """Run the flow `entry` (`module:name`), which makes a study. Returns the last lines to print."""
    kind = entry.rpartition(":")[2]
    made = watched(config, lambda ready: run_flow(entry, config, ready), verbose=verbose, study=kind)
    store = Store.at(config.store)
    card = StudyCard.model_validate_json(store.path(made, STUDY).read_bytes())
    note = f"  ({card.note})" if card.note else ""
    lines = [card.run, f"{card.headline}{note}", f"report: {store.location(f'{made.step}/{made.key}/report.html')}"]
    if MODEL in made.facts:
        lines.append(f"model: {store.location(made.facts[MODEL])}")
    if BEST in made.files:
        command = ["cgcnn", "retrain", "--config", str(store.path(made, BEST))]
        command += [] if config.store == "store" else ["--store", config.store]
        what = "trainings are" if MODEL in made.facts else "training is"
        lines.append(f"next: {shlex.join(command)}  (its {what} in the store)")
    return lines


def watched(
    config: RetrainConfig, run: Callable[[Callable[[], object]], T], *, verbose: bool, study: str | None = None
) -> T:
    """What `run` returns. It is called with what it has to call when Prefect is ready; `study` names a flow of one.

    Where stderr is a terminal it shows the steps, and Prefect's log goes to a file in the store; with `verbose` its
    lines appear on the terminal, too.
    """
    resolved = check_source(config.source, config.target, config.materials_project, config.auxiliary)
    store = Store.at(config.store)
    store.check()
    if not sys.stderr.isatty():
        return run(lambda: None)
    from tasks.terminal import STEPS, display, print_log, study_steps  # rich is needed by nobody else

    url = os.environ.get("PREFECT_API_URL")
    opening = f"connecting to Prefect at {url} ..." if url else "starting Prefect ..."
    steps = STEPS if study is None else study_steps(study)
    with display(_log_file(store, resolved), opening, steps) as shown:
        return run(lambda: print_log(shown) if verbose else None)


def _log_file(store: Store, resolved: ResolvedSource) -> Path:
    """The log file of this run, in the store's folder; for a store at a URL, in the folder of its local copy."""
    words = [f"{datetime.now(UTC):%Y-%m-%dT%H-%M-%S}", Path(resolved.source).name, resolved.target]
    return store.root / "logs" / f"{safe_name('-'.join(words))[:200]}.log"


def run_here(config: RetrainConfig, prefect_ready: Callable[[], object] = lambda: None) -> Run:
    """Run `retrain` as `run_flow` does. Returns the finished run with its card."""
    promoted = run_flow("flows.retrain:retrain", config, prefect_ready)
    path = Store.at(config.store).path(promoted, CARD)
    return Run(finished=promoted.created, card=Card.model_validate_json(path.read_bytes()))


def run_flow(entry: str, config: RetrainConfig, prefect_ready: Callable[[], object] = lambda: None) -> Artefact:
    """Run a flow (`module:name`) against the server of PREFECT_API_URL, or a temporary one; returns its artefact.

    A source or a model to start from that does not exist raises InputError before Prefect is imported; `prefect_ready`
    is called before the run.
    """
    check_source(config.source, config.target, config.materials_project, config.auxiliary)
    store = Store.at(config.store)
    store.check()
    start_folder(config, store)
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    if "PREFECT_API_URL" not in os.environ:
        # Who ends the whole process group ends the temporary server, too: then there is nobody to try again with.
        os.environ.setdefault("PREFECT_CLIENT_MAX_RETRIES", "1")
        os.environ[STARTED_BY] = str(os.getpid())
    from prefect.client.schemas.objects import State

    from tasks.runner import DASK

    if "PREFECT_API_URL" in os.environ:
        _check_server(os.environ["PREFECT_API_URL"])
    elif DASK in os.environ:
        raise InputError(f"{DASK}: its workers cannot see a temporary server; set PREFECT_API_URL (`make serve`)")
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_without_traceback)
    flow: Any = resolve_name(entry)  # imports Prefect, which reads the lines above
    prefect_ready()
    settings = {name: getattr(config, name) for name in type(config).model_fields}
    made = flow.with_options(on_running=[*flow.on_running_hooks, remember_run])(**settings)
    if isinstance(made, State):  # the last step's, where the store had its artefact
        made = made.result()
    return cast(Artefact, made)


def _check_server(url: str) -> None:
    """Raises WorldError if no server answers at `url`, InputError if it refuses the password."""
    from httpx import HTTPError, HTTPStatusError
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            client.read_work_pools(limit=1)
    except HTTPStatusError as error:
        if error.response.status_code in {401, 403}:
            raise InputError(f"PREFECT_API_URL={url}: refused; PREFECT_API_AUTH_STRING is its password") from None
        raise WorldError(f"PREFECT_API_URL={url}: {error}") from None
    except (HTTPError, RuntimeError) as error:  # the second is the client's, when it asks for the server's version
        raise WorldError(f"PREFECT_API_URL={url}: no server answers: {error}") from None


def _without_traceback(record: logging.LogRecord) -> bool:
    """Log filter that drops the traceback of an InputError or WorldError: their message says what to do."""
    if record.exc_info and isinstance(record.exc_info[1], InputError | WorldError):
        record.exc_info = None
    return True


def leave_on_sigterm() -> None:
    """From now on SIGTERM ends this process as an exit does, so that Prefect's temporary server is stopped, too."""
    signal.signal(signal.SIGTERM, _leave)


def _leave(*_: object) -> None:
    """Handler of SIGTERM: exit in the normal way, so that Prefect stops its temporary server."""
    sys.exit(128 + signal.SIGTERM)

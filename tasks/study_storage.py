"""Opens the storage of an Optuna study: a SQLite file, or a database by its URL, whose password stays here.

A heartbeat tells other machines that a trial is alive: one without it for GRACE seconds is of a process that died.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial
from sqlalchemy.exc import DBAPIError, NoSuchModuleError

from storage.errors import InputError, WorldError
from tasks.database_url import HIDDEN, masked, parse_url, secrets_in

HEARTBEAT, GRACE = 30, 120  # seconds
BUSY = 60  # seconds for which a SQLite file may be locked by others


def run_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Add a waiting trial with the parameters of this one, and what it had reported."""
    with quiet():
        RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)(study, trial)


def open_storage(url: str, *, create: bool = True) -> RDBStorage:
    """The storage at a URL. Raises InputError if there can be none, WorldError if it does not answer.

    With `create` its tables are made if they are not there; without, that is a WorldError.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parsed = parse_url(url)
    sqlite = parsed.get_backend_name() == "sqlite"
    if sqlite and not create and not Path(parsed.database or "").is_file():
        raise WorldError(f"storage {masked(url)}: there is no such file on this machine")
    options = {"connect_args": {"timeout": BUSY}} if sqlite else {"pool_pre_ping": True}
    try:
        with quiet(), answering(url):
            return RDBStorage(
                url,
                engine_kwargs=options,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=run_again,
                skip_table_creation=not create,
            )
    except (ImportError, NoSuchModuleError):
        raise InputError(f"storage {masked(url)}: its driver is not installed; `pip install psycopg2-binary`") from None
    except RuntimeError as error:  # its tables are another version's
        raise InputError(f"storage {masked(url)}: {error}") from None


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Raises WorldError where the database of the URL does not answer in the body."""
    try:
        yield
    except (DBAPIError, StorageInternalError) as error:
        reason = str(getattr(error, "orig", None) or error.__cause__ or error).strip().partition("\n")[0]
        for secret in filter(None, secrets_in(url)):
            reason = reason.replace(secret, HIDDEN)
        raise WorldError(f"storage {masked(url)}: {reason}") from None


@contextmanager
def quiet() -> Iterator[None]:
    """Without Optuna's warnings that heartbeats are experimental, and that they are for its own loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)
        yield

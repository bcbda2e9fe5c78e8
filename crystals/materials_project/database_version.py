"""The program that looks up the current database version of the Materials Project.

It asks the heartbeat by itself: the service's client takes three seconds to import, and a run whose database has not
moved on needs nothing else of the service.
"""

import requests
from requests.exceptions import RequestException

from crystals.config import MaterialsProjectQuery
from crystals.materials_project.environment import endpoint, key_from_environment
from crystals.materials_project.retry import RetryableError, RetryPolicy, reason_of, with_retries
from crystals.sources.materials_project import MaterialsProject
from storage.errors import InputError, WorldError
from storage.program import Facts, Spec, main
from storage.text import one_line


class VersionSpec(Spec):
    """The query for which the version is looked up."""

    query: MaterialsProjectQuery
    retry: RetryPolicy = RetryPolicy(pauses=(1, 2, 4))  # nothing is lost here: the task tries again itself


def build(spec: VersionSpec) -> Facts:
    """Return the version, and the digest of version and query. Writes no file."""
    key_from_environment()  # raises before anything is asked
    version = with_retries(lambda: _version(spec.retry.timeout), spec.retry)
    return {"version": version, "contents": MaterialsProject(spec.query).contents(version)}


def _version(timeout: float) -> str:
    """The version that the heartbeat tells: to everybody, without a key."""
    address = endpoint()
    try:
        answer = requests.get(f"{address}heartbeat", timeout=timeout)
        if answer.status_code == 403:
            raise WorldError("Materials Project: the server tells no database version")
        heartbeat = answer.json()
        if "error" in heartbeat:
            raise InputError(f"Materials Project: {one_line(str(heartbeat['error']))[:300]}")
        return str(heartbeat["db_version"])
    except RequestException as error:
        raise RetryableError(f"no heartbeat from {address}: {reason_of(error)}") from None
    except (KeyError, TypeError) as error:
        what = f"the answer is not what is expected ({type(error).__name__})"
        raise RetryableError(f"no heartbeat from {address}: {what}") from None


if __name__ == "__main__":
    main(VersionSpec, build)

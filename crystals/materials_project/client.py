"""The Materials Project's own client, made to retry requests and to report errors in one line.

By itself the client raises `MPRestError` with the server's text for every failure, retries three times within a
second, and passes truncated or non-JSON bodies on to its caller. Its constructor accepts a session, so it gets one of
ours that retries with backoff.
"""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

from mp_api.client import MPRester
from mp_api.client.core.exceptions import MPRestError
from mp_api.client.core.settings import MAPI_CLIENT_SETTINGS
from pydantic import BaseModel, create_model
from pydantic_core import from_json
from requests import Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import RequestException
from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

from crystals.materials_project.retry import RetryableError, RetryPolicy, reason_of, with_retries
from storage.errors import InputError, WorldError

KEY_REFUSED = frozenset({401, 403})
WORTH_ANOTHER_TRY = frozenset({408, 429, 500, 502, 503, 504})

T = TypeVar("T")


class RetryingSession(Session):
    """The HTTP session given to the client. It retries, and remembers how many documents the server announced."""

    def __init__(self, key: str, retry: RetryPolicy) -> None:
        super().__init__()
        self.headers["x-api-key"] = key
        self.mount("http://", HTTPAdapter(max_retries=0))
        self.mount("https://", HTTPAdapter(max_retries=0))
        self._retry = retry
        self._taken = False  # whether the service has taken the key before
        self.announced = 0  # documents that fit the last query, as the server counts them

    def get(self, url: str | bytes, params: Any = None, **options: Any) -> Response:
        """Send a GET request with retries. Returns a response that has a complete JSON body, or a final error status.

        Raises InputError if the server refuses the API key, WorldError if all tries failed.
        """
        options |= {"params": params, "timeout": self._retry.timeout}
        return with_retries(lambda: self._asked(url, options), self._retry)

    def _asked(self, url: str | bytes, options: dict[str, Any]) -> Response:
        try:
            answer = super().get(url, **options)
        except RequestException as error:
            raise RetryableError(reason_of(error)) from None
        if answer.status_code in KEY_REFUSED and self._taken:
            raise RetryableError(f"the server answered {answer.status_code} to a key that it has taken before")
        if answer.status_code in KEY_REFUSED:
            raise InputError(
                f"Materials Project refused the API key ({answer.status_code}); see MP_API_KEY, "
                "a valid one is at https://next-gen.materialsproject.org/api"
            )
        if answer.status_code in WORTH_ANOTHER_TRY:
            raise RetryableError(
                f"the server answered {answer.status_code} {answer.reason or ''}".strip(), wait_of(answer)
            )
        if answer.status_code == 200:
            self._count(answer)
        return answer

    def _count(self, answer: Response) -> None:
        try:
            self.announced = from_json(answer.content)["meta"]["total_doc"]
            self._taken = True
        except ValueError:
            raise RetryableError(f"an answer of {len(answer.content):,} bytes is no JSON") from None
        except (KeyError, TypeError):
            raise RetryableError("an answer has no meta.total_doc") from None


def wait_of(answer: Response) -> float:
    """Seconds to wait according to `Retry-After`, given as a number or a date; 0 if absent or not readable."""
    try:
        return Retry().get_retry_after(answer.raw) or 0.0
    except InvalidHeader:
        return 0.0


class Service:
    """A connected client and its session. Raises WorldError if the service's heartbeat does not answer."""

    def __init__(self, key: str, retry: RetryPolicy) -> None:
        self._retry, self._session = retry, RetryingSession(key, retry)
        self.client = call_heartbeat(
            lambda: MPRester(key, session=self._session, use_document_model=False, mute_progress_bars=True), retry
        )
        self.version = str(self.client.db_version)
        if not self.version:
            raise WorldError("Materials Project: the server tells no database version")

    def version_now(self) -> str:
        """The service's database version at this moment; `version` is the one at the time of connecting."""
        self.client._get_heartbeat_info.cache_clear()  # the client has no other way to ask again
        return str(call_heartbeat(lambda: self.client._get_heartbeat_info(self.client.endpoint), self._retry)[0])

    def search(self, rester: Any, fields: Sequence[str], **arguments: Any) -> list[dict[str, Any]]:
        """The raw documents that the rester's `search` finds.

        Raises InputError if the service refuses the query, WorldError if fewer documents arrive than it announced.
        """
        # For each field of each search the client computes its model's whole JSON schema, to see whether the field is
        # there: a second for ours. Documents come raw, so a model of the names alone will do; documents.py has emmet's.
        rester.search.__self__.document_model = model_of_names(tuple(fields))
        try:
            found = rester.search(fields=list(fields), **arguments)
        except MPRestError as error:
            raise InputError(f"Materials Project did not take the query: {shortened(error)}") from None
        expected = self._session.announced
        if isinstance(arguments.get("num_chunks"), int):
            expected = min(expected, arguments["num_chunks"] * arguments["chunk_size"])
        if len(found) < expected:
            raise WorldError(f"Materials Project: {len(found):,} documents came, the server counts {expected:,}")
        return list(found)


@cache
def model_of_names(names: tuple[str, ...]) -> type[BaseModel]:
    """A pydantic model with fields of these names that accept any value."""
    return create_model("Fields", **dict.fromkeys(names, (Any, None)))  # type: ignore[call-overload, no-any-return]


def call_heartbeat(ask: Callable[[], T], retry: RetryPolicy) -> T:
    """Call `ask`, which requests the service's heartbeat outside of our session, with retries and a time-out."""

    def listen() -> T:
        try:
            with _no_longer_than(retry.timeout):
                return ask()
        except MPRestError as error:
            raise InputError(f"Materials Project: {shortened(error)}") from None
        except (RequestException, TimeoutError) as error:
            raise RetryableError(f"no heartbeat from {MAPI_CLIENT_SETTINGS.ENDPOINT}: {reason_of(error)}") from None
        except (ValueError, KeyError, TypeError) as error:
            what = f"the answer is not what the client expects ({type(error).__name__})"
            raise RetryableError(f"no heartbeat from {MAPI_CLIENT_SETTINGS.ENDPOINT}: {what}") from None

    return with_retries(listen, retry)


def shortened(error: BaseException) -> str:
    """An exception's text on one line; of a long text only the beginning and the end."""
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:200]} … {text[-90:]}"


@contextmanager
def _no_longer_than(seconds: float) -> Iterator[None]:
    """Raise TimeoutError in the block after so many seconds. The client requests the heartbeat without a time-out."""

    def late(*_: object) -> None:
        raise TimeoutError

    former = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def chunked(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Split `items` into pieces of at most `size`, in order."""
    for start in range(0, len(items), size):
        yield items[start : start + size]

"""Tries a request again after a failure that may pass, with pauses in between. Does not load the service's client."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from storage.errors import WorldError

log = logging.getLogger(__name__)

T = TypeVar("T")


class RetryPolicy(BaseModel):
    """Time-out of a request and pauses between retries (s). Does not change the bytes of the result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    timeout: float = 60.0  # without a byte
    pauses: tuple[float, ...] = (1, 2, 4, 8, 16, 32)
    longest: float = 600.0  # pause, whatever the server asks for: it may be hours


class RetryableError(Exception):
    """The request failed, but may succeed later: the server asks for `wait` seconds before."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def with_retries(call: Callable[[], T], retry: RetryPolicy) -> T:
    """Call `call` until it does not raise RetryableError, and return its result.

    Raises WorldError if the last try fails, too.
    """
    for pause in retry.pauses:
        try:
            return call()
        except RetryableError as again:
            wait = max(pause, min(again.wait, retry.longest))
            asked = f" (it asks for {again.wait:,.0f} s)" if again.wait > wait else ""
            log.warning("Materials Project: %s; again in %.3g s%s", again, wait, asked)
            time.sleep(wait)
    try:
        return call()
    except RetryableError as again:
        tries = len(retry.pauses) + 1
        raise WorldError(f"Materials Project: {again} ({tries} tries); what came is kept, start again later") from None


def reason_of(error: BaseException) -> str:
    """The exception types behind a failed request, without the object addresses in urllib3's messages."""
    cause: BaseException | None = error
    names: list[str] = []
    while cause is not None and len(names) < 4:
        names.append(type(cause).__name__)
        within = (*cause.args[:1], getattr(cause, "reason", None))
        cause = next((each for each in within if isinstance(each, BaseException)), None)
    return f"the request failed ({', '.join(dict.fromkeys(names))})"

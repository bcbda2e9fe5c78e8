"""Lets the caller of a training watch its epochs while it runs, and end it. Imports no Prefect."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

OnEpoch = Callable[[dict[str, Any]], None]

_watcher: ContextVar[OnEpoch | None] = ContextVar("watcher", default=None)


class Pruned(Exception):
    """Raised by a watcher: the training is to end now. Its checkpoints stay, so that the same training goes on later.

    The message says why, in one line.
    """


@contextmanager
def watched_epochs(on_epoch: OnEpoch) -> Iterator[None]:
    """While the body runs, `on_epoch` gets the metrics of each epoch of a training that it calls in this thread.

    They are those of `gnn.loop.fit`. Of a training that is found in the store there are none.
    """
    token = _watcher.set(on_epoch)
    try:
        yield
    finally:
        _watcher.reset(token)


def notify_watcher(metrics: dict[str, Any]) -> None:
    """Pass the metrics of an epoch on to whoever watches. Raises Pruned if the training is to end."""
    on_epoch = _watcher.get()
    if on_epoch is not None:
        on_epoch(metrics)

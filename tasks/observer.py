"""The one who is told what the steps of this process do: nobody, or the display of a terminal. Imports no Prefect."""

from typing import Any


class Observer:
    """Is told of each step when it starts, gets on, and ends. This one ignores it all: the log says enough.

    The calls may come from any thread.
    """

    draws = False  # does it draw on the terminal?

    def started(self, step: str) -> None:
        """A step looks into the store, and runs if its artefact is not there. Told again at each retry."""

    def progressed(self, step: str, unit: str, done: int, total: int, note: str = "") -> None:
        """So many of `total` units (epochs, shards, documents) are done; `note` is a number of the last one."""

    def finished(self, step: str, facts: dict[str, Any], found: bool) -> None:
        """The step's artefact is in the store, with these facts; `found` is whether it was there before."""

    def failed(self, step: str) -> None:
        """The step raised an error. It may be tried again."""

    def close(self) -> None:
        """Nothing more is to be drawn: what follows on the terminal is somebody else's."""


_observers = [Observer()]


def observe_with(observer: Observer) -> None:
    """Tell this one from now on, and no longer the one before."""
    _observers[0] = observer


def observer() -> Observer:
    """The one who is told."""
    return _observers[0]

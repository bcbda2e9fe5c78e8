"""Who is notified of the steps of this process: nobody, or the display of a terminal. Imports no Prefect."""

from typing import Any


class Observer:
    """Notified when a step starts, makes progress, and ends. This class ignores it: a log is enough without a terminal.

    Steps may call it from any thread.
    """

    draws = False  # True if it draws on the terminal

    def expect(self, steps: dict[str, str]) -> None:
        """The steps to come, by their names as they are shown; without it they are those of `retrain`."""

    def started(self, step: str) -> None:
        """An attempt of a step starts: it looks for its artefact in the store, and builds it if it is not there."""

    def progressed(self, step: str, unit: str, done: int, total: int, note: str = "") -> None:
        """`done` of `total` units (epochs, shards, documents) are done; `note` is a text beside it (an error)."""

    def finished(self, step: str, facts: dict[str, Any], found: bool) -> None:
        """The step's artefact is in the store, with these facts; `found` is True if it was there before."""

    def failed(self, step: str) -> None:
        """The attempt raised an error. The step may be started again."""

    def close(self) -> None:
        """Stop drawing, and leave the terminal as it was."""


_observers = [Observer()]


def observe_with(observer: Observer) -> None:
    """Notify `observer` from now on, instead of the one before."""
    _observers[0] = observer


def observer() -> Observer:
    """The observer that is notified now."""
    return _observers[0]

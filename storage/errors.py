"""The two kinds of failure that are not bugs of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.text import one_line

if TYPE_CHECKING:
    from pydantic import ValidationError


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Where the first fault that pydantic found is, with dots (empty for the whole), and what is wrong."""
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ".".join(map(str, fault["loc"])), fault["msg"].removeprefix("Value error, ")


class InputError(Exception):
    """The user's input is wrong. The message is one line: where, what, and what is allowed. A retry cannot help.

    Names from a file may be in it: what a terminal would act on is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class WorldError(Exception):
    """The network, the disk, the memory or a worker failed. The step may be tried again."""

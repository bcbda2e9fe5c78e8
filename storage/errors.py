"""The two kinds of failure that are not bugs of this package."""

from storage.text import one_line


class InputError(Exception):
    """The user's input is wrong. The message is one line: where, what, and what is allowed. A retry cannot help.

    Names from a file may be in it: what a terminal would act on is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(one_line(message))


class WorldError(Exception):
    """The network, the disk, the memory or a worker failed. The step may be tried again."""

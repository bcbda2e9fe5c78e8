"""The two kinds of failure that are not our bugs."""


def printable(text: str) -> str:
    """`text` on one line, its control characters and lone surrogates escaped as Python writes them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in " ".join(text.split()))


class InputError(Exception):
    """What the user gave is wrong: one line that says where, what, and what is allowed. Retrying cannot help.

    Names from a file may be in it: what a terminal would not print is escaped.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class WorldError(Exception):
    """Network, disk, memory or a killed worker failed: the step may be tried again."""

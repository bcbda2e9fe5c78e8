"""The two kinds of failure that are not bugs of this package."""


class InputError(Exception):
    """The user's input is wrong. The message is one line: where, what, and what is allowed. A retry cannot help."""


class WorldError(Exception):
    """The network, the disk, the memory or a worker failed. The step may be tried again."""

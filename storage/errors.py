"""The two kinds of failure that are not our bugs."""


class InputError(Exception):
    """What the user gave is wrong: one line that says where, what, and what is allowed. Retrying cannot help."""


class WorldError(Exception):
    """Network, disk, memory or a killed worker failed: the step may be tried again."""

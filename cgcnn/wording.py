"""Errors of a command's options, said in Python's words."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from storage.errors import InputError


@contextmanager
def arguments_not_options() -> Iterator[None]:
    """`--store nowhere: no such folder` becomes `store nowhere: …`."""
    try:
        yield
    except InputError as error:
        raise InputError(re.sub(r"^--(?=(model|store|source|target|config)\b)", "", str(error))) from None

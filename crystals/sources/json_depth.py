"""Limits how deep a JSON file may nest.

ijson keeps the path of the current value as text, so its memory grows with the square of the depth: 100 kB of `[`
would need more than a machine has.
"""

import itertools
from typing import IO

DEEPEST = 200  # levels; a pymatgen structure in Matbench's layout has about ten
STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
NOT_BRACKETS = bytes(set(range(256)) - set(STEP))


class DepthLimited:
    """Wraps a binary JSON file for reading, and stops where it nests deeper than DEEPEST levels."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._depth = 0
        self._in_string = False
        self._rest = b""  # backslashes at the end of what was read: they escape what comes next

    def read(self, size: int = -1) -> bytes:
        """The next `size` bytes. Raises ValueError if they nest too deep."""
        chunk = self._file.read(size)
        self._follow(chunk)
        return chunk

    def _follow(self, chunk: bytes) -> None:
        text = self._rest + chunk
        whole = text.rstrip(b"\\")
        self._rest = text[len(whole) :]
        unescaped = whole.replace(rb"\\", b"").replace(rb"\"", b"")
        pieces = unescaped.split(b'"')
        outside = b"".join(pieces[self._in_string :: 2])
        self._in_string ^= len(pieces) % 2 == 0
        brackets = outside.translate(None, NOT_BRACKETS)
        depths = list(itertools.accumulate((STEP[each] for each in brackets), initial=self._depth))
        if max(depths) > DEEPEST:
            raise ValueError(f"nests deeper than {DEEPEST} levels")
        self._depth = depths[-1]

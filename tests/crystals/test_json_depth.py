"""The limit to the depth of JSON counts brackets as JSON does: not those in texts, whatever is escaped there."""

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crystals.sources.json_depth import DEEPEST, DepthLimited

TEXTS = st.text(alphabet='[]{}"\\ax\n', max_size=12)
VALUES = st.recursive(TEXTS | st.none(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner))


def read(content: bytes, size: int) -> bytes:
    file = DepthLimited(io.BytesIO(content))
    return b"".join(iter(lambda: file.read(size), b""))


@given(VALUES, st.integers(1, 9), st.integers(0, 3))
def test_what_is_read_is_what_was_written_up_to_the_limit(value, size, beyond):
    """Around the value lie as many lists as are allowed, or more; its own depth is found by walking through it."""

    def depth(of) -> int:
        inside = of.values() if isinstance(of, dict) else of if isinstance(of, list) else None
        return 0 if inside is None else 1 + max(map(depth, inside), default=0)

    around = DEEPEST - depth(value) + beyond
    content = ("[" * around + json.dumps(value) + "]" * around).encode()
    if beyond:
        with pytest.raises(ValueError, match="nests deeper than 200 levels"):
            read(content, size)
    else:
        assert read(content, size) == content

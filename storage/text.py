"""Text that can be shown: what was read from a file may hold terminal escape sequences."""

import re
import unicodedata

# Control and formatting characters, lone surrogates, line and paragraph separators: they move the cursor, change
# colours, reverse the reading direction, or cannot be encoded at all.
UNPRINTABLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def printable(text: str) -> str:
    """`text` with each character that a terminal would act on written out, as in `\\x1b`; \\n and \\t stay."""
    if text.isprintable():
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c) not in UNPRINTABLE else _escaped(c) for c in text)


def is_utf8(name: str) -> bool:
    """Whether the name of a file can be written: in Python, bytes that are no UTF-8 are lone surrogates."""
    return not any(unicodedata.category(character) == "Cs" for character in name)


def one_line(text: str) -> str:
    """`text` as one printable line: each run of spaces, tabs and line breaks becomes one space."""
    return printable(re.sub(r"[ \t\r\n]+", " ", text).strip(" "))


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "backslashreplace").decode("ascii")

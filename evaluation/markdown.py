"""Tables and text as GitHub-flavoured Markdown, for the Prefect UI."""

import re
from collections.abc import Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: slice = slice(1, None)) -> str:
    """A table; the columns `numbers` are aligned right."""
    aligned_right = range(len(head))[numbers]
    rule = ["---:" if n in aligned_right else "---" for n in range(len(head))]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def escaped(text: str) -> str:
    """`text` on one line, escaped so that Markdown shows it as it is: no HTML, no links, no new table cells."""
    line = " ".join(str(text).split())[:300]
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*_{}\[\]()#|~!])", r"\\\1", line)

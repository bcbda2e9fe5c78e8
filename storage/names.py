"""What the files of a store may name: steps, keys, digests, files, and other artefacts.

Every name is checked when it is read, so that a name which leads out of the store is never used as a path.
"""

from datetime import datetime
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

STEP = "[a-z][a-z0-9-]*"
HEX = "[0-9a-f]{64}"
PART_OF_PATH = "[A-Za-z0-9_][A-Za-z0-9._-]*"  # no leading dot: neither "..", nor a file of a step in the making
FILE = f"{PART_OF_PATH}(/{PART_OF_PATH})*"

StepName = Annotated[str, StringConstraints(pattern=f"^{STEP}$")]
Digest = Annotated[str, StringConstraints(pattern=f"^{HEX}$")]  # sha256, as 64 hexadecimal digits; a key is one
FileName = Annotated[str, StringConstraints(pattern=f"^{FILE}$")]  # of an artefact, relative to its folder
ArtefactPath = Annotated[str, StringConstraints(pattern=f"^{STEP}/{HEX}$")]  # relative to the store's root
FilePath = Annotated[str, StringConstraints(pattern=f"^{STEP}/{HEX}/{FILE}$")]  # relative to the store's root


def _without_breaks(text: str) -> str:
    return " ".join(text.splitlines())


Line = Annotated[str, AfterValidator(_without_breaks)]  # a line break in it would look like a line of ours


def _is_stamp(text: str) -> str:
    if not 1970 <= datetime.fromisoformat(text).year < 2200:
        raise ValueError("is no time between 1970 and 2200")
    return text


Stamp = Annotated[str, AfterValidator(_is_stamp)]  # ISO 8601


def split_path(path: str) -> tuple[str, str]:
    """Step and key of an ArtefactPath."""
    step, _, key = path.partition("/")
    return step, key

"""The main function that all steps' programs share: `python -m crystals.graphs SPEC.json`.

A program reads its spec, writes its files to `spec.output`, and writes the numbers that it reports to
`<spec.scratch>/facts.json`. Facts describe a run (counts, seconds); they are not part of the artefact's bytes.
Exit codes: 0 done; 2 InputError, one line on stderr; 75 WorldError, a retry may help.
"""

import atexit
import errno
import gc
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict

from storage.errors import InputError, WorldError
from storage.text import one_line

INPUT_IS_WRONG = 2
TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h

ENDS_WITH_PARENT = "CGCNN_ENDS_WITH_PARENT"  # set by who holds the other end of the program's standard input

PROGRESS = "progress"  # the first key of a line that tells how far a program is

Facts = dict[str, Any]


class Spec(BaseModel):
    """The fields of every program's spec: the folder of its files, and a folder that the next attempt finds again."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    output: Path
    scratch: Path


S = TypeVar("S", bound=Spec)


def main(spec_type: type[S], build: Callable[[S], Facts]) -> None:
    """Run `build` on the spec named by the first argument and exit with one of the codes above."""
    leave_without_collection()
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_OneLine("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {build.__module__} SPEC.json")
    if ENDS_WITH_PARENT in os.environ:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    spec = spec_type.model_validate_json(Path(sys.argv[1]).read_text())
    spec.output.mkdir(parents=True, exist_ok=True)
    spec.scratch.mkdir(parents=True, exist_ok=True)
    try:
        facts = build(spec)
    except InputError as error:
        exit_with(str(error), INPUT_IS_WRONG)
    except (WorldError, MemoryError) as error:
        exit_with(str(error) or type(error).__name__, TRY_AGAIN)
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EIO}:
            raise
        exit_with(str(error), TRY_AGAIN)
    else:
        write_atomically(spec.scratch / "facts.json", json.dumps(facts))


def leave_without_collection() -> None:
    """From now on this process exits without a last search for garbage: through all of torch it takes half a second."""
    atexit.register(gc.freeze)


class _OneLine(logging.Formatter):
    """The message of a record as one printable line, whatever names from the user's files are in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))


def _end_with_parent() -> None:
    """End this process group when the parent dies: its end of the pipe is then closed, even if it was killed."""
    os.read(sys.stdin.fileno(), 1)  # not through the buffer: its lock would break the interpreter's exit
    os.killpg(0, signal.SIGKILL)


def progress(what: str, done: int, total: int) -> None:
    """Report progress to the parent process: one line of JSON on stdout. `total` 0: it is not known."""
    print(json.dumps({PROGRESS: what, "done": done, "total": total}), flush=True)


def exit_with(message: str, code: int) -> None:
    """End the process with one line on stderr."""
    sys.stdout.flush()
    sys.stderr.write(one_line(message) + "\n")
    sys.stderr.flush()
    sys.exit(code)


def write_atomically(path: Path, text: str) -> None:
    """Write a file by rename: if the process or the machine stops, it has either its old content or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)

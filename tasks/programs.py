"""Runs a step's program as a child process in its own process group, and passes its output on line by line.

If the kernel kills the child for its memory, only this step is retried, and a finished child gives all its memory back.
Imports no Prefect, because `cgcnn predict` uses it too.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from json import loads
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic_core import to_json

from storage.errors import InputError, WorldError
from storage.program import ENDS_WITH_PARENT, INPUT_IS_WRONG, TRY_AGAIN
from storage.text import printable

# Threads spin while they wait for each other, by default so long that on a busy machine a training takes twenty times
# as long; where they never spin, waking them takes half the time of a training on small graphs. So: a little.
SPINS_BRIEFLY = {"GOMP_SPINCOUNT": "10000"}

_running: set[subprocess.Popen[str]] = set()


class Program(BaseModel):
    """A module to run with `python -m`, and the fields of its spec other than `output` and `scratch`.

    `secrets` are passed in the program's environment, and replaced by *** in every line that it prints. A program that
    prints no line for `silence` seconds hangs, and is ended; None lets it be silent for as long as it likes.
    """

    model_config = ConfigDict(frozen=True)

    module: str
    spec: dict[str, Any]
    secrets: dict[str, SecretStr] = {}
    silence: float | None = None

    def shown(self, line: str) -> str:
        """A line of the program's output as it may be shown: printable, with *** in place of a secret."""
        for secret in self.secrets.values():
            line = line.replace(secret.get_secret_value(), "***")
        return printable(line)


class ProgramFailed(Exception):
    """The program raised an unexpected exception: a bug of ours. The message has the end of its traceback."""


def run_program(program: Program, work: Path, on_line: Callable[[str], None]) -> dict[str, Any]:
    """Run `program` in the folder `work`; it writes its files to `work/output`. Returns its facts.

    `work/scratch` keeps what a killed attempt left for the next one. `on_line` is called with each line of the standard
    output. Raises InputError or WorldError if the program ends with their exit codes, WorldError if it was killed or
    silent for too long, and ProgramFailed if it ends with any other code.
    """
    output, scratch, spec = work / "output", work / "scratch", work / "spec.json"
    shutil.rmtree(output, ignore_errors=True)
    spec.write_bytes(to_json({**program.spec, "output": output.absolute(), "scratch": scratch.absolute()}))
    stderr_tail: deque[str] = deque(maxlen=30)
    with _started(program, spec) as child, _Silence(child, program.silence) as silence:
        listener = threading.Thread(target=stderr_tail.extend, args=[child.stderr], daemon=True)
        listener.start()
        try:
            for line in child.stdout or ():
                silence.broken()
                on_line(program.shown(line.rstrip("\n")))
            code = child.wait()
        finally:
            _end(child)
            _running.discard(child)
            listener.join()
    if silence.too_long:
        raise WorldError(
            f"{program.module} printed nothing for {program.silence:g} s and was ended; what was finished is kept"
        )
    _raise_for(program.module, code, [program.shown(line.rstrip()) for line in stderr_tail if line.strip()])
    return dict(loads((scratch / "facts.json").read_text()))


class _Silence:
    """Ends a child that prints nothing for `limit` seconds."""

    def __init__(self, child: "subprocess.Popen[str]", limit: float | None) -> None:
        self._child, self._limit = child, limit
        self._heard = time.monotonic()
        self._over = threading.Event()
        self.too_long = False

    def __enter__(self) -> Self:
        if self._limit is not None:
            threading.Thread(target=self._watch, args=[self._limit], daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()

    def broken(self) -> None:
        """The child has said something."""
        self._heard = time.monotonic()

    def _watch(self, limit: float) -> None:
        while not self._over.wait(min(limit / 10, 5.0)):
            if time.monotonic() - self._heard > limit:
                self.too_long = True
                _end(self._child)
                return


def end_all() -> None:
    """Kill all programs that this process runs, each with its process group."""
    for child in list(_running):
        _end(child)


def _started(program: Program, spec: Path) -> "subprocess.Popen[str]":
    secrets = {name: secret.get_secret_value() for name, secret in program.secrets.items()}
    own = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", ENDS_WITH_PARENT: "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", program.module, str(spec)],
        stdin=subprocess.PIPE,  # never written to: the child ends itself when this end of the pipe is closed
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**SPINS_BRIEFLY, **os.environ, **own, **secrets},
    )
    _running.add(child)
    return child


def _end(child: "subprocess.Popen[str]") -> None:
    if child.stdin is not None:
        child.stdin.close()  # ranks of a training are in process groups of their own: this ends them
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return  # the group has ended already
    child.wait()


def _raise_for(module: str, code: int, stderr_tail: list[str]) -> None:
    last = stderr_tail[-1] if stderr_tail else ""
    if code == INPUT_IS_WRONG:
        raise InputError(last)
    if code == TRY_AGAIN:
        raise WorldError(last)
    if code < 0:
        raise WorldError(
            f"{module} was killed by {signal.Signals(-code).name} (memory?); what was finished is kept, start it again"
        )
    if code:
        raise ProgramFailed(f"{module} ended with exit code {code}\n" + "\n".join(stderr_tail))

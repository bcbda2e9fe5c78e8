"""Runs a step's program as a child process in its own process group, and passes its output on line by line.

If the kernel kills the child for its memory, only this step is retried, and a finished child gives all its memory back.
Imports no Prefect, because `cgcnn predict` uses it too.
"""

import codecs
import io
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from json import loads
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, SecretStr
from pydantic_core import to_json

from storage.errors import InputError, WorldError
from storage.program import ENDS_WITH_PARENT, INPUT_IS_WRONG, TRY_AGAIN
from storage.text import printable

# Threads spin while they wait for each other, by default so long that on a busy machine a training takes twenty times
# as long; where they never spin, waking them takes half the time of a training on small graphs. So: a little.
SPINS_BRIEFLY = {"GOMP_SPINCOUNT": "10000"}

_running: set[subprocess.Popen[bytes]] = set()


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
        for secret in filter(None, (each.get_secret_value() for each in self.secrets.values())):
            line = line.replace(secret, "***")
        return printable(line)


class ProgramFailed(Exception):
    """The program raised an unexpected exception: a bug of ours. The message has the end of its traceback."""


def run_program(program: Program, work: Path, on_line: Callable[[str], None]) -> dict[str, Any]:
    """Run `program` in the folder `work`; it writes its files to `work/output`. Returns its facts.

    `work/scratch` keeps what a killed attempt left for the next one. `on_line` is called with each line of the standard
    output. Raises InputError or WorldError if the program ends with their exit codes, WorldError if it was killed or
    silent for too long, and ProgramFailed if it ends with any other code.
    """
    (facts,) = run_together([(program, work)], on_line)
    return facts


def run_together(programs: Sequence[tuple[Program, Path]], on_line: Callable[[str], None]) -> list[dict[str, Any]]:
    """Run programs at the same time, each as `run_program` does. The first that fails ends the others."""
    with ExitStack() as all_running:
        children = [all_running.enter_context(_running_child(program, work)) for program, work in programs]
        failed = _first_failure(children, on_line)
    if failed is not None:
        _raise_for(failed.program.module, failed.process.returncode, failed.last_words())
    return [dict(loads((work / "scratch" / "facts.json").read_text())) for _, work in programs]


@dataclass
class _Child:
    program: Program
    process: "subprocess.Popen[bytes]"
    stderr_tail: deque[str] = field(default_factory=lambda: deque(maxlen=30))
    heard: float = field(default_factory=time.monotonic)

    @property
    def patience(self) -> float:
        """Seconds for which it may still be silent; a day where nobody minds."""
        if self.program.silence is None or self.process.poll() is not None:
            return 86_400.0
        return max(0.0, self.heard + self.program.silence - time.monotonic())

    def last_words(self) -> list[str]:
        return [self.program.shown(line.rstrip()) for line in self.stderr_tail if line.strip()]


@contextmanager
def _running_child(program: Program, work: Path) -> Iterator[_Child]:
    output, scratch, spec = work / "output", work / "scratch", work / "spec.json"
    shutil.rmtree(output, ignore_errors=True)
    spec.write_bytes(to_json({**program.spec, "output": output.absolute(), "scratch": scratch.absolute()}))
    with _started(program, spec) as process:
        child = _Child(program, process)
        errors = io.TextIOWrapper(process.stderr, encoding="utf-8", errors="replace")  # type: ignore[type-var]
        listener = threading.Thread(target=child.stderr_tail.extend, args=[errors], daemon=True)
        listener.start()
        try:
            yield child
        finally:
            _end(process)
            _running.discard(process)
            listener.join()


def _first_failure(children: Sequence[_Child], on_line: Callable[[str], None]) -> _Child | None:
    """Pass on the lines of all children until each has ended; the first that ended with an error, at once."""
    with selectors.DefaultSelector() as outputs:
        for child in children:
            outputs.register(child.process.stdout, selectors.EVENT_READ, (child, _Lines()))  # type: ignore[arg-type]
        while outputs.get_map():
            ready = outputs.select(min(child.patience for child in children))
            for key, _ in ready:
                key.data[0].heard = time.monotonic()
            _check_silence(children)
            for key, _ in ready:
                source: _Child = key.data[0]
                chunk = os.read(key.fd, 65536)
                for line in key.data[1].of(chunk):
                    on_line(source.program.shown(line))
                if not chunk:
                    outputs.unregister(key.fileobj)
                    if source.process.wait():
                        return source
    return None


def _check_silence(children: Sequence[_Child]) -> None:
    """Raise WorldError for a child that has said nothing for as long as it may; whoever runs it ends it then."""
    for child in children:
        if child.patience <= 0 and child.process.poll() is None:
            raise WorldError(
                f"{child.program.module} printed nothing for {child.program.silence:g} s and was ended; what was "
                "finished is kept"
            )


class _Lines:
    """Bytes as they come → whole lines; an empty chunk is the end."""

    def __init__(self) -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder = io.IncrementalNewlineDecoder(decoder, translate=True)
        self._rest = ""

    def of(self, chunk: bytes) -> list[str]:
        *lines, self._rest = (self._rest + self._decoder.decode(chunk, final=not chunk)).split("\n")
        if not chunk and self._rest:
            lines.append(self._rest)
        return lines


def end_all() -> None:
    """Kill all programs that this process runs, each with its process group."""
    for child in list(_running):
        _end(child)


def _started(program: Program, spec: Path) -> "subprocess.Popen[bytes]":
    secrets = {name: secret.get_secret_value() for name, secret in program.secrets.items()}
    own = {"PYTHONSAFEPATH": "1", "PYTHONUNBUFFERED": "1", ENDS_WITH_PARENT: "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", program.module, str(spec)],
        stdin=subprocess.PIPE,  # never written to: the child ends itself when this end of the pipe is closed
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env={**SPINS_BRIEFLY, **os.environ, **own, **secrets},
    )
    _running.add(child)
    return child


def _end(child: "subprocess.Popen[bytes]") -> None:
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

"""A real Prefect server for the session, a small table of crystals, and `cgcnn` as its users run it."""

import functools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Cgcnn = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def environment(server) -> dict[str, str]:
    """The environment of a command that talks to the session's server, one thread a process."""
    return {**os.environ, "PREFECT_API_URL": server, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def cgcnn(environment) -> Cgcnn:
    """Runs `cgcnn` with these arguments to its end."""

    def run(*arguments: object, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "flows.cli", *map(str, arguments)]
        return subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    return run


@pytest.fixture
def dask_environment(environment) -> dict[str, str]:
    """The environment of a Dask cluster; a test may give it another one."""
    return environment


@pytest.fixture
def dask(request, dask_environment, free_port, wait_until, tmp_path) -> Iterator[tuple[str, list[Any]]]:
    """The address of a scheduler, and its workers: as many as the fixture's parameter says.

    It knows them all: a flow that begins before gives all to one.
    """
    address = f"tcp://127.0.0.1:{free_port()}"
    scheduler = ["scheduler", "--host=127.0.0.1", f"--port={address.rpartition(':')[2]}", "--no-dashboard"]
    worker = ["worker", address, "--nthreads=1", "--no-nanny", "--no-dashboard"]
    commands = [scheduler, *[worker] * request.param]
    logs = [tmp_path / f"dask-{number}" for number in range(len(commands))]
    started = []
    for command, path in zip(commands, logs, strict=True):
        with path.open("w") as log:
            dask = [sys.executable, "-m", "dask", *command]
            started.append(subprocess.Popen(dask, env=dask_environment, stdout=log, stderr=log))
    for process, path in zip(started[1:], logs[1:], strict=True):
        wait_until(lambda path=path: "Registered to" in path.read_text(), process, path)
    yield address, started[1:]
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def ask(server, ask_server) -> Callable[..., Any]:
    """The session's server's answer."""
    return functools.partial(ask_server, server)


@pytest.fixture(scope="session")
def small() -> list[str]:
    """Options that make a run of the whole flow a matter of seconds."""
    return [
        "--set=checks.max_rejected=0.2",
        "--set=train.epochs=30",  # a second; after it the model is clearly better than one that learned nothing
        "--set=model.atom_fea_len=8",
        "--set=model.h_fea_len=8",
        "--set=split.validation=0.2",
        "--set=split.test=0.2",
    ]


@pytest.fixture(scope="session")
def states() -> Callable[[subprocess.CompletedProcess[str]], dict[str, str]]:
    """Step → the state in which its task runs ended, as the log tells it; *Cached* only if all of them were."""

    def read(run: subprocess.CompletedProcess[str]) -> dict[str, str]:
        ended: dict[str, str] = {}
        for step, state in re.findall(r"Task run '([a-z-]+)-[0-9a-f]{3}'\s+- Finished in state\s+(\w+)", run.stderr):
            if step == "champion":  # looked up in every run: what it finds may have changed
                continue
            ended[step] = state if ended.get(step, "Cached") == "Cached" else ended[step]
        return ended

    return read


@pytest.fixture(scope="session")
def trained(environment, crystals, small, tmp_path_factory) -> tuple[Path, "subprocess.CompletedProcess[str]"]:
    """A store with one finished run, and what the run said. To be copied, or only read.

    The first child of its graph step died as the kernel's memory killer would have it.
    """
    folder = tmp_path_factory.mktemp("trained")
    mark = folder / "killed"
    (folder / "sitecustomize.py").write_text(
        "import os, pathlib, signal, sys\n"
        f"mark = pathlib.Path({str(mark)!r})\n"
        "if 'crystals.graphs' in sys.orig_argv and not mark.exists():\n"
        "    mark.touch()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    store = folder / "store"
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "retrain", f"--source={crystals}", f"--store={store}", *small],
        env={**environment, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert mark.exists()
    return store, done

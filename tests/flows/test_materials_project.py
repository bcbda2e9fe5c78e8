"""`cgcnn retrain --source materials-project` as its users run it, against a service on loopback."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "flows.cli", "retrain", "--source=materials-project"]
BLOCK = "from prefect.blocks.system import Secret; Secret(value='{}').save('mp-api-key', overwrite=True)"
WRONG = "wrongwrongwrongwrongwrongwrong12"


@pytest.fixture
def start(materials_project, environment, tmp_path, small) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts the command in a process group of its own; its output goes to a file."""

    def begin(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
        told = {**environment, **materials_project.environment, **variables}
        command = [*COMMAND, f"--store={tmp_path / 'store'}", *small, "--set=train.epochs=1", *arguments]
        with (tmp_path / "log").open("w") as log:
            return subprocess.Popen(command, env=told, stdout=log, stderr=log, text=True, start_new_session=True)

    return begin


@pytest.fixture
def finished(start, tmp_path) -> Callable[..., tuple[int, str]]:
    """Runs the command to its end: exit code and output."""

    def run(*arguments: str, **variables: str) -> tuple[int, str]:
        code = start(*arguments, **variables).wait(300)
        return code, (tmp_path / "log").read_text()

    return run


def made(store: Path, step: str) -> set[str]:
    """The artefacts of a step that the store has."""
    return {path.parent.name for path in store.glob(f"{step}/*/manifest.json")}


def everything(*folders: Path) -> dict[str, bytes]:
    """Every file under the folders."""
    return {str(path): path.read_bytes() for folder in folders for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def kept(tmp_path, tmp_path_factory) -> list[Path]:
    """Where a run could leave a key: its store and log, and the server's database and files."""
    return [tmp_path, *tmp_path_factory.getbasetemp().glob("server*"), Path(os.environ["PREFECT_HOME"])]


def test_without_a_key_or_with_a_wrong_one(finished, materials_project, kept):
    code, log = finished()
    assert code == 2
    assert "no API key; set MP_API_KEY, or make the Prefect Secret block mp-api-key" in log.splitlines()[-1]
    assert "structures" not in materials_project.tell()
    materials_project.fails("summary", "status", status=401, times=1000)  # with the key in the answer's text
    code, log = finished(MP_API_KEY=WRONG)
    assert code == 2
    assert "refused the API key (401)" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert [name for name, content in everything(*kept).items() if WRONG.encode() in content] == []


def test_killed_resumed_and_updated(start, finished, materials_project, environment, tmp_path, kept):
    """The key comes from the Secret block of the server that the runs talk to."""
    materials_project.tell(count=1700)
    subprocess.run([sys.executable, "-c", BLOCK.format(materials_project.key)], env=environment, check=True)
    store = tmp_path / "store"

    materials_project.fails("summary", "slow", after=4, seconds=60)  # two pages of the listing, two chunks
    run = start()
    until = time.monotonic() + 120
    while len(list(store.glob("work/download-*/scratch/chunk-*.parquet"))) < 2:
        assert time.monotonic() < until
        assert run.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.1)
    os.killpg(run.pid, signal.SIGKILL)
    run.wait()
    assert made(store, "download") == set()
    materials_project.tell(failures=[])
    code, log = finished()
    assert code == 0, log
    assert "1,000 documents are here from an earlier attempt" in log
    (rows,) = map(int, re.findall(r"Materials Project 2025.09.25: ([\d,]+) new", log.replace(",", "")))
    assert materials_project.tell()["structures"] == rows - 1000
    shards = made(store, "graph-shard")
    assert len(shards) == 2

    code, log = finished()
    assert code == 0
    assert "structures" not in materials_project.tell()
    assert re.findall(r"Task run '([a-z-]+)-\w{3}' - Finished in state Completed", log) == [
        "database-version",
        "champion",
    ]

    materials_project.tell(versions=["2025.09.25", "2025.11.01"], changed=0.0005)
    code, log = finished()
    assert code == 0
    (changed,) = map(int, re.findall(r"2025.11.01: 0 new (\d+) changed 0 removed", log.replace(",", "")))
    assert 1 <= changed <= 3
    assert materials_project.tell()["structures"] < 40  # and what could not be read before
    now = made(store, "graph-shard")
    assert 1 <= len(now - shards) <= changed
    assert len(re.findall(r"graph-shard-\w+' - Finished in state Cached", log)) == 2 - len(now - shards) == 1
    assert "Materials Project database 2025.11.01" in log
    page = max(store.glob("report/*/report.html"), key=lambda path: path.stat().st_mtime).read_text()
    assert "include_gnome" in page  # what was asked
    assert [name for name, content in everything(*kept).items() if materials_project.key.encode() in content] == []

"""`cgcnn retrain` in a real terminal, and Ctrl-C in and outside of one."""

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

STOPPED = "cgcnn: stopped; what was finished is kept, the same command goes on from there"
ENDLESS = ["--set=train.epochs=10000", "--set=train.seed=1"]


class Run:
    """A command in a terminal of its own, or with pipes; `said` is what it printed, without control sequences."""

    def __init__(self, command: list[str], environment: dict[str, str], columns: int | None) -> None:
        self.mark = environment["MARK"]
        if columns is None:
            self._output, end = os.pipe()
            self.process = subprocess.Popen(command, env=environment, stdout=end, stderr=end)
        else:
            self._output, end = pty.openpty()
            fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
            self.process = subprocess.Popen(
                command, env=environment, stdin=end, stdout=end, stderr=end, start_new_session=True, preexec_fn=_own
            )
        self._terminal = columns is not None
        os.close(end)
        os.set_blocking(self._output, False)
        self._said = b""

    def said(self) -> str:
        """All of it until now."""
        try:
            while more := os.read(self._output, 65536):
                self._said += more
        except (BlockingIOError, OSError):  # nothing yet, or a terminal that nobody has open any more
            pass
        lines = self._said.decode().replace("\r\n", "\n").replace("\r", "\n")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", lines)

    def wait(self, reached: Callable[[], Any]) -> None:
        """Until then, but not for ever."""
        until = time.monotonic() + 180
        while not reached():
            assert time.monotonic() < until, self.said()
            self.said()  # a full pipe would stop it
            time.sleep(0.05)

    def press_ctrl_c(self) -> list[str]:
        """Press Ctrl-C and wait for the end. Returns what came after it besides the display and an epoch's line."""
        before = len(self.said())
        if self._terminal:
            os.write(self._output, b"\x03")
        else:
            self.process.send_signal(signal.SIGINT)
        self.wait(lambda: self.process.poll() is not None)
        lines = self.said()[before:].replace("^C", "").splitlines()
        return [line for line in lines if line.strip() and not line.startswith("{") and not _of_display(line)]

    def left(self) -> list[str]:
        """Processes that this command has started, its own included."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"MARK={self.mark}".encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found


def _own() -> None:
    """Make standard input the terminal of this session: there Ctrl-C is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _of_display(line: str) -> bool:
    words = r"(download|validate|graphs|train|evaluate|compare|report|promote) +(running|waiting|made|stopped)"
    return re.match(rf"{words}|starting Prefect|connecting to|\s*━", line.strip()) is not None


@pytest.fixture
def start(environment, crystals, small, trained, tmp_path) -> Iterator[Callable[..., Run]]:
    """Starts `cgcnn retrain` on a copy of the store that has everything."""
    started: list[Run] = []
    store = shutil.copytree(trained[0], tmp_path / "store")

    def begin(*options: str, columns: int | None = 80, **variables: str) -> Run:
        told = {**environment, "TERM": "xterm-256color", "MARK": str(tmp_path), **variables}
        told = {name: value for name, value in told.items() if value}
        command = [sys.executable, "-m", "flows.cli", "retrain", f"--source={crystals}", f"--store={store}"]
        started.append(Run([*command, *small, *options], told, columns))
        return started[-1]

    yield begin
    for run in started:
        run.process.kill()
        run.process.wait()
        os.close(run._output)


def test_a_line_for_each_step_and_the_result_at_the_end(start, trained, tmp_path):
    run = start(columns=60)
    run.wait(lambda: run.process.poll() is not None)
    said = run.said()
    assert run.process.returncode == 0, said
    ended = re.findall(r"^(\w+) +from the store +\d+\.\d s  (.*)$", said, re.MULTILINE)
    steps = ["download", "validate", "graphs", "train", "evaluate", "compare", "report", "promote"]
    assert [step for step, _ in ended] == steps
    assert dict(ended)["download"].strip() == "60 rows"
    assert "Finished in state" not in said
    last = "".join(said.splitlines()[-6:])
    assert trained[1].stdout.splitlines()[-2][:40] in last
    assert "report.html" in last
    (log,) = (tmp_path / "store" / "logs").glob("*.log")
    assert "Finished in state Cached" in log.read_text()


def test_an_error_is_one_line_that_names_the_log(start, tmp_path):
    run = start("--set=checks.max_rejected=0")
    run.wait(lambda: run.process.poll() is not None)
    assert run.process.returncode == 2
    (log,) = (tmp_path / "store" / "logs").glob("*.log")
    told = run.said().partition("cgcnn: ")[2]
    assert "checks.max_rejected" in told
    assert told.replace("\n", "").endswith(f"(log: {log})")
    assert re.search(r"^validate +failed", run.said(), re.MULTILINE)


@pytest.mark.parametrize("columns", [80, None], ids=["terminal", "pipe"])
def test_ctrl_c_in_the_training(start, ask, tmp_path, columns):
    run = start(*ENDLESS, columns=columns)
    run.wait(lambda: re.search(r"of 10,000 epochs|\"epoch\": 1,", run.said()))
    assert any("gnn.train" in line for line in run.left())
    assert run.press_ctrl_c() == [STOPPED]
    assert run.process.returncode == 130
    assert run.left() == []
    # Runs of deployments that nobody started yet have a time of start, too: the next one.
    begun = {"state": {"type": {"not_any_": ["SCHEDULED"]}}}
    newest = ask("flow_runs/filter", flow_runs=begun, sort="START_TIME_DESC", limit=1)[0]
    assert newest["state_type"] == "CANCELLED"
    tasks = ask("task_runs/filter", flow_runs={"id": {"any_": [newest["id"]]}})
    assert "RUNNING" not in {task["state_type"] for task in tasks}
    assert list(tmp_path.glob("store/work/train-model-*/scratch/*"))


def test_ctrl_c_while_a_temporary_server_starts(start, tmp_path):
    run = start(PREFECT_API_URL="", PREFECT_HOME=str(tmp_path / "home"))
    run.wait(lambda: any("uvicorn" in line for line in run.left()))
    assert run.press_ctrl_c() == [STOPPED]
    assert run.process.returncode == 130
    assert run.left() == []

"""A Prefect server with UI, the work pool, the deployments, a worker, and the store's reports, on this machine alone.

    python deployments/serve.py [--store store] [--port 4200] [--reports-port 4280]

Ctrl-C ends it all. What is configured stays in Prefect's own database; started again, it finds it there.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import FrameType
from typing import NoReturn

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
PREFECT = [sys.executable, "-m", "prefect"]
POOL = "cpu"
DEFAULTS = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1", "NO_PROXY": HOST}


def main() -> None:
    """Start everything, say where it is, and wait for the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("store"), help="the folder of every run's results")
    parser.add_argument("--port", type=int, default=4200, help="of the server and its UI")
    parser.add_argument("--reports-port", type=int, default=4280, help="of the reports, read-only")
    options = parser.parse_args()
    store = options.store.absolute()
    reports = store / "report"
    reports.mkdir(parents=True, exist_ok=True)
    ui = f"http://{HOST}:{options.port}"
    os.environ.update(
        PREFECT_API_URL=f"{ui}/api",
        PREFECT_SERVER_UI_API_URL="/api",  # else the UI calls port 4200, whatever the server's is
        CGCNN_STORE=str(store),
        CGCNN_REPORTS_URL=f"http://{HOST}:{options.reports_port}",
    )
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if answers(f"{ui}/api/health"):
        stop(f"port {options.port}: a server answers there already; --port takes another one")
    children = Children()
    children.start([*PREFECT, "server", "start", "--host", HOST, "--port", str(options.port)])
    children.wait_until(f"{ui}/api/health")
    children.once([*PREFECT, "work-pool", "create", POOL, "--type", "process", "--overwrite"])
    children.once(
        [*PREFECT, "--no-prompt", "deploy", "--all", "--prefect-file", str(HERE / "prefect.yaml")], HERE.parent
    )
    children.start([*PREFECT, "worker", "start", "--pool", POOL])
    files = [sys.executable, "-m", "http.server", str(options.reports_port), "--bind", HOST, "--directory"]
    children.start([*files, str(reports)])
    print(f"\nUI {ui}\nreports {os.environ['CGCNN_REPORTS_URL']}\nstore {store}\nCtrl-C stops it all\n", flush=True)
    children.watch()


class Children:
    """Processes that end with this one, each the leader of a group of its own."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        signal.signal(signal.SIGINT, self._leave)
        signal.signal(signal.SIGTERM, self._leave)

    def start(self, command: list[str]) -> None:
        """Start one."""
        self._running.append(subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL))

    def once(self, command: list[str], folder: Path | None = None) -> None:
        """Run a command to its end; if it fails, show what it said and end everything."""
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
            self.end()
            stop(f"{' '.join(command[1:5])} failed")

    def wait_until(self, address: str, seconds: float = 120) -> None:
        """Return when the address answers; end everything when it does not."""
        until = time.monotonic() + seconds
        while not answers(address):
            if time.monotonic() > until or self._ended():
                self.end()
                stop(f"{address} does not answer")
            time.sleep(0.3)

    def watch(self) -> NoReturn:
        """Wait; when one ends by itself, end the others too."""
        while not (ended := self._ended()):
            time.sleep(0.5)
        self.end()
        stop(f"{' '.join(ended[0].args[1:4])} ended by itself")  # type: ignore[index]

    def end(self) -> None:
        """The last one first: a worker takes leave of the server. Who does not go is killed, with its group."""
        for child in reversed(self._running):
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(20)
            kill_group(child.pid)
        self._running.clear()

    def _ended(self) -> list["subprocess.Popen[bytes]"]:
        return [child for child in self._running if child.poll() is not None]

    def _leave(self, _signal: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        self.end()
        sys.exit(0)


def kill_group(leader: int) -> None:
    """Nobody of the group is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def answers(address: str) -> bool:
    """Whether the address gives 200."""
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def stop(message: str) -> NoReturn:
    """One line on stderr, and out."""
    sys.exit(f"serve: {message}")


if __name__ == "__main__":
    main()

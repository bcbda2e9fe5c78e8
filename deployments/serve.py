"""Starts a Prefect server with UI, work pools, deployments and workers, and serves the store's reports.

    python deployments/serve.py [--store store] [--port 4200] [--reports-port 4280] [--gpu-worker]

Ctrl-C ends all of it. What was configured in the UI stays in Prefect's database, and is there at the next start.
"""

import argparse
import contextlib
import http.client
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

from storage.store import Store

HERE = Path(__file__).resolve().parent
HERE_ALONE = "127.0.0.1"
PREFECT = [sys.executable, "-m", "prefect"]
DEFAULTS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "NO_PROXY": HERE_ALONE,
    "PREFECT_WORKER_QUERY_SECONDS": "2",  # Prefect's 10 are for many workers: here somebody waits for the run to start
}


def main() -> None:
    """Start everything, print the addresses, and wait until Ctrl-C or until one of the processes ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="store", help="the folder of every run's results, or its URL")
    parser.add_argument("--port", type=int, default=4200, help="of the server and its UI")
    parser.add_argument("--reports-port", type=int, default=4280, help="of the reports, read-only")
    parser.add_argument(
        "--gpu-worker",
        action=argparse.BooleanOptionalAction,
        help="start a worker for the pool gpu (default: where this machine has a GPU)",
    )
    parser.add_argument("--host", default=HERE_ALONE, help="who may come in (default: this machine alone)")
    options = parser.parse_args()
    password = os.environ.get("PREFECT_SERVER_API_AUTH_STRING")
    if options.host != HERE_ALONE and not password:
        stop(f"--host {options.host} lets others run code here: set PREFECT_SERVER_API_AUTH_STRING (docs/group.md)")
    store = Store.at(options.store).address
    gpu = Path("/dev/nvidia0").exists() if options.gpu_worker is None else options.gpu_worker
    ui = f"http://{HERE_ALONE}:{options.port}"
    os.environ.update(
        PREFECT_API_URL=f"{ui}/api",
        PREFECT_SERVER_UI_API_URL="/api",  # else the UI calls port 4200, whatever the server's is
        CGCNN_STORE=store,
    )
    os.environ.setdefault("CGCNN_REPORTS_URL", f"http://{HERE_ALONE}:{options.reports_port}")
    if password:
        os.environ.setdefault("PREFECT_API_AUTH_STRING", password)  # what is started here comes in, too
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    if answers(f"{ui}/api/health"):
        stop(f"port {options.port}: a server answers there already; --port takes another one")
    children = Children()
    server = [sys.executable, str(HERE / "server.py"), "server", "start"]
    children.start([*server, "--host", options.host, "--port", str(options.port)])
    children.wait_until(f"{ui}/api/health")
    children.once([sys.executable, str(HERE / "apply.py"), "--store", store])
    children.start([sys.executable, str(HERE / "zombie_runs.py")])
    for pool in ("cpu", "gpu") if gpu else ("cpu",):
        children.start([*PREFECT, "worker", "start", "--pool", pool])
    files = [sys.executable, str(HERE / "reports.py"), "--store", store, "--port", str(options.reports_port)]
    children.start(files)
    print(f"\nUI {ui}\nreports {os.environ['CGCNN_REPORTS_URL']}\nstore {store}")
    if "postgresql" not in os.environ.get("PREFECT_SERVER_DATABASE_CONNECTION_URL", ""):
        print("database SQLite: for one person; PostgreSQL for several people or many workers (docs/group.md)")
    if not gpu:
        print("no worker for the pool gpu (--gpu-worker starts one)")
    print("Ctrl-C stops it all\n", flush=True)
    children.watch()


class Children:
    """Child processes, each the leader of a process group of its own. They end with this process."""

    def __init__(self) -> None:
        self._running: dict[subprocess.Popen[bytes], str] = {}
        signal.signal(signal.SIGINT, self._leave)
        signal.signal(signal.SIGTERM, self._leave)

    def start(self, command: list[str]) -> None:
        """Start a child process."""
        child = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)
        self._running[child] = " ".join(command[1:4])

    def once(self, command: list[str]) -> None:
        """Run a command and wait for it; if it fails, end all children and exit."""
        if subprocess.run(command, check=False).returncode:
            self.end()
            stop(f"{' '.join(command[1:5])} failed")

    def wait_until(self, address: str, seconds: float = 120) -> None:
        """Return when the address answers; after `seconds`, or if a child ended, end all children and exit."""
        until = time.monotonic() + seconds
        while not answers(address):
            if time.monotonic() > until or self._ended():
                self.end()
                stop(f"{address} does not answer")
            time.sleep(0.3)

    def watch(self) -> NoReturn:
        """Wait until a child ends by itself; then end the others and exit."""
        while not (ended := self._ended()):
            time.sleep(0.5)
        self.end()
        stop(f"{ended[0]} ended by itself")

    def end(self) -> None:
        """Interrupt the children, the last one first, so that workers sign off; kill their groups after 20 s."""
        for child in reversed(self._running):
            child.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(20)
            kill_group(child.pid)
        self._running.clear()

    def _ended(self) -> list[str]:
        return [name for child, name in self._running.items() if child.poll() is not None]

    def _leave(self, _signal: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
        self.end()
        sys.exit(0)


def kill_group(leader: int) -> None:
    """Kill all processes of a process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def answers(address: str) -> bool:
    """Whether a GET of the address is answered with 200 within 2 s. Exits if what answers is no web server."""
    try:
        with urllib.request.urlopen(address, timeout=2) as answer:
            return bool(answer.status == 200)
    except http.client.HTTPException:
        stop(f"{address}: something else than a web server answers there; --port and --reports-port take another port")
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def stop(message: str) -> NoReturn:
    """Exit with one line on stderr."""
    sys.exit(f"serve: {message}")


if __name__ == "__main__":
    main()

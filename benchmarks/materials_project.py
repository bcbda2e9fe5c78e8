"""A retraining from a Materials Project of generated documents, on loopback: killed three times, then updated.

    python benchmarks/materials_project.py [--documents 20000] [--whole]

The server is the one that the tests use. Killed (-9) twice in the download and once in the graph step, the run goes on
where it was; then the database gets a second version, with 3 % of its documents changed, 100 new and 50 gone. Printed
is what each run fetched and made, and the most memory that one process of it had. With `--whole` the download program
alone runs over as many documents as asked for, without kills.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

SERVICE = Path(__file__).parent.parent / "tests" / "service"
KEY = "abcdefghijklmnopqrstuvwxyz012345"
SMALL = ["--set=train.epochs=1", "--set=model.atom_fea_len=16", "--set=model.h_fea_len=16"]


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        command = [sys.executable, "server.py", str(port), str(options.documents)]
        server = subprocess.Popen(command, cwd=SERVICE)
        os.environ.update(MP_API_ENDPOINT=f"http://127.0.0.1:{port}/", MP_API_KEY=KEY, PREFECT_HOME=f"{folder}/prefect")
        try:
            wait_until(lambda: asked_of(port) is not None, 120)
            if options.whole:
                whole(Path(folder), port)
            else:
                killed_and_updated(Path(folder), port, options.documents)
        finally:
            server.kill()


def whole(folder: Path, port: int) -> None:
    """The download program alone."""
    spec = folder / "spec.json"
    spec.write_text(
        json.dumps({"output": f"{folder}/output", "scratch": f"{folder}/scratch", "query": {}, "version": "2025.09.25"})
    )
    with Memory() as memory:
        began = time.perf_counter()
        run = [sys.executable, "-m", "crystals.materials_project.download", str(spec)]
        subprocess.run(run, check=True, stdout=subprocess.DEVNULL)
    facts = json.loads((folder / "scratch" / "facts.json").read_text())
    size = (folder / "output" / "structures.parquet").stat().st_size
    print(f"{facts['rows']:,} rows in {time.perf_counter() - began:.0f} s, {size / 1e6:.0f} MB of Parquet")
    print(f"asked: {asked_of(port)}; {memory}")


def killed_and_updated(folder: Path, port: int, documents: int) -> None:
    """Four attempts at the first version, then one at the second."""
    store = folder / "store"
    chunks = lambda: len(list((store / "work").glob("download-*/scratch/chunk-*.parquet")))  # noqa: E731
    shards = lambda: len(list(store.glob("graph-shard/*/manifest.json")))  # noqa: E731
    every = documents // 500
    stops = {"download": lambda: chunks() >= every // 4, "download again": lambda: chunks() >= every // 2}
    stops |= {"graphs": lambda: shards() >= 3}
    for what, reached in stops.items():
        attempt(store, port, f"killed in {what}", reached)
    attempt(store, port, "to its end", None)
    control(port, versions=["2025.09.25", "2025.11.01"], count=documents + 100, removed=50)
    attempt(store, port, "second version", None)
    attempt(store, port, "second version again", None)


def attempt(store: Path, port: int, what: str, reached: Callable[[], bool] | None) -> None:
    """One `cgcnn retrain`, killed with its whole process group when `reached` says so."""
    asked_of(port)
    before = made(store)
    command = [sys.executable, "-m", "flows.cli", "retrain", "--source=materials-project", f"--store={store}", *SMALL]
    began = time.perf_counter()
    with (store.parent / "log").open("w") as log, Memory() as memory:
        run = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        if reached:
            wait_until(lambda: reached() or run.poll() is not None, 900)
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    if reached:
        time.sleep(2)  # its programs see that it is gone
    elif run.returncode:
        sys.exit((store.parent / "log").read_text())
    print(f"\n{what}: {time.perf_counter() - began:.0f} s; asked: {asked_of(port)}; {memory}")
    for line in (store.parent / "log").read_text().splitlines():
        if " to fetch" in line or "earlier attempt" in line or "accepted; rejected" in line:
            print("  " + line.partition(" - ")[2])
    print("  made:", {step: count - before.get(step, 0) for step, count in made(store).items()})


def made(store: Path) -> dict[str, int]:
    """How many artefacts of each step the store has."""
    steps = sorted(store.iterdir()) if store.exists() else []
    return {step.name: len(list(step.glob("*/manifest.json"))) for step in steps if step.name != "work"}


class Memory:
    """Watches the programs of this project, and remembers the most that each of them had (resident)."""

    def __enter__(self) -> "Memory":
        """Begin."""
        self.most: dict[str, int] = {}
        self._ends = threading.Event()
        self._watch = threading.Thread(target=self._look)
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._ends.set()
        self._watch.join()

    def _look(self) -> None:
        while not self._ends.wait(0.3):
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    words = (process / "cmdline").read_text().split("\0")
                    lines = (process / "status").read_text().splitlines()
                except OSError:
                    continue
                module = words[2] if len(words) > 2 and words[1] == "-m" else ""
                if module.startswith(("crystals.", "gnn.", "flows.")):
                    most = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
                    self.most[module] = max(self.most.get(module, 0), most)

    def __str__(self) -> str:
        """MB by program, the largest first."""
        ranked = sorted(self.most.items(), key=lambda item: -item[1])
        return "most memory: " + ", ".join(f"{module} {kilo / 1e3:.0f} MB" for module, kilo in ranked)


def control(port: int, **answer: Any) -> dict[str, int]:
    """Tell the server, and get what it was asked for since the last time."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/_control", json.dumps(answer).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return dict(json.load(answer))


def asked_of(port: int) -> dict[str, int] | None:
    """What the server was asked for since the last time; None while it does not answer."""
    try:
        return control(port)
    except OSError:
        return None


def wait_until(reached: Callable[[], bool], seconds: float) -> None:
    """Wait, but not for ever."""
    until = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > until:
            sys.exit("waited in vain")
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()

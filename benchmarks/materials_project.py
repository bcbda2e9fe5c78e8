"""A retraining from a Materials Project of generated documents, on loopback: killed three times, then updated.

    python benchmarks/materials_project.py [--documents 20000] [--whole]
    python benchmarks/materials_project.py --table FILE [--rows 5000] [--target formation_energy_per_atom]

The server is the one that the tests use. Killed (-9) twice in the download and once in the graph step, the run goes on
where it was; then the database gets a second version, with 3 % of its documents changed, 100 new and 50 gone. Printed
is what each run fetched and made, the most memory that one process of it had, and, for the second version, the time and
the graphs made as shares of those from nothing in an empty store, which must give the same shards. With `--whole` the
download program alone runs over as many documents as asked for, without kills.

With `--table` the two releases are of a table of one's own, and there is no server: the structures of 3 % of its rows
change in the second, of another 1 % only the target, 0.5 % are new and 0.5 % are gone.
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
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

SERVICE = Path(__file__).parent.parent / "tests" / "service"
KEY = "abcdefghijklmnopqrstuvwxyz012345"
DATABASE = ["--source=materials-project"]
TOLD = (" to fetch", "earlier attempt", "accepted; rejected", "graphs: ")  # lines of the log that are printed
SMALL = ["--set=train.epochs=1", "--set=model.atom_fea_len=16", "--set=model.h_fea_len=16"]


def main() -> None:
    """Run what the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--whole", action="store_true")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--target", default="formation_energy_per_atom")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.table:
            os.environ["PREFECT_HOME"] = f"{folder}/prefect"
            releases_of(options.table, options.rows, options.target, Path(folder))
            return
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
    """Four attempts at the first version, then one at the second, which is made from nothing in another store too."""
    store, empty = folder / "store", folder / "empty" / "store"
    chunks = lambda: len(list((store / "work").glob("download-*/scratch/chunk-*.parquet")))  # noqa: E731
    shards = lambda: len(list(store.glob("graph-shard/*/manifest.json")))  # noqa: E731
    every = documents // 500
    stops = {"download": lambda: chunks() >= every // 4, "download again": lambda: chunks() >= every // 2}
    stops |= {"graphs": lambda: shards() >= 3}
    for what, reached in stops.items():
        attempt(store, f"killed in {what}", DATABASE, port, reached)
    attempt(store, "to its end", DATABASE, port)
    control(port, versions=["2025.09.25", "2025.11.01"], count=documents + 100, removed=50)
    seconds = attempt(store, "second version", DATABASE, port)
    attempt(store, "second version again", DATABASE, port)
    nothing = attempt(empty, "second version, from nothing", DATABASE, port)
    facts = manifests(store, "download")[-1]["facts"]
    compare(store, empty, (facts["new"] + facts["changed"]) / facts["rows"], seconds / nothing)


def releases_of(table: Path, rows: int, target: str, folder: Path) -> None:
    """The first rows of a table as a release, then the next one, which is made from nothing in another store too."""
    whole = pq.read_table(table).slice(0, rows)
    part = np.random.default_rng(0).permutation(len(whole)) / len(whole)  # 3 % of the rows are below 0.03
    lattices = map(scaled, whole["lattice"].to_pylist(), np.where(part < 0.03, 1.005, 1.0))
    values = whole[target].to_numpy() + np.where((part >= 0.03) & (part < 0.04), 0.01, 0.0)
    changed = {"lattice": pa.array(lattices, whole["lattice"].type), target: pa.array(values)}
    columns = [changed.get(name, whole[name]) for name in whole.schema.names]
    second = pa.table(columns, whole.schema.names).filter(pa.array((part < 0.99) | (part >= 0.995)))
    source = [f"--source={folder / 'table.parquet'}", f"--target={target}"]
    pq.write_table(whole.filter(pa.array(part < 0.995)), folder / "table.parquet")
    attempt(folder / "store", "first release", source)
    pq.write_table(second, folder / "table.parquet")
    seconds = attempt(folder / "store", "second release", source)
    nothing = attempt(folder / "empty" / "store", "second release, from nothing", source)
    differ = float((part < 0.04).sum() + (part >= 0.995).sum()) / len(second)
    compare(folder / "store", folder / "empty" / "store", differ, seconds / nothing)


def scaled(lattice: Any, factor: float) -> Any:
    """Nested lists of numbers, all times the factor."""
    return [scaled(row, factor) for row in lattice] if isinstance(lattice, list) else lattice * factor


def compare(store: Path, empty: Path, changed: float, whole: float) -> None:
    """The second release in `store`, and from nothing in `empty`; `whole` is the ratio of the times of the two runs.

    `changed` is the share of its rows that are new or changed.
    """
    first, second = manifests(store, "graphs")
    (nothing,) = manifests(empty, "graphs")
    if second["parts"] != nothing["parts"]:
        sys.exit("the shards have not the bytes that they have from nothing")
    new = sum(part not in first["parts"] for part in second["parts"])
    rows, made, seconds = (second["facts"][name] for name in ("rows", "made", "shard_seconds"))
    step, shards = seconds_of_graphs(store) / seconds_of_graphs(empty), seconds / nothing["facts"]["shard_seconds"]
    print(f"\nsecond release: {changed:.1%} of its rows new or changed;")
    print(f"  {made:,} of {rows:,} graphs made ({made / rows:.1%}), {rows - made:,} reused;")
    print(f"  {new} of {len(second['parts'])} shards are new, with the bytes that they have from nothing")
    print(f"its time over that from nothing: {whole:.2f} the run, {step:.2f} the graph step, {shards:.2f} its programs")


def manifests(store: Path, step: str) -> list[dict[str, Any]]:
    """The manifests of a step, the oldest first."""
    found = [json.loads(path.read_text()) for path in store.glob(f"{step}/*/manifest.json")]
    return sorted(found, key=lambda manifest: str(manifest["created"]))


def seconds_of_graphs(store: Path) -> float:
    """From the end of the last validation to the end of the graph step."""
    began, ended = (datetime.fromisoformat(manifests(store, step)[-1]["created"]) for step in ("validate", "graphs"))
    return (ended - began).total_seconds()


def attempt(
    store: Path, what: str, source: list[str], port: int | None = None, reached: Callable[[], bool] | None = None
) -> float:
    """One `cgcnn retrain`, killed with its whole process group when `reached` says so. Returns its seconds."""
    store.parent.mkdir(exist_ok=True)
    if port:
        asked_of(port)
    before = made(store)
    command = [sys.executable, "-m", "flows.cli", "retrain", *source, f"--store={store}", *SMALL]
    began = time.perf_counter()
    with (store.parent / "log").open("w") as log, Memory() as memory:
        run = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        if reached:
            wait_until(lambda: reached() or run.poll() is not None, 900)
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()
    seconds = time.perf_counter() - began
    if reached:
        time.sleep(2)  # its programs see that it is gone
    elif run.returncode:
        sys.exit((store.parent / "log").read_text())
    asked = f" asked: {asked_of(port)};" if port else ""
    print(f"\n{what}: {seconds:.0f} s;{asked} {memory}", flush=True)
    for line in (store.parent / "log").read_text().splitlines():
        if any(words in line for words in TOLD):
            print("  " + line.partition(" - ")[2])
    print("  made:", {step: count - before.get(step, 0) for step, count in made(store).items()})
    return seconds


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

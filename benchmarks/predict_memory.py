"""Memory of `cgcnn predict` for more and more structures: the rows of a table, repeated with new ids.

`python benchmarks/predict_memory.py TABLE.parquet --model FOLDER [--structures 1000 10000 100000]` runs the command for
each number, with the structures in one row group, and prints the peak of resident memory of the largest of its three
processes (as `wait4` tells it), of each of them (`VmHWM`), and the time. Another version is measured with its folder as
PYTHONPATH. Linux alone has /proc.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PAUSE = 0.1  # s between two looks at /proc
PROGRAMS = ("crystals.predict_inputs", "gnn.predict")


def write_structures(source: Path, count: int, path: Path) -> None:
    """The first `count` rows of the table, repeated as often as it takes, each with an id of its own."""
    rows = pq.read_table(source)
    table = pa.concat_tables([rows] * -(-count // len(rows))).slice(0, count)
    ids = pa.array([f"s-{number}" for number in range(count)])
    pq.write_table(table.set_column(table.schema.get_field_index("material_id"), "material_id", ids), path, count)


def peak_of(process: Path) -> int:
    """The peak of a process's resident memory so far, in kB; 0 if it has ended."""
    try:
        lines = (process / "status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def programs_of(pid: int) -> dict[str, Path]:
    """The programs that a process has started, by name."""
    found = {}
    try:
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0")
            found |= {name: Path(f"/proc/{child}") for name in PROGRAMS if name in command}
    except (FileNotFoundError, ProcessLookupError):
        pass  # one has ended between two looks
    return found


def measure(command: list[str]) -> tuple[float, int, dict[str, int]]:
    """Seconds, the largest process's peak and each process's peak (kB) of a command that has to succeed."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    peaks = dict.fromkeys(("cgcnn", *PROGRAMS), 0)
    while True:
        for name, path in {"cgcnn": Path(f"/proc/{process.pid}"), **programs_of(process.pid)}.items():
            peaks[name] = max(peaks[name], peak_of(path))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(PAUSE)
    if status:
        sys.exit(f"{' '.join(command)}: exit status {status}")
    return time.perf_counter() - began, usage.ru_maxrss, peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--structures", type=int, nargs="+", default=[1000, 10_000, 100_000])
    options = parser.parse_args()
    print(f"{'structures':>10} {'seconds':>8} {'largest':>9} " + " ".join(f"{n:>24}" for n in ("cgcnn", *PROGRAMS)))
    for count in options.structures:
        with tempfile.TemporaryDirectory() as folder:
            given, output = Path(folder) / "structures.parquet", Path(folder) / "predictions.csv"
            write_structures(options.table, count, given)
            program = [sys.executable, "-m", "flows.cli", "predict", str(given)]
            seconds, largest, peaks = measure([*program, "--model", options.model, "--output", str(output)])
            with output.open("rb") as lines:
                written = sum(1 for _ in lines) - 1
        if written != count:
            sys.exit(f"{written} rows instead of {count}")
        each = " ".join(f"{peak / 1000:>21.0f} MB" for peak in peaks.values())
        print(f"{count:>10,} {seconds:>8.0f} {largest / 1000:>6.0f} MB {each}", flush=True)


if __name__ == "__main__":
    main()

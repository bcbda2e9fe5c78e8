"""Starts the ranks of a training through torch.distributed.run, the elastic launcher of PyTorch.

A rank that dies has all of them started again, from the last checkpoint. On several machines the launcher of each finds
the others by torch's own environment variables (PET_NNODES, PET_RDZV_BACKEND, PET_RDZV_ENDPOINT, PET_RDZV_ID).
"""

import json
import logging
import os
import signal
import threading
import time
from pathlib import Path

from pydantic import BaseModel
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import parse_args, run

from storage.errors import InputError, WorldError
from storage.program import Facts, Spec, write_atomically

log = logging.getLogger(__name__)

RENDEZVOUS = "PET_RDZV_ENDPOINT"  # host:port, where several machines meet
RESTARTS = 3
KINDS = {kind.__name__: kind for kind in (InputError, WorldError)}


class Failure(BaseModel):
    """Why a rank gave up: no restart would help."""

    kind: str
    message: str


def launch(spec: Spec, module: str, processes: int) -> Facts:
    """Run `module` on `spec` in so many processes on this machine; returns the facts that they reported.

    Raises what a rank raised of InputError and WorldError, and WorldError if ranks were killed more often than three
    times.
    """
    failure, facts, path = (spec.scratch / name for name in ("failure.json", "facts.json", spec_name()))
    failure.unlink(missing_ok=True)
    facts.unlink(missing_ok=True)
    write_atomically(path, spec.model_dump_json())
    try:
        run_ranks(path, module, processes)
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        if first.exitcode < 0:
            name = signal.Signals(-first.exitcode).name
            raise WorldError(f"ranks were killed by {name} (memory?) more than {RESTARTS} times") from None
        raise
    if failure.exists():
        found = Failure.model_validate_json(failure.read_text())
        raise KINDS[found.kind](found.message)
    path.unlink()  # no further machine joins it
    return dict(json.loads(facts.read_text())) if facts.exists() else {}


def spec_name() -> str:
    """Name of the file with the ranks' spec; where several machines train together, their common id is in it."""
    return f"ranks-{os.environ.get('PET_RDZV_ID', 'here')}.json"


def run_ranks(path: Path, module: str, processes: int) -> None:
    """Run this machine's ranks until all of them have ended. Raises ChildFailedError if they died too often."""
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    os.environ["NUMBA_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]  # gnn.fused said what this process has
    alone = [] if RENDEZVOUS in os.environ else ["--standalone"]
    numbers = ["--nproc-per-node", str(processes), "--max-restarts", str(RESTARTS), "--monitor-interval", "0.2"]
    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)  # a rank that fails says why itself
    run(parse_args([*alone, *numbers, "-m", module, str(path)]))


def give_up_before(spec: Spec) -> bool:
    """Has a rank found that the training cannot be done? Those that are started again end at once then."""
    return (spec.scratch / "failure.json").exists()


def give_up(spec: Spec, error: Exception) -> None:
    """Leave word for the launcher why the training cannot be done."""
    failure = Failure(kind=type(error).__name__, message=str(error))
    write_atomically(spec.scratch / "failure.json", failure.model_dump_json())


def end_with_launcher() -> None:
    """End this process, with those that it started, when the launcher is gone: each rank has a session of its own."""
    launcher = os.getppid()

    def watch() -> None:
        while os.getppid() == launcher:
            time.sleep(0.5)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()

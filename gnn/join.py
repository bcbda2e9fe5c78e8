"""A further machine of a training on several: `python -m gnn.join STORE [--nodes N] [--wait SECONDS] [-- COMMAND …]`.

STORE is the store's folder, which all machines see under one path. Where they meet, and how many they are, say torch's
own variables, which are the same on all of them: PET_NNODES, PET_RDZV_BACKEND=c10d, PET_RDZV_ENDPOINT=host:port,
PET_RDZV_ID. This waits for the training's spec to appear in the store, then runs this machine's ranks until it ends.

In an indexed Job of Kubernetes all pods have one command: the pod with index 0 runs COMMAND, which starts the training;
the others join it. The pod with index 0 is where they meet, and the job's name is the id.
"""

import argparse
import contextlib
import os
import socket
import sys
import time
from pathlib import Path

from gnn.distributed import WRITER
from gnn.launch import RENDEZVOUS, run_ranks, spec_name
from gnn.train import TrainSpec, processes_of

INDEX = "JOB_COMPLETION_INDEX"  # set by Kubernetes in the pods of an indexed Job
PORT = 29400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--nodes", default=os.environ.get("PET_NNODES"), help="machines (default: PET_NNODES)")
    parser.add_argument("--wait", type=float, default=3600, help="seconds to wait for the training (default: 3600)")
    own, command = sys.argv[1:], list[str]()
    if "--" in own:
        at = own.index("--")
        own, command = own[:at], own[at + 1 :]
    options = parser.parse_args(own)
    if options.nodes:
        os.environ["PET_NNODES"] = options.nodes
    if INDEX in os.environ:
        _meet_at_first_pod()
        if os.environ[INDEX] == "0" and command:
            os.execvp(command[0], command)
    if RENDEZVOUS not in os.environ:
        parser.error(f"{RENDEZVOUS}: names no host:port where the machines meet")
    os.environ[WRITER] = "no"
    path = _spec(options.store, options.wait)
    run_ranks(path, "gnn.train", processes_of(TrainSpec.model_validate_json(path.read_text())))


def _meet_at_first_pod() -> None:
    """Pods of an indexed Job are called <job>-<index>, and find each other by a headless service of their subdomain."""
    job, _, _ = socket.gethostname().rpartition("-")
    subdomain = socket.getfqdn().partition(".")[2]
    os.environ.setdefault("PET_RDZV_BACKEND", "c10d")
    os.environ.setdefault(RENDEZVOUS, f"{job}-0.{subdomain}:{PORT}".replace(".:", ":"))
    os.environ.setdefault("PET_RDZV_ID", job)


def _spec(store: Path, wait: float) -> Path:
    """The spec that the first machine's launcher wrote, once it is there."""
    deadline = time.monotonic() + wait
    while time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError, ValueError):  # none is there yet, or one was just removed
            found = store.glob(f"work/*/scratch/{spec_name()}")
            return max(found, key=lambda path: path.stat().st_mtime)  # a killed training leaves its own
        time.sleep(1)
    sys.exit(f"{store}: no training {os.environ.get('PET_RDZV_ID', '')} began within {wait:g} s")


if __name__ == "__main__":
    main()

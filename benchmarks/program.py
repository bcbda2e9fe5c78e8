"""Runs the training program as `cgcnn` does, and reads what it reports."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from gnn.config import ModelConfig, Placement, SplitConfig, TrainConfig
from gnn.train import TrainSpec
from storage.units import unit_of
from tasks.programs import SPINS_BRIEFLY

RESULT = ("model.safetensors", "history.parquet", "predictions.parquet")


@dataclass
class Run:
    """What a training reported: its epochs' lines, its facts, the seconds of the process, its losses, its files."""

    epochs: list[dict[str, Any]]
    facts: dict[str, Any]
    seconds: float
    history: list[dict[str, Any]]
    files: dict[str, bytes]

    @property
    def later_epochs(self) -> float:
        """Seconds an epoch, of those after the first."""
        later = [epoch["seconds"] for epoch in self.epochs[1:]]
        return float(sum(later) / len(later))


@dataclass(frozen=True)
class How:
    """How a training runs; `threads` of each process, None leaves it to the program.

    With `kill_after` the process is killed (-9) after that epoch, and a second one goes on.
    """

    placement: Placement = field(default_factory=Placement)
    device: str = "cpu"
    threads: int | None = None
    kill_after: int | None = None


def train(shards: Sequence[Path], target: str, model: ModelConfig, config: TrainConfig, how: How) -> Run:
    """Train on graph shards in a process of its own, in a folder that is gone afterwards.

    A training that fails ends the benchmark.
    """
    with tempfile.TemporaryDirectory() as folder:
        spec = TrainSpec(
            output=Path(folder, "output"),
            scratch=Path(folder, "scratch"),
            graphs=list(shards),
            graph_config={},
            target=target,
            unit=unit_of(target),
            model=model,
            train=config,
            split=SplitConfig(published=False),
            device=how.device,
            placement=how.placement,
        )
        path = Path(folder, "spec.json")
        path.write_text(spec.model_dump_json())
        if how.kill_after is not None:
            _run(path, how.threads, how.kill_after)
        began = time.perf_counter()
        lines = _run(path, how.threads, None)
        seconds = time.perf_counter() - began
        return Run(
            epochs=[line for line in lines if "epoch" in line],
            facts=json.loads((spec.scratch / "facts.json").read_text()),
            seconds=seconds,
            history=pq.read_table(spec.output / "history.parquet").to_pylist(),
            files={name: (spec.output / name).read_bytes() for name in RESULT},
        )


def _run(spec: Path, threads: int | None, kill_after: int | None) -> list[dict[str, Any]]:
    """The JSON lines that the program printed, up to the kill if there is one."""
    count = {} if threads is None else dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    environment = {**os.environ, **SPINS_BRIEFLY, **count}
    command = [sys.executable, "-m", "gnn.train", str(spec)]
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True) as child:
        for line in child.stdout or ():
            if line.startswith("{"):
                lines.append(json.loads(line))
                if kill_after is not None and lines[-1].get("epoch") == kill_after:
                    os.killpg(child.pid, signal.SIGKILL)
                    return lines
    if child.returncode:
        sys.exit(child.returncode)  # it has said why
    if kill_after is not None:
        sys.exit(f"the training ended before epoch {kill_after}, after which it was to be killed")
    return lines

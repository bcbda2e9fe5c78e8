"""What an epoch takes: time, throughput, the share of time spent waiting for data, memory."""

import re
import resource
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from gnn import distributed
from gnn.steps import Step
from storage.program import progress

QUIET = 30.0  # seconds after which a long epoch says how far it is


class Cost:
    """Counts from its creation on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.began = self.spoke = time.perf_counter()
        self.waiting = 0.0
        self.structures = self.edges = self.done = 0

    def waited(self, steps: Iterable[Step]) -> Iterator[Step]:
        """The same steps; the time that each is waited for is counted."""
        source = iter(steps)
        while True:
            began = time.perf_counter()
            step = next(source, None)
            self.waiting += time.perf_counter() - began
            if step is None:
                return
            yield step

    def count(self, step: Step, rows: int) -> None:
        """Count a step of an epoch over `rows` structures; say how far it is where nothing was said for long."""
        self.done += step.whole
        self.structures += len(step.rows) if step.weight else 0
        self.edges += step.edges if step.weight else 0
        if time.perf_counter() - self.spoke > QUIET and distributed.writes():
            self.spoke = time.perf_counter()
            progress("structures of the epoch", self.done, rows)

    def metrics(self) -> dict[str, Any]:
        """seconds, structures_per_second and edges_per_second (of all ranks), data_wait (share of the time, of the rank
        that waited longest), peak_memory_mib (of the largest rank).
        """
        seconds = time.perf_counter() - self.began
        together = distributed.total(torch.tensor([self.structures, self.edges], device=self.device)).tolist()
        worst = torch.tensor([self.waiting / seconds, peak_memory(self.device) / 2**20], device=self.device)
        wait, memory = distributed.largest(worst).tolist()
        return {
            "seconds": round(seconds, 3),
            "structures_per_second": round(together[0] / seconds, 1),
            "edges_per_second": round(together[1] / seconds),
            "data_wait": round(wait, 4),
            "peak_memory_mib": round(memory),
        }


def peak_memory(device: torch.device) -> int:
    """Bytes: the most that this process had on the GPU, or where it has none, in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        # getrusage would say what the parent had when it started this process, where that is more.
        peak = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
        return int(peak[0]) * 1024
    except OSError:  # macOS, where getrusage has bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

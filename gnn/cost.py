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


class Cost:
    """Counts from its creation on."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.began = time.perf_counter()
        self.waiting = 0.0
        self.structures = self.edges = 0

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

    def count(self, step: Step) -> None:
        """Count a step."""
        self.structures += len(step.rows) if step.weight else 0
        self.edges += step.edges if step.weight else 0

    def metrics(self) -> dict[str, Any]:
        """seconds, structures_per_second and edges_per_second (of all ranks), data_wait (share of the time, of the rank
        that waited longest), peak_memory_mib (of the largest rank).
        """
        seconds = time.perf_counter() - self.began
        together = distributed.total(torch.tensor([self.structures, self.edges])).tolist()
        worst = torch.tensor([self.waiting / seconds, peak_memory(self.device) / 2**20])
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

"""The device that a program computes on, and how torch is set for it."""

import os

import torch

from gnn import distributed
from storage.errors import InputError


def select_device(wanted: str) -> torch.device:
    """The device named cpu or cuda; for `auto` cuda where there is one. Raises InputError for cuda where there is none.

    Also sets torch for it: deterministic sums on a GPU, denormal numbers as zero on a CPU.
    """
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {wanted}: this machine has no CUDA device; allowed are auto and cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda"):
        # Sums in one order always: a resumed training ends as an undisturbed one. cuBLAS reads this when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
        # Deterministic mode also fills every new tensor, one kernel each; nothing here reads one before it is written.
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    # Gaussians far from their centre are denormal numbers, on which an x86 core multiplies several times slower.
    # Threads inherit this, so it has to stand before the first parallel operation.
    torch.set_flush_denormal(True)
    if wanted == "cuda" and distributed.is_rank():
        wanted = f"cuda:{distributed.local_rank()}"
    if wanted.startswith("cuda:"):
        number, there = int(wanted.removeprefix("cuda:")), torch.cuda.device_count()
        if number >= there:
            asked = f"train.processes {distributed.local_world_size()}" if distributed.is_rank() else f"device {wanted}"
            raise InputError(f"{asked}: this machine has {there} CUDA device{'s' if there > 1 else ''}")
        torch.cuda.set_device(wanted)
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """The device's name in a report: the GPU's, or CPU and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU, {threads} thread{'s' if threads > 1 else ''}"

"""What the ranks of a training add up: sums over all processes that torch.distributed.run started.

A process that was started alone is the only rank; every sum is then its own.
"""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

WRITER = "CGCNN_WRITER"  # no: the ranks of this machine only help

_writer = 0
_device = torch.device("cpu")  # of the sums: NCCL has none of what lies elsewhere

COLLECTIVE_TIMEOUT = timedelta(minutes=30)  # a rank waits so long for the others before it gives up


def is_rank() -> bool:
    """Was this process started by torch.distributed.run?"""
    return "TORCHELASTIC_RUN_ID" in os.environ


def rank() -> int:
    """This process's number among all of them, on all machines."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """How many processes train together, on all machines."""
    return dist.get_world_size() if dist.is_initialized() else 1


def writes() -> bool:
    """Is this the rank that writes files and reports? It is on the machine where the training was started."""
    return rank() == _writer


def local_rank() -> int:
    """This process's number among those of its machine."""
    return int(os.environ["LOCAL_RANK"]) if is_rank() else 0


def local_world_size() -> int:
    """How many processes train together on this machine."""
    return int(os.environ["LOCAL_WORLD_SIZE"]) if is_rank() else 1


@contextmanager
def process_group(device: torch.device) -> Iterator[None]:
    """Join the other ranks for as long as the context lasts: NCCL between GPUs, gloo between CPUs."""
    if not is_rank():
        yield
        return
    # Every restart has names of its own in the agent's store: it would find the addresses of dead ranks otherwise, and
    # wait for them for ever (torch 2.13 with gloo).
    attempt = f"attempt_{os.environ['TORCHELASTIC_RESTART_COUNT']}"
    agent = dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    dist.init_process_group(
        "nccl" if device.type == "cuda" else "gloo",
        store=dist.PrefixStore(attempt, agent),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
        timeout=COLLECTIVE_TIMEOUT,
    )
    global _writer, _device
    _device = device
    # Which machine gets rank 0 is the rendezvous's choice.
    mine = rank() if local_rank() == 0 and os.environ.get(WRITER, "yes") == "yes" else -1
    _writer = int(largest(torch.tensor(mine)))
    try:
        yield
        dist.barrier()
    finally:
        dist.destroy_process_group()


def barrier() -> None:
    """Wait until every rank is here."""
    if world_size() > 1:
        dist.barrier()


def total(value: Tensor) -> Tensor:
    """The sum of `value` over all ranks; `value` itself is overwritten with it."""
    return _reduced(value, dist.ReduceOp.SUM)


def largest(value: Tensor) -> Tensor:
    """The largest of `value` over all ranks, element by element; `value` itself is overwritten with it."""
    return _reduced(value, dist.ReduceOp.MAX)


def _reduced(value: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
    if world_size() > 1:
        there = value.to(_device)
        dist.all_reduce(there, op=operation)
        if there is not value:
            value.copy_(there)
    return value


class _Total(torch.autograd.Function):
    """What one rank adds changes the loss of all ranks: the gradient is a sum over ranks, too."""

    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        return total(value.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0].clone(memory_format=torch.contiguous_format))


def total_with_gradient(value: Tensor) -> Tensor:
    """The sum of `value` over all ranks, through which gradients flow back to each of them."""
    if world_size() == 1:
        return value
    summed: Tensor = _Total.apply(value)
    return summed


def add_up_gradients(model: nn.Module) -> None:
    """Replace the gradients of `model` by their sums over all ranks: as one vector, in one message."""
    if world_size() == 1:
        return
    found = [p.grad for p in model.parameters() if p.grad is not None]
    flat = total(torch.cat([gradient.reshape(-1) for gradient in found]))
    for gradient, part in zip(found, flat.split([len(g.reshape(-1)) for g in found]), strict=True):
        gradient.copy_(part.view_as(gradient))


def share_state(state: dict[str, Any] | None, device: torch.device) -> dict[str, Any] | None:
    """The writer's checkpoint, on every rank: the others may be on machines that do not have the file."""
    if world_size() == 1:
        return state
    written = io.BytesIO()
    if writes() and state is not None:
        torch.save(state, written)
    size = total(torch.tensor(len(written.getbuffer())))
    if not int(size):
        return None
    content = torch.zeros(int(size), dtype=torch.uint8, device=device)
    if writes():
        content.copy_(torch.frombuffer(written.getbuffer(), dtype=torch.uint8))
    dist.broadcast(content, src=_writer)
    read = io.BytesIO(content.cpu().numpy().tobytes())
    return dict(torch.load(read, map_location=device, weights_only=True))

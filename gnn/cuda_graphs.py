"""The forward and backward pass of a batch as one CUDA graph, so that its kernels need not be started one by one.

Python takes longer to start the few hundred kernels of a batch than a GPU takes to run them. A CUDA graph (Gray, NVIDIA
technical blog, 2019; torch.cuda.graph) starts them all at once, on tensors of the same sizes at the same places. So a
batch is padded to one of few sizes, with the atoms and edges of one more crystal, which counts for nothing: its
multiplicities are 0, and its value is in no loss.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from gnn.batches import Batch

SPARE = 64  # atoms, at least, over which the padding's edges are spread: one thread sums the edges of an atom
MOST = 64  # sizes of which graphs are kept; batches of other sizes run without

log = logging.getLogger(__name__)


@dataclass
class _Captured:
    """A graph, the tensors that it reads, and those that it writes: the loss and the gradients."""

    graph: torch.cuda.CUDAGraph
    batch: Batch
    wanted: Tensor
    loss: Tensor
    gradients: tuple[Tensor | None, ...]


class CapturedGradients:
    """Sets the gradients of the mean loss of a batch; a size that is seen for the second time is captured.

    The model must not look at values on its way (`capturable`): what it does is replayed.
    """

    def __init__(self, model: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor]) -> None:
        self._weights = [weight for weight in model.parameters() if weight.requires_grad]
        self._model, self._loss_of = model, loss_of
        self._seen: set[tuple[int, ...]] = set()
        self._captured: dict[tuple[int, ...], _Captured] = {}
        self._pool = torch.cuda.graph_pool_handle()  # one for all: none is at work while another one is

    def __call__(self, batch: Batch, wanted: Tensor) -> Tensor:
        """`wanted` (B,) standardised targets or classes → the loss summed over the batch."""
        batch = padded(batch)
        size = (len(batch.z), len(batch.edge_distance), len(wanted))
        if size in self._seen and size not in self._captured and len(self._captured) < MOST:
            self._capture(size, batch, wanted)
        self._seen.add(size)
        if size in self._captured:
            kept = self._captured[size]
            _overwrite(kept.batch, batch)
            kept.wanted.copy_(wanted)
            kept.graph.replay()
            loss, gradients = kept.loss.clone(), kept.gradients
        else:
            loss, gradients = self._compute(batch, wanted)
        for weight, gradient in zip(self._weights, gradients, strict=True):
            weight.grad = gradient
        return loss

    def _compute(self, batch: Batch, wanted: Tensor) -> tuple[Tensor, tuple[Tensor | None, ...]]:
        loss = self._loss_of(self._model(batch)[: len(wanted)], wanted)
        gradients = torch.autograd.grad(loss / len(wanted), self._weights, allow_unused=True)
        return loss.detach().double(), gradients

    def _capture(self, size: tuple[int, ...], batch: Batch, wanted: Tensor) -> None:
        graph = torch.cuda.CUDAGraph()
        batch, wanted = _copy(batch), wanted.clone()
        try:
            # Of this thread's work alone: another one may read the next batch meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                loss, gradients = self._compute(batch, wanted)
        except torch.OutOfMemoryError:
            log.info("no room for a CUDA graph of %s edges: batches of this size run without", f"{size[1]:,}")
            return
        self._captured[size] = _Captured(graph, batch, wanted, loss, gradients)


def padded(batch: Batch) -> Batch:
    """The batch with one crystal more, which fills the numbers of atoms and edges up to those of few sizes."""
    atoms, edges = len(batch.z), len(batch.edge_distance)
    more_atoms = _size(atoms + SPARE) - atoms
    more_edges = _size(edges) - edges
    ends = atoms + torch.arange(more_edges, device=batch.z.device) * more_atoms // max(more_edges, 1)
    return Batch(
        z=pad(batch.z, (0, more_atoms), value=1),
        multiplicity=pad(batch.multiplicity, (0, more_atoms)),
        edge_index=torch.cat([batch.edge_index, ends.expand(2, -1)], dim=1),
        edge_distance=pad(batch.edge_distance, (0, more_edges), value=1.0),
        batch=pad(batch.batch, (0, more_atoms), value=len(batch)),
        ptr=pad(batch.ptr, (0, 1), value=atoms + more_atoms),
        rows=batch.rows,
        edge_vector=None if batch.edge_vector is None else pad(batch.edge_vector, (0, 0, 0, more_edges), value=1.0),
    )


def _size(count: int) -> int:
    """`count` rounded up to one of eight numbers between two powers of two; 256 at least."""
    step = max(256, 1 << max(count.bit_length() - 4, 0))
    return -(-count // step) * step


def _copy(batch: Batch) -> Batch:
    return Batch(**{name: value.clone() for name, value in _tensors(batch).items()})


def _overwrite(kept: Batch, batch: Batch) -> None:
    for name, value in _tensors(batch).items():
        getattr(kept, name).copy_(value)


def _tensors(batch: Batch) -> dict[str, Tensor]:
    """Its fields by name; without vectors there is one less."""
    values = {field.name: getattr(batch, field.name) for field in fields(Batch)}
    return {name: value for name, value in values.items() if value is not None}

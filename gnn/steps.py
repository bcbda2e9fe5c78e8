"""The batches of an epoch as one rank takes them: its share of each, cut from the graphs while the last is at work."""

from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnn import distributed
from gnn.batches import Batch, Graphs
from gnn.sampling import share_of


@dataclass
class Step:
    """One rank's part of a batch: the indices of its `rows`, and the size of the `whole` batch of all ranks.

    A rank without rows takes one that counts for nothing (`weight` 0), because all ranks have to take part in sums.
    """

    graphs: Graphs
    device: torch.device
    rows: Tensor
    edges: int
    whole: int
    weight: float = 1.0
    ready: Batch | None = None

    @classmethod
    def of(cls, graphs: Graphs, device: torch.device, whole: Tensor, edges: Tensor) -> "Step":
        """This rank's part of the batch with the rows `whole` (B,); `edges` has every graph's number of edges."""
        mine = share_of(whole, edges, distributed.rank(), distributed.world_size())
        rows, weight = (mine, 1.0) if len(mine) else (whole[:1], 0.0)
        step = cls(graphs, device, rows, int(edges[rows].sum()), len(whole), weight)
        return replace(step, ready=step.batch())

    def batch(self) -> Batch:
        """Its crystals as one graph."""
        if self.ready is not None:
            return self.ready
        cut = self.graphs.batch(self.rows, self.device)
        if not self.weight:
            cut.multiplicity.zero_()  # in no batch statistics
        return cut

    def split(self, parts: int) -> Iterator["Step"]:
        """The same in `parts` parts."""
        if parts == 1:
            yield self
            return
        self.ready = None
        for rows in self.rows.tensor_split(parts):
            if len(rows):
                yield replace(self, rows=rows, ready=None)

    def loss_of_nothing(self) -> Tensor:
        """Zero, to which the losses of the parts are added."""
        return torch.zeros((), dtype=torch.float64, device=self.device)


def steps(graphs: Graphs, edges: Tensor, batches: Iterable[Tensor], device: torch.device) -> Iterator[Step]:
    """This rank's part of each batch; where graphs are read from disk, the next one is read while one is at work."""
    if not graphs.reads_ahead:
        for whole in batches:
            yield Step.of(graphs, device, whole, edges)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="read-ahead") as reader:
        ahead: Future[Step] | None = None
        for whole in batches:
            following = reader.submit(Step.of, graphs, device, whole, edges)
            if ahead is not None:
                yield ahead.result()
            ahead = following
        if ahead is not None:
            yield ahead.result()

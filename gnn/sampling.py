"""Which graphs an optimizer step sees: an epoch's order, its batches, and each rank's share of a batch.

All of it depends on the seed, the epoch and the configuration alone, so that a training on any number of ranks, killed
at any point, sees the same batches.
"""

import heapq
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from gnn.recipe import Recipe


def epoch_order(rows: Tensor, seed: int, epoch: int) -> Tensor:
    """The `rows` (M,) in the order of the epoch, counted from 0."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return rows[torch.randperm(len(rows), generator=generator)]


def global_batches(order: Tensor, edges: Tensor, size: int, most_edges: int | None) -> Iterator[Tensor]:
    """Batches of `size` rows of `order` (M,), fewer where they would have more than `most_edges` edges together.

    `edges` is the number of edges of each graph of the data set. A graph that alone has more is a batch of its own.
    """
    if most_edges is None:
        yield from order.split(size)
        return
    for first, last in _bounds(order, edges, size, most_edges):
        yield order[first:last]


def _bounds(order: Tensor, edges: Tensor, size: int, most_edges: int) -> Iterator[tuple[int, int]]:
    before = torch.zeros(len(order) + 1, dtype=torch.long)
    torch.cumsum(edges[order], 0, out=before[1:])
    first = 0
    while first < len(order):
        fits = int(torch.searchsorted(before, before[first] + most_edges, right=True)) - 1
        last = min(first + size, max(fits, first + 1), len(order))
        yield first, last
        first = last


def steps_of(config: Recipe, rows: Tensor, edges: Tensor) -> int:
    """The number of batches in all epochs of a training that is not stopped early."""
    if config.batch_edges is None:
        return config.epochs * math.ceil(len(rows) / config.batch_size)
    orders = (epoch_order(rows, config.seed, epoch) for epoch in range(config.epochs))
    return sum(sum(1 for _ in _bounds(order, edges, config.batch_size, config.batch_edges)) for order in orders)


def share_of(batch: Tensor, edges: Tensor, rank: int, ranks: int) -> Tensor:
    """The rows of `batch` (B,) that one of the ranks works on: every rank has nearly as many edges.

    Longest first, each to the rank with the least so far (Graham, SIAM J. Appl. Math. 17, 416 (1969)). In a batch with
    fewer rows than ranks, some get none.
    """
    if ranks == 1:
        return batch
    count = edges[batch]
    load = [(0, 0, each) for each in range(ranks)]  # edges, rows, rank
    mine = []
    for place in torch.argsort(count, descending=True, stable=True).tolist():
        held, rows, least = heapq.heappop(load)
        heapq.heappush(load, (held + int(count[place]), rows + 1, least))
        if least == rank:
            mine.append(place)
    return batch[torch.tensor(sorted(mine), dtype=torch.long)]

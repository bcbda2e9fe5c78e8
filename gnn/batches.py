"""Reads graph shards as flat tensors, and cuts batches from them without a Python loop over structures.

A list column of Parquet is offsets and one flat array (CSR); so are the graphs here: M graphs, N atoms, E edges.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gnn.segments import Segments


@dataclass
class Batch:
    """B crystals as one graph of N atoms and E edges; the fields have the names of torch_geometric.data.Data."""

    z: Tensor  # (N,) atomic numbers
    multiplicity: Tensor  # (N,) float32, how many atoms of the crystal each one stands for
    edge_index: Tensor  # (2, E) source, target; sorted by target
    edge_distance: Tensor  # (E,) Å
    batch: Tensor  # (N,) the crystal of each atom
    ptr: Tensor  # (B + 1,) the first atom of each crystal
    rows: Tensor  # (B,) the crystals' rows in the data set

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def segments(self) -> Segments:
        """The edges in the form in which messages are summed at their targets."""
        return Segments(self.edge_index[0], self.edge_index[1], len(self.z), self.ptr, self.multiplicity)


class Graphs:
    """All graphs of a data set, in memory.

    `atom_start`, `edge_start` (M + 1,): where the atoms and edges of each graph begin. `z` (N,) atomic numbers;
    `source`, `target` (E,) the atoms of each edge, counted within its graph; `distance` (E,) Å. `table` has the other
    columns of the graphs table, M rows.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table.drop_columns(["multiplicity", "edge_source", "edge_target", "edge_distance"])
        self.atom_start, self.z = _flat(table["atomic_numbers"])
        _, multiplicity = _flat(table["multiplicity"])
        self.multiplicity = multiplicity.float()
        self.edge_start, self.source = _flat(table["edge_source"])
        _, self.target = _flat(table["edge_target"])
        _, self.distance = _flat(table["edge_distance"])

    def __len__(self) -> int:
        return len(self.table)

    @classmethod
    def read(cls, shards: Sequence[Path]) -> "Graphs":
        """Every graph of the Parquet files, in their order; without the periodic images, which no model here uses."""
        names = [name for name in pq.read_schema(shards[0]).names if name != "edge_image"]
        return cls(pa.concat_tables(pq.read_table(path, columns=names) for path in shards))

    def batch(self, rows: Tensor, device: torch.device) -> Batch:
        """The crystals at the indices `rows` (B,) as one graph on `device`."""
        atoms, atom_at = _gather(self.atom_start, rows)
        edges, edge_at = _gather(self.edge_start, rows)
        ptr = torch.zeros(len(rows) + 1, dtype=torch.long)
        torch.cumsum(atoms, 0, out=ptr[1:])
        shift = torch.repeat_interleave(ptr[:-1], edges)
        edge_index = torch.stack([self.source[edge_at] + shift, self.target[edge_at] + shift])
        return Batch(
            z=self.z[atom_at].long().to(device),
            multiplicity=self.multiplicity[atom_at].to(device),
            edge_index=edge_index.to(device),
            edge_distance=self.distance[edge_at].to(device),
            batch=torch.repeat_interleave(torch.arange(len(rows)), atoms).to(device),
            ptr=ptr.to(device),
            rows=rows,
        )

    def batches(self, rows: Tensor, size: int, device: torch.device) -> Iterator[Batch]:
        """Batches of `size` crystals (the last may be smaller) at the indices `rows`, in that order."""
        for part in rows.split(size):
            yield self.batch(part, device)


def _flat(column: pa.ChunkedArray) -> tuple[Tensor, Tensor]:
    """Offsets (M + 1,) and values of a list column of M rows; int64, for all chunks together may pass 2³¹ values."""
    lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in column.chunks])
    start = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=start[1:])
    values = np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])
    return torch.from_numpy(start), torch.from_numpy(values)


def _gather(start: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """For the `rows` (B,): how many values each has (B,), and the indices of all of them in the flat array."""
    first = start[rows]
    count = start[rows + 1] - first
    before = torch.cumsum(count, 0) - count
    return count, torch.arange(int(count.sum())) + torch.repeat_interleave(first - before, count)

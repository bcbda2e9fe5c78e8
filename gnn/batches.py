"""Graphs as flat arrays, and batches cut from them without a Python loop over structures.

A list column of Parquet is offsets and one flat array (CSR); so are the graphs here: M graphs, N atoms, E edges.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from gnn.segments import Segments, starts
from storage.schemas import CELL_VOLUME_PER_ATOM, EDGE_VECTOR


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
    edge_vector: Tensor | None = None  # (E, 3) Å, from target to source; None in graphs without vectors

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def segments(self) -> Segments:
        """The edges in the form in which messages are summed at their targets."""
        return Segments(self.edge_index[0], self.edge_index[1], len(self.z), self.ptr, self.multiplicity)


@dataclass
class Graphs:
    """M graphs: N atoms and E edges in all, in memory, on a GPU, or in files that are mapped into memory."""

    atom_start: Tensor  # (M + 1,) int64, where the atoms of each graph begin; on the CPU
    edge_start: Tensor  # (M + 1,) int64, where the edges of each graph begin; on the CPU
    z: Tensor  # (N,) uint8, atomic numbers
    multiplicity: Tensor  # (N,) float32, how many atoms of the crystal each one stands for
    source: Tensor  # (E,) int32, the atoms of each edge, counted within its graph
    target: Tensor  # (E,) int32
    distance: Tensor  # (E,) float32, Å
    volume_per_atom: Tensor  # (M,) float64, Å³; NaN where it is not known; on the CPU
    vector: Tensor | None = None  # (E, 3) float32, Å, from target to source; None where graphs have none
    reads_ahead = False  # whether it pays to cut the next batch while one is at work

    def __len__(self) -> int:
        return len(self.atom_start) - 1

    @classmethod
    def of(cls, table: pa.Table) -> "Graphs":
        """The graphs of a table with atomic_numbers, multiplicity, edge_source, _target, _distance; M rows.

        Vectors where the table has edge_vector.
        """
        atom_start, z = flat(table["atomic_numbers"])
        _, multiplicity = flat(table["multiplicity"])
        edge_start, source = flat(table["edge_source"])
        volume = np.full(len(table), np.nan)
        has_vectors = EDGE_VECTOR in table.column_names
        if CELL_VOLUME_PER_ATOM in table.column_names:
            volume = table[CELL_VOLUME_PER_ATOM].to_numpy()
        return cls(
            atom_start=torch.from_numpy(atom_start),
            edge_start=torch.from_numpy(edge_start),
            z=torch.from_numpy(z),
            multiplicity=torch.from_numpy(multiplicity.astype(np.float32)),
            source=torch.from_numpy(source),
            target=torch.from_numpy(flat(table["edge_target"])[1]),
            distance=torch.from_numpy(flat(table["edge_distance"])[1]),
            volume_per_atom=torch.tensor(volume, dtype=torch.float64),
            vector=torch.from_numpy(flat(table[EDGE_VECTOR])[1]).view(-1, 3) if has_vectors else None,
        )

    def edge_counts(self) -> Tensor:
        """(M,) the number of edges of each graph."""
        return self.edge_start.diff()

    def to(self, device: torch.device) -> "Graphs":
        """Atoms and edges on `device`: batches are cut there. What there is of each graph stays where it is."""
        flat = ("z", "multiplicity", "source", "target", "distance", *([] if self.vector is None else ["vector"]))
        return replace(self, **{name: getattr(self, name).to(device) for name in flat})

    def take(self, rows: Tensor) -> "Graphs":
        """The graphs at the indices `rows` (B,) alone, in memory."""
        atoms, atom_at = _gather(self.atom_start, rows, self.z.device)
        edges, edge_at = _gather(self.edge_start, rows, self.z.device)
        return Graphs(
            atom_start=starts(atoms),
            edge_start=starts(edges),
            z=self.z[atom_at],
            multiplicity=self.multiplicity[atom_at],
            source=self.source[edge_at],
            target=self.target[edge_at],
            distance=self.distance[edge_at],
            vector=None if self.vector is None else self.vector[edge_at],
            volume_per_atom=self.volume_per_atom[rows],
        )

    def parts(self, rows: Tensor, size: int = 4096) -> Iterator["Graphs"]:
        """The graphs at the indices `rows`, `size` of them at a time in memory."""
        for part in rows.split(size):
            yield self.take(part)

    def batch(self, rows: Tensor, device: torch.device) -> Batch:
        """The crystals at the indices `rows` (B,) as one graph on `device`; it is cut where the arrays are."""
        part = self.take(rows)
        here = part.z.device
        shift = spread(part.atom_start[:-1], part.edge_start.diff(), here)
        return Batch(
            z=part.z.long().to(device),
            multiplicity=part.multiplicity.to(device),
            edge_index=torch.stack([part.source + shift, part.target + shift]).to(device),
            edge_distance=part.distance.to(device),
            batch=spread(torch.arange(len(rows)), part.atom_start.diff(), here).to(device),
            ptr=part.atom_start.to(device),
            rows=rows,
            edge_vector=None if part.vector is None else part.vector.to(device),
        )

    def batches(self, rows: Tensor, size: int, device: torch.device) -> Iterator[Batch]:
        """Batches of `size` crystals (the last may be smaller) at the indices `rows`, in that order."""
        for part in rows.split(size):
            yield self.batch(part, device)


def flat(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (M + 1,) and values of a list column of M rows; int64, for all chunks together may pass 2³¹ values."""
    lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in column.chunks])
    start = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=start[1:])
    return start, np.concatenate([chunk.flatten().to_numpy() for chunk in column.chunks])


def spread(value: Tensor, count: Tensor, device: torch.device) -> Tensor:
    """Each `value` (B,) so often as `count` (B,) says, in one array on `device`; both are on the CPU."""
    size = int(count.sum())  # known here, so that nobody has to wait for a GPU to count
    return torch.repeat_interleave(value.to(device), count.to(device), output_size=size)


def _gather(start: Tensor, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    """For the `rows` (B,): how many values each has (B,), and the indices of all of them in the flat array there."""
    first = start[rows]
    count = start[rows + 1] - first
    before = torch.cumsum(count, 0) - count
    return count, torch.arange(int(count.sum()), device=device) + spread(first - before, count, device)

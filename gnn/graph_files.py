"""The graphs of a training on its machine's disk: Parquet shards, decoded once into flat files.

Resident and streaming trainings read the same files. Resident maps them into memory, which the ranks of a machine
share; streaming reads the graphs of a batch when it is cut, so that a training on any number of structures needs the
memory of a batch and 32 bytes a structure, 8 more an auxiliary target. Both see the same batches and end with the same
bytes.
"""

import contextlib
import mmap
import os
import re
import warnings
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from gnn import distributed
from gnn.batches import Graphs, flat
from gnn.progress import SparseProgress
from gnn.segments import starts
from storage.errors import WorldError
from storage.program import write_atomically
from storage.schemas import CELL_VOLUME_PER_ATOM, EDGE_VECTOR

PER_GRAPH = {"atom_start": np.int64, "edge_start": np.int64, "volume_per_atom": np.float64}
PER_ATOM = {"z": np.uint8, "multiplicity": np.float32}
PER_EDGE = {"source": np.int32, "target": np.int32, "distance": np.float32}
VECTOR = {"vector": np.float32}  # three an edge, where graphs have vectors
ARRAYS: dict[str, type] = {**PER_GRAPH, **PER_ATOM, **PER_EDGE, **VECTOR}  # the fields of Graphs
DTYPES = {**ARRAYS, "target_value": np.float64}  # the files
ROWS = 1024  # of a shard that are decoded at a time
DONE = "complete"


def decode(shards: Sequence[Path], target: str, folder: Path, auxiliary: Sequence[str] = ()) -> None:
    """Write the flat files of all shards into `folder`, unless they are there. Each rank does its share.

    Columns of `auxiliary` targets go into files of their own.
    """
    if not (folder / DONE).exists():
        folder.mkdir(parents=True, exist_ok=True)
        part = range(distributed.local_rank(), len(shards), distributed.local_world_size())
        counts = torch.zeros(len(shards), 3, dtype=torch.long)
        speak = SparseProgress("graphs read", 0)
        for n in part:
            counts[n] = torch.tensor(_count(shards[n]))
            speak(int(counts[:, 0].sum()))
        before = torch.zeros(len(shards) + 1, 3, dtype=torch.long)
        torch.cumsum(distributed.largest(counts), 0, out=before[1:])
        for n in part:
            _write(shards[n], [target, *auxiliary], folder, before[n].tolist(), speak)
        distributed.barrier()
        if distributed.local_rank() == 0:
            rows, atoms, edges = before[-1].tolist()
            _write_at(folder, "atom_start", rows, np.array([atoms], np.int64))
            _write_at(folder, "edge_start", rows, np.array([edges], np.int64))
            write_atomically(folder / DONE, "")
    distributed.barrier()


def size_of(folder: Path) -> int:
    """Bytes of the flat files."""
    return sum((folder / name).stat().st_size for name in DTYPES if name not in VECTOR or _has_vectors(folder))


def available_memory() -> int:
    """Bytes that this process may still use: of the machine, or of the container that it runs in."""
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):
        free = int(re.findall(r"MemAvailable: +(\d+) kB", Path("/proc/meminfo").read_text())[0]) * 1024
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no limit
        free = min(free, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return free


def streams(folder: Path, wanted: str, device: torch.device) -> bool:
    """Are the graphs in `folder` streamed? `wanted` is resident, streaming or auto: if they take half of the memory."""
    if wanted != "auto":
        return wanted == "streaming"
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_memory()
    return size_of(folder) > free / 2


def open_graphs(folder: Path, *, streaming: bool) -> tuple[Graphs, Tensor]:
    """The graphs in `folder` and their targets (M,), float64."""
    target = torch.from_numpy(np.fromfile(folder / "target_value", np.float64))
    if streaming:
        return StreamedGraphs(folder), target
    arrays = {name: _mapped(folder / name) for name in ARRAYS if name not in VECTOR}
    return Graphs(**arrays, vector=_mapped(folder / "vector").view(-1, 3) if _has_vectors(folder) else None), target


class StreamedGraphs(Graphs):
    """Graphs of which only the offsets are in memory. What a batch needs is read for it, row by row."""

    reads_ahead = True

    def __init__(self, folder: Path) -> None:
        per_graph = {name: torch.from_numpy(np.fromfile(folder / name, PER_GRAPH[name])) for name in PER_GRAPH}
        nothing = {name: torch.from_numpy(np.empty(0, dtype)) for name, dtype in (PER_ATOM | PER_EDGE).items()}
        super().__init__(**per_graph, **nothing)
        self._per_edge = PER_EDGE | VECTOR if _has_vectors(folder) else PER_EDGE
        self._files = {name: os.open(folder / name, os.O_RDONLY) for name in PER_ATOM | self._per_edge}
        weakref.finalize(self, _close, list(self._files.values()))

    def take(self, rows: Tensor) -> Graphs:
        """The graphs at the indices `rows` (B,) alone, in memory."""
        found, taken = {}, {}
        for start, names in (("atom_start", PER_ATOM), ("edge_start", self._per_edge)):
            of_all = getattr(self, start)
            first, count = of_all[rows], of_all[rows + 1] - of_all[rows]
            taken[start] = starts(count)
            for name in names:
                each = 3 if name in VECTOR else 1
                values = self._read(name, each * first.numpy(), each * count.numpy())
                found[name] = values.view(-1, 3) if name in VECTOR else values
        return Graphs(**taken, **found, volume_per_atom=self.volume_per_atom[rows])

    def _read(self, name: str, first: np.ndarray, count: np.ndarray) -> Tensor:
        """The `count` values from the place `first` on of each row, (B,) both, in one array."""
        size, file = np.dtype(DTYPES[name]).itemsize, self._files[name]
        content = bytearray(int(count.sum()) * size)
        into = memoryview(content)
        at = 0
        for offset, length in zip((first * size).tolist(), (count * size).tolist(), strict=True):
            if os.preadv(file, [into[at : at + length]], offset) != length:
                raise WorldError(f"{name} of the graphs: the file ends too early")
            at += length
        return torch.from_numpy(np.frombuffer(content, DTYPES[name]))


class RowGroups:
    """These columns of all shards in their order, some rows at a time; to be gone through as often as wanted."""

    def __init__(self, shards: Sequence[Path], columns: Sequence[str]) -> None:
        self.shards, self.columns = shards, list(columns)

    def __iter__(self) -> Iterator[pa.Table]:
        for path in self.shards:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(ROWS, columns=self.columns):
                    yield pa.Table.from_batches([batch])


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)


def _mapped(path: Path) -> Tensor:
    """The values of a file, read when they are first used; processes that map the same file share its memory."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "The given buffer is not writable": nothing here writes
        mapped = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        return torch.frombuffer(mapped, dtype=torch.from_numpy(np.empty(0, DTYPES[path.name])).dtype)


def auxiliary_values(folder: Path, count: int) -> Tensor:
    """The values of the `count` auxiliary targets: (M, count) float64, NaN where a graph has none."""
    columns = [np.fromfile(folder / _file_of(number), np.float64) for number in range(1, count + 1)]
    return torch.from_numpy(np.stack(columns, axis=1))


def _file_of(number: int) -> str:
    """The file of the target, which is number 0, or of an auxiliary one."""
    return f"target_value-{number}" if number else "target_value"


def _has_vectors(folder: Path) -> bool:
    return (folder / "vector").exists()


def _count(shard: Path) -> tuple[int, int, int]:
    rows = atoms = edges = 0
    for table in RowGroups([shard], ["atomic_numbers", "edge_source"]):
        rows += len(table)
        atoms += int(flat(table["atomic_numbers"])[0][-1])
        edges += int(flat(table["edge_source"])[0][-1])
    return rows, atoms, edges


def _write(shard: Path, targets: list[str], folder: Path, before: list[int], speak: SparseProgress) -> None:
    """Decode one shard; `before` are the rows, atoms and edges of all shards before it."""
    rows, atoms, edges = before
    lists = ["atomic_numbers", "multiplicity", "edge_source", "edge_target", "edge_distance"]
    vectors = EDGE_VECTOR in pq.read_schema(shard).names
    for table in RowGroups([shard], [*lists, *([EDGE_VECTOR] if vectors else []), CELL_VOLUME_PER_ATOM, *targets]):
        values = dict(zip((*PER_ATOM, *PER_EDGE), (flat(table[name])[1] for name in lists), strict=True))
        starts = {"atom_start": ("atomic_numbers", atoms), "edge_start": ("edge_source", edges)}
        for name, (column, first) in starts.items():
            _write_at(folder, name, rows, flat(table[column])[0][:-1] + first)
        _write_at(folder, "volume_per_atom", rows, table[CELL_VOLUME_PER_ATOM].to_numpy())
        for number, name in enumerate(targets):  # a null becomes a NaN
            _write_at(folder, _file_of(number), rows, table[name].to_numpy())
        for name in PER_ATOM:
            _write_at(folder, name, atoms, values[name])
        for name in PER_EDGE:
            _write_at(folder, name, edges, values[name])
        if vectors:
            _write_at(folder, "vector", 3 * edges, flat(table[EDGE_VECTOR])[1])
        rows, atoms, edges = rows + len(table), atoms + len(values["z"]), edges + len(values["source"])
        speak(rows)


def _write_at(folder: Path, name: str, first: int, values: np.ndarray) -> None:
    """Write `values` at the place of element number `first` of a file, whichever rank writes what is before it."""
    dtype = np.dtype(DTYPES[name.partition("-")[0]])  # an auxiliary target's file has a number after its name
    content = np.ascontiguousarray(values, dtype).tobytes()
    file = os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        written, start = 0, first * dtype.itemsize
        while written < len(content):
            written += os.pwrite(file, content[written:], start + written)
    finally:
        os.close(file)

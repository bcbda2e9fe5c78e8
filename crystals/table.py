"""Converts between Arrow columns and crystals without creating a Python object for each number."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from crystals.crystal import Crystal
from crystals.symmetry import Quotient
from storage.schemas import EDGE_VECTOR


def crystals_of(batch: pa.RecordBatch) -> Iterator[Crystal | None]:
    """The crystals of a batch of the structures table, in order; None for a row that the source could not read."""
    lattice, numbers, coords = (batch.column(n) for n in ("lattice", "atomic_numbers", "frac_coords"))
    lattices = lattice.fill_null([0.0] * 9).flatten().to_numpy().reshape(-1, 3, 3) if lattice.null_count else None
    if lattices is None:
        lattices = lattice.flatten().to_numpy().reshape(-1, 3, 3)
    known = numbers.is_valid().to_numpy(zero_copy_only=False)
    of_atom, of_coord = (column.offsets.to_numpy() for column in (numbers, coords))
    z, x = numbers.values.to_numpy(), coords.values.to_numpy()
    for row in range(len(batch)):
        if not known[row]:
            yield None
            continue
        frac = x[of_coord[row] : of_coord[row + 1]].reshape(-1, 3)
        yield Crystal(lattices[row], z[of_atom[row] : of_atom[row + 1]], frac)


def list_column(arrays: Sequence[np.ndarray], kind: pa.DataType) -> pa.ListArray:
    """An Arrow list column with one list for each of the arrays, flattened."""
    offsets = np.zeros(len(arrays) + 1, dtype=np.int32)
    np.cumsum([a.size for a in arrays], out=offsets[1:])
    flat = np.concatenate([a.ravel() for a in arrays]) if arrays else np.empty(0)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat, type=kind))


def graph_columns(graphs: Sequence[Quotient]) -> dict[str, pa.ListArray]:
    """The columns of the graphs table that make a graph; the vectors of edges where these were asked for."""
    edges = [graph.edges for graph in graphs]
    columns = {
        "atomic_numbers": list_column([graph.atomic_numbers for graph in graphs], pa.uint8()),
        "multiplicity": list_column([graph.multiplicity.astype(np.uint16) for graph in graphs], pa.uint16()),
        "edge_source": list_column([each.source.astype(np.int32) for each in edges], pa.int32()),
        "edge_target": list_column([each.target.astype(np.int32) for each in edges], pa.int32()),
        "edge_distance": list_column([each.distance.astype(np.float32) for each in edges], pa.float32()),
        "edge_image": list_column([each.image.astype(np.int16) for each in edges], pa.int16()),
    }
    vectors = [each.vector.astype(np.float32) for each in edges if each.vector is not None]
    return columns | {EDGE_VECTOR: list_column(vectors, pa.float32())} if len(vectors) == len(edges) else columns


def rejected_table(rows: Sequence[tuple[str, str, str]], schema: pa.Schema) -> pa.Table:
    """The rejected table, sorted, from tuples (material_id, rule, message)."""
    columns = list(zip(*sorted(rows), strict=True)) or [(), (), ()]
    return pa.table([pa.array(c, pa.string()) for c in columns], schema=schema)

"""Crystal graphs for PyTorch Geometric."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cgcnn.inputs import Inputs, Structure

if TYPE_CHECKING:
    from torch_geometric.data import Data

    from crystals.structures import Found


def graphs(
    structures: Structure | Iterable[Structure],
    cutoff: float | None = 8.0,
    max_neighbors: int | None = 12,
    shell_tolerance: float | None = 1e-3,
) -> list[Data]:
    """The crystal graph of each structure (pymatgen or ASE), as the models here are trained on. A list, in order.

    Each is a torch_geometric Data of N atoms and E edges:

    * `z` (N,) int64, atomic numbers
    * `pos` (N, 3) float32, Å, each atom moved into the cell
    * `cell` (1, 3, 3) float32, Å, rows are a, b, c; in a batch (B, 3, 3)
    * `edge_index` (2, E) int64: row 0 the neighbour (source), row 1 the atom (target); sorted by (target, distance)
    * `edge_attr` (E, 1) float32, the distance in Å
    * `edge_image` (E, 3) int64, the neighbour's periodic image: it lies at `pos[source] + edge_image @ cell`

    An atom is joined to the nearest `max_neighbors` within `cutoff` (Å), and to all at the distance of the last (closer
    than `shell_tolerance`, Å). `cutoff=None` grows the radius until there are enough, `max_neighbors=None` keeps all
    within the cutoff, `shell_tolerance=None` cuts at exactly `max_neighbors`. Those of a trained model are
    `model.graphs(structures)`. Raises InputError with the position of a structure that has no graph.
    """
    from crystals.structures import crystals_with_edges
    from flows.config import configured

    keys = {"cutoff": cutoff, "max_neighbors": max_neighbors, "shell_tolerance": shell_tolerance}
    config = configured([{"graphs": keys}]).graphs
    inputs = Inputs(structures)
    return [_data(found) for found in crystals_with_edges(inputs.structures, config, inputs.refuse)]


def _data(found: Found) -> Data:
    import numpy as np
    import torch
    from torch_geometric.data import Data

    crystal, edges = found.crystal, found.edges
    return Data(
        z=torch.from_numpy(crystal.atomic_numbers.astype(np.int64)),
        pos=torch.from_numpy(((crystal.frac_coords % 1.0) @ crystal.lattice).astype(np.float32)),
        cell=torch.from_numpy(crystal.lattice.astype(np.float32))[None],
        edge_index=torch.from_numpy(np.stack([edges.source, edges.target])),
        edge_attr=torch.from_numpy(edges.distance.astype(np.float32))[:, None],
        edge_image=torch.from_numpy(edges.image.astype(np.int64)),
    )

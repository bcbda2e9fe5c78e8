"""One atom an orbit against the whole graph: the same predictions, and what it saves, side by side in one run.

`python benchmarks/symmetry.py TABLE [--rows 1000] [--rounds 3]` reads structures (Parquet with lattice, species,
frac_coords), builds both graphs of each, and prints the largest difference of predictions of both models in evaluation
mode, the share of atoms and edges that is left, the ratio of the times of a training epoch, and the time that moyo and
spglib take for the symmetry of a structure.
"""

import argparse
import time
import warnings
from pathlib import Path

import spglib
import torch
from samples import COGN, COGN_GRAPHS, rows_of_table

from crystals.config import GraphConfig
from crystals.crystal import Crystal
from crystals.symmetry import orbits, spacegroup_number
from crystals.table import crystals_of
from gnn.batches import Graphs
from gnn.config import ModelConfig
from gnn.models.registry import build_model

CPU = torch.device("cpu")
MODELS = {
    "cgcnn": (GraphConfig(), ModelConfig()),
    "cogn": (COGN_GRAPHS, COGN),
}


def epoch(model: torch.nn.Module, data: Graphs, optimizer: torch.optim.Optimizer) -> float:
    """Seconds of one epoch."""
    began = time.perf_counter()
    model.train()
    for batch in data.batches(torch.randperm(len(data)), 32, CPU):
        optimizer.zero_grad(set_to_none=True)
        model(batch).square().mean().backward()
        optimizer.step()
    return time.perf_counter() - began


@torch.no_grad()
def predictions(model: torch.nn.Module, data: Graphs) -> torch.Tensor:
    """(M,) in evaluation mode."""
    model.eval()
    return torch.cat([model(batch) for batch in data.batches(torch.arange(len(data)), 256, CPU)])


def seconds_of_symmetry(crystals: list[Crystal]) -> tuple[float, float]:
    """What moyo (space group and orbits) and spglib (both at once) take for all of them."""
    began = time.perf_counter()
    for crystal in crystals:
        spacegroup_number(crystal)
        orbits(crystal)
    moyo = time.perf_counter() - began
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for crystal in crystals:
            cell = (crystal.lattice.tolist(), crystal.frac_coords.tolist(), crystal.atomic_numbers.tolist())
            spglib.get_symmetry_dataset(cell, symprec=1e-2)
    return moyo, time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_flush_denormal(True)
    sample = rows_of_table(options.table, options.rows)
    crystals = [crystal for batch in sample.batches for crystal in crystals_of(batch) if crystal is not None]
    moyo, spg = seconds_of_symmetry(crystals)
    print(f"symmetry of {len(crystals):,} structures: moyo {moyo:.2f} s, spglib {spg:.2f} s, ratio {spg / moyo:.1f}")
    for name, (config, settings) in MODELS.items():
        kinds = (config.model_copy(update={"reduce_symmetry": reduce}) for reduce in (True, False))
        reduced, whole = (Graphs.of(sample.graphs(kind)) for kind in kinds)
        torch.manual_seed(0)
        model = build_model(settings)
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        epoch(model, whole, optimizer)  # batch statistics as a trained model has them
        one, other = predictions(model, reduced), predictions(model, whole)
        apart = ((one - other).abs() / other.abs().clamp(min=1)).max()
        times = [(epoch(model, whole, optimizer), epoch(model, reduced, optimizer)) for _ in range(options.rounds)]
        print(
            f"{name}: predictions apart by {float(apart):.1e}; atoms × {len(reduced.z) / len(whole.z):.2f}, "
            f"edges × {len(reduced.source) / len(whole.source):.2f}; "
            f"an epoch is {min(a for a, _ in times) / min(b for _, b in times):.1f} times as fast"
        )


if __name__ == "__main__":
    main()

"""The benchmarks run, and the networks that ours are compared with are the same networks."""

import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, f"benchmarks/{script}.py", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.fixture
def fluorites(tmp_path) -> Path:
    """Conventional cells of twelve atoms; symmetry leaves two, which stand for four and eight."""
    corners = [(0, 0, 0), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)]
    between = [(x, y, z) for x in (0.25, 0.75) for y in (0.25, 0.75) for z in (0.25, 0.75)]
    rows = [
        {
            "lattice": [edge, 0.0, 0.0, 0.0, edge, 0.0, 0.0, 0.0, edge],
            "species": [metal] * 4 + ["F"] * 8,
            "frac_coords": [float(x) for site in corners + between for x in site],
            "energy_ev": -edge,
        }
        for metal, edge in {"Ca": 5.5, "Sr": 5.8, "Ba": 6.2, "Cd": 5.4}.items()
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "fluorites.parquet")
    return tmp_path / "fluorites.parquet"


def test_each_peer_predicts_what_ours_does_with_the_same_weights(fluorites):
    """The textbook, the release and plain PyG: on random crystals, and on whole graphs against one atom an orbit."""
    tiny = ["--structures", "4", "--atoms", "6", "--rounds", "1", "--threads", "1"]
    done = run("epoch", "--table", str(fluorites), *tiny)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith(("| cgcnn", "| cogn"))]
    lines = [row.strip("| ").split(" | ") for row in rows]
    assert [line[1] for line in lines] == ["4 random crystals of 6 atoms"] * 4 + ["4 of fluorites.parquet"] * 4
    differences = [float(line[-1]) for line in lines if line[-1] != "another network"]
    assert len(differences) == 6
    assert max(differences) < 1e-4
    assert all(re.fullmatch(r"[\d.]+×", line[4]) for line in lines)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_the_benchmark_of_a_gpu_says_in_one_line_that_there_is_none():
    done = run("gpu")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "gpu.py: device cuda: this machine has no CUDA device; allowed are auto and cpu; --device cpu is a dry run\n"
    )

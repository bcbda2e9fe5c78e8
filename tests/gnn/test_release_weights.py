"""Files of CGCNN's released code predict what that code predicts: its forward pass is written out here."""

import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pymatgen.core import Lattice, Structure
from torch import Tensor
from torch.nn.functional import batch_norm, linear, softplus

import cgcnn
from flows.config import configured
from gnn.release_weights import convert
from storage.errors import InputError

ROOT = Path(__file__).parents[2]
WIDTH, GAUSSIANS = 7, 41  # numbers that describe an element; centres from 0 to 8 Å
ATOM_FEA_LEN, H_FEA_LEN = 6, 5
MEAN, DEVIATION = 1.5, 2.5


def state_dict(n_conv: int, n_h: int, outputs: int) -> dict[str, Tensor]:
    """Random weights under the release's names, in its shapes."""
    random = torch.Generator().manual_seed(n_h)
    shapes = {"embedding": (ATOM_FEA_LEN, WIDTH), "conv_to_fc": (H_FEA_LEN, ATOM_FEA_LEN)}
    shapes |= {f"fcs.{n}": (H_FEA_LEN, H_FEA_LEN) for n in range(n_h - 1)} | {"fc_out": (outputs, H_FEA_LEN)}
    norms = {}
    for n in range(n_conv):
        shapes[f"convs.{n}.fc_full"] = (2 * ATOM_FEA_LEN, 2 * ATOM_FEA_LEN + GAUSSIANS)
        norms |= {f"convs.{n}.bn1": 2 * ATOM_FEA_LEN, f"convs.{n}.bn2": ATOM_FEA_LEN}
    state = {}
    for name, shape in shapes.items():
        state[f"{name}.weight"] = 2 * torch.randn(shape, generator=random) / math.sqrt(shape[1])
        state[f"{name}.bias"] = torch.randn(shape[0], generator=random)
    for name, width in norms.items():
        for each in ("weight", "bias", "running_mean"):
            state[f"{name}.{each}"] = torch.randn(width, generator=random)
        state[f"{name}.running_var"] = torch.rand(width, generator=random) + 0.5
        if n_h > 1:  # torch counts batches since version 0.4.1: files of 2018 lack the number
            state[f"{name}.num_batches_tracked"] = torch.tensor(900)
    return state


def edges_of(structure: Structure) -> tuple[Tensor, Tensor]:
    """The twelve nearest within 8 Å, (N, 12) and their Gaussians; atom 0 at 9 Å stands for those that are lacking."""
    neighbors, distances = [], []
    for found in structure.get_all_neighbors(8.0):
        nearest = sorted((each.nn_distance, each.index) for each in found)[:12]
        nearest += [(9.0, 0)] * (12 - len(nearest))
        distances.append([float(distance) for distance, _ in nearest])
        neighbors.append([index for _, index in nearest])
    centres = torch.arange(GAUSSIANS) * 0.2
    return torch.tensor(neighbors), torch.exp(-((torch.tensor(distances)[..., None] - centres) ** 2) / 0.2**2)


def released(state: dict[str, Tensor], features: dict[str, list[int]], structure: Structure) -> Tensor:
    """What the release's network gives for one crystal: (1,) or (2,)."""

    def dense(name: str, value: Tensor) -> Tensor:
        return linear(value, state[f"{name}.weight"], state[f"{name}.bias"])

    def norm(name: str, value: Tensor) -> Tensor:
        return batch_norm(
            value, *(state[f"{name}.{each}"] for each in ("running_mean", "running_var", "weight", "bias"))
        )

    neighbors, edges = edges_of(structure)
    atom = dense("embedding", torch.tensor([features[str(z)] for z in structure.atomic_numbers]).float())
    for n in range(sum(name.endswith("fc_full.bias") for name in state)):
        own = atom[:, None].expand(-1, 12, -1)
        gated = dense(f"convs.{n}.fc_full", torch.cat([own, atom[neighbors], edges], dim=2))
        gate, core = norm(f"convs.{n}.bn1", gated.flatten(0, 1)).view_as(gated).chunk(2, dim=2)
        message = (torch.sigmoid(gate) * softplus(core)).sum(dim=1)
        atom = softplus(atom + norm(f"convs.{n}.bn2", message))
    crystal = softplus(dense("conv_to_fc", softplus(atom.mean(dim=0))))
    for n in range(sum(name.startswith("fcs.") for name in state) // 2):
        crystal = softplus(dense(f"fcs.{n}", crystal))
    return dense("fc_out", crystal)


FEATURES = {str(z): np.random.default_rng(z).integers(0, 2, WIDTH).tolist() for z in range(1, 21)}


def checkpoint(folder: Path, state: dict[str, Tensor], name: str = "model_best", **other: object) -> Path:
    """A file as the release writes it, and the atom_init.json beside it."""
    folder.joinpath("atom_init.json").write_text(json.dumps(FEATURES))
    content = {
        "epoch": 30,
        "state_dict": state,
        "best_mae_error": np.float64(0.9),
        "optimizer": {"state": {}, "param_groups": [{"lr": 0.01}]},
        "normalizer": {"mean": torch.tensor(MEAN), "std": DEVIATION},
        "args": {"task": "regression", "data_options": ["root_dir"], "cuda": False},
    }
    path = folder / f"{name}.pth.tar"
    torch.save(content | other, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture(scope="module")
def structures() -> list[Structure]:
    """No two distances are equal, so nobody has to choose; the second and third have fewer than twelve neighbours."""
    rocksalt = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.2), ["Na", "Cl"], [[0, 0, 0], [0.5, 0, 0]])
    rocksalt.perturb(0.2, seed=0)
    sparse = Structure(Lattice.orthorhombic(7.5, 7.7, 7.9), ["Ar", "Li"], [[0, 0, 0], [0.2, 0.1, 0.15]])
    return [rocksalt, sparse, Structure.from_sites(sparse[::-1])]


@pytest.fixture
def weights() -> dict[str, Tensor]:
    return state_dict(n_conv=2, n_h=1, outputs=1)


@pytest.mark.parametrize("n_h", [1, 3])
def test_predictions_are_the_release_s(structures, tmp_path, n_h):
    """In the original's unit, batch or single, also where an atom has fewer neighbours than twelve."""
    state = state_dict(n_conv=3, n_h=n_h, outputs=1)
    model = cgcnn.load(checkpoint(tmp_path, state), device="cpu")
    wanted = [released(state, FEATURES, each).item() * DEVIATION + MEAN for each in structures]
    assert np.ptp(wanted) > 0.1
    assert abs(wanted[1] - wanted[2]) > 1e-3  # which atom is the first one matters there
    assert model.predict(structures) == pytest.approx(wanted, abs=1e-5)
    assert model.predict(structures[0]) == pytest.approx(wanted[0], abs=1e-5)


def test_a_classification_gives_the_probability_of_the_second_class(structures, tmp_path):
    state = state_dict(n_conv=1, n_h=2, outputs=2)
    model = cgcnn.load(checkpoint(tmp_path, state, "semi-metal-classification"), device="cpu")
    wanted = [torch.softmax(released(state, FEATURES, each), dim=0)[1].item() for each in structures]
    assert model.predict(structures) == pytest.approx(wanted, abs=1e-6)
    assert (model.target, model.unit) == ("metal", "")


def test_the_command_says_what_was_predicted_and_in_which_unit(structures, weights, tmp_path):
    """An element that atom_init.json does not describe is warned of; nothing is left but the table."""
    path = checkpoint(tmp_path, weights, "bulk-moduli")
    inputs, output, temporary = tmp_path / "inputs.json", tmp_path / "out.csv", tmp_path / "temporary"
    temporary.mkdir()
    undescribed = Structure(Lattice.cubic(2.9), ["Fe"], [[0, 0, 0]])
    inputs.write_text(json.dumps([each.as_dict() for each in [*structures, undescribed]]))
    command = [sys.executable, "-m", "flows.cli", "predict", inputs, "--model", path, "--output", output]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(temporary)}
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "4 predicted, 0 refused (bulk_modulus log10(GPa))" in done.stderr
    rows = pd.read_csv(output, keep_default_na=False)
    wanted = [released(weights, FEATURES, each).item() * DEVIATION + MEAN for each in structures]
    assert rows.predicted[:3].tolist() == pytest.approx(wanted, abs=1e-5)
    assert rows.warning.tolist() == ["", "", "", "elements never seen in training: Fe"]
    assert {path.name for path in tmp_path.iterdir()} == {
        "atom_init.json", "bulk-moduli.pth.tar", "inputs.json", "out.csv", "temporary",
    }  # fmt: skip
    assert not list(temporary.iterdir())


def test_the_same_file_gives_the_same_folder(weights, tmp_path):
    """So a prediction that was killed goes on."""
    path = checkpoint(tmp_path, weights)
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        folder.mkdir()
        convert(path, folder)
    first, second = ({each.name: each.read_bytes() for each in folder.iterdir()} for folder in folders)
    assert first == second
    assert set(first) == {"model.json", "model.safetensors"}


class Runs:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"state_dict": {}}, "is no network of CGCNN's release"),
        ({"state_dict": [1]}, "is no file of CGCNN's released code"),
        ({"normalizer": None}, "is no file of CGCNN's released code"),
        ({"normalizer": {"mean": 0.0, "std": 0.0}}, "deviation"),
        ({"fc_out.bias": torch.zeros(3)}, "size mismatch for out.bias"),
        ({"convs.0.fc_full.weight": torch.zeros(12, 12 + 31)}, "size mismatch for convolutions.0.edges.linear.weight"),
        ({"convs.1.bn2.running_var": None}, "is no file of CGCNN's released code"),
        (
            {"convs.1.bn2.running_var": torch.full((ATOM_FEA_LEN,), torch.nan)},
            "running_var has numbers that are not fin",
        ),
        ({"convs.1.bn2.other": torch.zeros(1)}, "convolutions.1.norm.other"),
        ({"embedding.weight": torch.zeros(ATOM_FEA_LEN, 92)}, "atom_init.json has 7 numbers of element 1, not 92"),
        ({"embedding.weight": torch.zeros(ATOM_FEA_LEN)}, "is no network of CGCNN's release"),
        ({"embedding.bias": torch.zeros(3, 3)}, "is no network of CGCNN's release"),
    ],
)
def test_what_is_not_the_release_s_is_one_line(weights, tmp_path, changes, message):
    whole = {name: value for name, value in changes.items() if "." not in name}
    state = weights | {name: value for name, value in changes.items() if "." in name}
    path = checkpoint(tmp_path, state, **whole)
    assert_refused(path, tmp_path, message)


def assert_refused(path: Path, folder: Path, message: str) -> None:
    with pytest.raises(InputError) as fault:
        convert(path, folder)
    assert message in str(fault.value)
    assert str(fault.value).startswith(str(path.parent))
    assert len(str(fault.value).splitlines()) == 1
    assert not (folder / "model.json").exists()


@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_and_dangerous_files_are_one_line(weights, tmp_path, zipped):
    path = tmp_path / "model_best.pth.tar"
    torch.save({"state_dict": weights, "args": Runs(tmp_path / "ran")}, path, _use_new_zipfile_serialization=zipped)
    assert_refused(path, tmp_path, "is no file of CGCNN's released code")
    whole = checkpoint(tmp_path, weights).read_bytes()
    for damaged in (b"", b"nothing", pickle.dumps(Runs(tmp_path / "ran")), whole[:900], whole[: len(whole) // 2]):
        path.write_bytes(damaged)
        assert_refused(path, tmp_path, "is no file of CGCNN's released code")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "atom_init.json: there is no such file"),
        ("{", "atom_init.json: Invalid JSON"),
        ('{"Na": [1]}', "atom_init.json: Na"),
        ('{"999": [1]}', "atom_init.json: 999"),
        ('{"1": [NaN, 1, 1, 1, 1, 1, 1]}', "atom_init.json: 1: 0: Input should be a finite number"),
    ],
)
def test_without_what_describes_the_elements_there_is_no_model(weights, tmp_path, text, message):
    path = checkpoint(tmp_path, weights)
    (tmp_path / "atom_init.json").unlink()
    if text is not None:
        (tmp_path / "atom_init.json").write_text(text)
    assert_refused(path, tmp_path, message)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"^model .*absent.pth.tar: no such file$"):
        cgcnn.load(tmp_path / "absent.pth.tar")


def test_it_is_not_trained():
    with pytest.raises(
        InputError, match="cgcnn-2018 is for published weights and cannot be trained; allowed are cgcnn"
    ):
        configured([{"model": {"name": "cgcnn-2018"}}])

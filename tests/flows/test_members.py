"""`cgcnn retrain --set train.members=2` as its users run it: members from the store, then one model with intervals."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

import cgcnn as python
from storage.errors import InputError


@pytest.fixture(scope="module")
def ensemble(cgcnn, crystals, small, trained, tmp_path_factory):
    """A copy of a store with a training of seed 0, and what the run said that made an ensemble of two in it."""
    store = shutil.copytree(trained[0], tmp_path_factory.mktemp("members") / "store")
    done = cgcnn("retrain", "--source", crystals, "--store", store, *small, "--set=train.members=2")
    assert done.returncode == 0, done.stderr
    return store, done


@pytest.fixture
def store(ensemble):
    """That store."""
    return ensemble[0]


@pytest.fixture
def card(cgcnn, store) -> dict:
    """The ensemble's card."""
    shown = json.loads(cgcnn("show", "--store", store, "--json").stdout)
    assert [run["members"] for run in shown] == [2, 1]
    return shown[0]


def ended(run, seed: int) -> list[str]:
    return re.findall(rf"'train-model seed {seed}' - Finished in state (\w+)", re.sub(r"\s+", " ", run.stderr))


def test_a_member_is_the_training_of_its_seed_and_taken_from_the_store(ensemble, store):
    assert ended(ensemble[1], 0) == ["Cached"]
    assert ended(ensemble[1], 1) == ["Completed"]
    trained = [
        json.loads(path.read_text())["parameters"]["train"] for path in store.glob("train-model/*/manifest.json")
    ]
    assert sorted(each["seed"] for each in trained) == [0, 1]
    assert not any("members" in each for each in trained)


def test_a_damaged_member_is_trained_again_and_the_ensemble_stays(cgcnn, crystals, small, store, tmp_path):
    other = shutil.copytree(store, tmp_path / "store")
    victim = next(p for p in other.glob("train-model/*/manifest.json") if '"seed": 1' in p.read_text()).parent
    before = (victim / "model.safetensors").read_bytes()
    (victim / "model.safetensors").write_bytes(before[:-1])
    done = cgcnn("retrain", "--source", crystals, "--store", other, *small, "--set=train.members=2")
    assert (ended(done, 0), ended(done, 1)) == (["Cached"], ["Completed"])
    assert re.search(r"'ensemble-\w+'\s+- Finished in state\s+Cached", done.stderr)
    assert (victim / "model.safetensors").read_bytes() == before


def test_what_follows_is_of_the_ensemble(card, cgcnn, store):
    """Card, champions, report: a champion may be an ensemble."""
    assert card["model"].startswith(str(store / "ensemble"))
    assert card["coverage"]["promised"] == 0.9
    assert "ensemble of 2; intervals hold" in cgcnn("show", "--store", store).stdout
    assert "<h2>Uncertainty</h2>" in Path(card["report"]).read_text()
    cgcnn("promote", card["run"], "--store", store)
    assert ", ensemble of 2" in cgcnn("models", "--store", store).stdout
    assert python.runs(store)[0].metrics()["mae"]["test"] == card["test"]


def test_predict_has_the_columns_of_the_uncertainty(card, cgcnn, crystals, store, tmp_path):
    """For structures that were in the run, they are the run's."""
    output = tmp_path / "out.csv"
    done = cgcnn("predict", crystals, "--store", store, "--model", card["run"], "--output", output)
    assert done.returncode == 0, done.stderr
    assert "uncertainty: of structures drawn like the validation rows, 90.0% have" in done.stderr
    rows = pd.read_csv(output)
    assert list(rows) == ["id", "formula", "predicted", "uncertainty", "low", "high", "error", "warning"]
    refused = rows["error"].notna()
    assert rows.loc[refused, ["predicted", "uncertainty", "low", "high"]].isna().all(axis=None)
    told = pq.read_table(card["predictions"]).to_pandas().set_index("material_id")
    found = rows[~refused].drop_duplicates("id").set_index("id").loc[told.index]
    for column, name in {"predicted": "predicted", "uncertainty": "standard_deviation", "low": "low"}.items():
        assert found[column].to_numpy() == pytest.approx(told[name].to_numpy(), rel=1e-4, abs=1e-5)


def test_python_has_the_same_numbers(card, crystals):
    salt = Structure(Lattice.cubic(4), ["Na", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    far = Structure(Lattice.cubic(4), ["Na", "Cu"], [[0, 0, 0], [0, 0, 0.01]])
    model = python.load(card["model"])
    assert repr(model).startswith("<cgcnn ensemble of 2 of energy_ev (eV)")
    assert (model.members, model.coverage) == (2, 0.9)
    one = model.predict_intervals(salt)
    assert one.low < one.predicted < one.high
    assert one.predicted == model.predict(salt)
    both = model.predict_intervals([salt, far], errors="nan")
    assert both.uncertainty.tolist() == [one.uncertainty, pytest.approx(float("nan"), nan_ok=True)]
    table = model.predict_table(crystals)
    assert (table["low"] <= table["high"]).sum() == table["error"].isna().sum()
    with pytest.raises(InputError, match="an ensemble of 2 models has no features"):
        model.embed(salt)


@pytest.mark.parametrize("wrong", ["0", "101", "two", "1.5"])
def test_a_wrong_number_of_members_is_one_line_before_anything_starts(cgcnn, crystals, tmp_path, wrong):
    done = cgcnn("retrain", f"--source={crystals}", f"--store={tmp_path / 'store'}", f"--set=train.members={wrong}")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"cgcnn: train\.members: [^\n]+\n", done.stderr)
    assert not (tmp_path / "store").exists()


def test_the_members_of_a_pool_are_dispatched_side_by_side(cgcnn, crystals, small, store):
    """The server has no such pool: each is refused by itself, and the run says so in one line."""
    pool = ["--set=train.where=gpu-pool", "--set=train.members=3", "--set=train.seed=7"]
    done = cgcnn("retrain", "--source", crystals, "--store", store, *small, *pool)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "cgcnn: train.where=gpu-pool: the server has no deployment train/gpu"
    )
    assert [ended(done, seed) for seed in (7, 8, 9)] == [["Failed"]] * 3

"""`cgcnn predict` and `cgcnn show`, on a model that was trained a moment ago."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ase.io
import pyarrow.parquet as pq
import pytest
from ase import Atoms

from storage.registry import model_folder
from storage.store import Store


@pytest.fixture
def store(trained):
    return trained[0]


def test_predictions_come_in_the_order_of_the_inputs_with_reasons_for_the_refused(cgcnn, store, crystals, tmp_path):
    """For structures that were trained on, the predictions are those of the run."""
    (tmp_path / "broken.cif").write_text("nothing")
    output = tmp_path / "out.parquet"
    done = cgcnn("predict", tmp_path / "broken.cif", crystals, "--store", store, "--output", output)
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(output).to_pylist()
    assert list(rows[0]) == ["id", "formula", "predicted", "error", "warning"]
    assert rows[0]["id"].endswith("broken.cif")
    assert [row["id"] for row in rows[1:4]] == ["m-0", "m-1", "m-2"]
    refused = [row for row in rows if row["error"]]
    assert all(row["predicted"] is None for row in refused)
    assert f"{len(rows) - len(refused)} predicted, {len(refused)} refused" in done.stderr
    assert "broken.cif" in done.stderr
    # of two rows with one id, training took the first
    found = {row["id"]: row["predicted"] for row in reversed(rows) if row["predicted"] is not None}
    shown = json.loads(cgcnn("show", "--store", store, "--json").stdout)
    told = {row["material_id"]: row["predicted"] for row in pq.read_table(shown[0]["predictions"]).to_pylist()}
    assert {name: found[name] for name in told} == pytest.approx(told, rel=1e-5, abs=1e-6)


def test_a_model_is_found_by_its_folder_and_a_part_of_its_run_s_name(cgcnn, store, crystals):
    (run,) = json.loads(cgcnn("show", "--store", store, "--json").stdout)
    names = ["champion", "latest", run["run"][-8:], run["model"]]
    assert {model_folder(name, Store(root=store)) for name in names} == {Path(run["model"])}
    wrong = cgcnn("predict", crystals, "--store", store, "--model", "nobody")
    assert wrong.returncode == 2
    assert run["run"] in wrong.stderr


def test_prediction_needs_no_server(store, crystals):
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "predict", str(crystals), "--store", str(store)],
        env={"PATH": "", "PREFECT_API_URL": "http://127.0.0.1:9/api", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 61


@pytest.fixture
def model(cgcnn, store, tmp_path):
    """A copy of the store's model, as somebody would send it."""
    (run,) = json.loads(cgcnn("show", "--store", store, "--json").stdout)
    return Path(shutil.copytree(run["model"], tmp_path / "model"))


def test_structures_unlike_the_training_structures_are_warned_of_in_the_table_and_once_in_the_end(
    cgcnn, model, tmp_path
):
    """Of several frames each has a row; what is no crystal has a reason."""
    pair = Atoms("LiAg", cell=[3.5, 3.5, 3.9], scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], pbc=True)
    tungsten = pair.copy()
    tungsten.symbols[0] = "W"
    frames = [pair, tungsten, pair * (2, 1, 1), Atoms("H2", positions=[[0, 0, 0], [0, 0, 0.7]])]
    ase.io.write(tmp_path / "four.extxyz", frames)
    done = cgcnn("predict", tmp_path / "four.extxyz", "--model", model)
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [Path(row["id"]).name for row in rows] == [f"four.extxyz#{n}" for n in range(4)]
    assert rows[0]["warning"] == rows[3]["warning"] == ""
    assert rows[1]["warning"] == "elements never seen in training: W"
    assert rows[2]["warning"] == "number of atoms 4, in training 2 to 2"
    assert "not periodic" in rows[3]["error"]
    assert float(rows[0]["predicted"]) == pytest.approx(float(rows[2]["predicted"]), rel=1e-4)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("2 unlike")]
    assert line.endswith("elements never seen 1 (W), number of atoms 1")
    assert done.stderr.splitlines()[-1].startswith("3 predicted, 1 refused")
    assert "progress" not in done.stderr


def test_a_name_that_is_no_utf8_is_one_line(cgcnn, model, tmp_path):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/latin\xe9.cif")
    Path(name).write_text("nothing")
    done = cgcnn("predict", name, "--model", model, "--output", tmp_path / "out.csv")
    assert done.returncode == 2
    assert "a name that is no UTF-8 cannot be written to a table; rename it" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.glob("*out*")] == []


def test_where_everything_is_refused_there_is_a_table_all_the_same_and_exit_code_2(cgcnn, model, tmp_path):
    (tmp_path / "broken.cif").write_text("nothing")
    done = cgcnn("predict", tmp_path / "broken.cif", "--model", model, "--output", tmp_path / "out.parquet")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == "0 predicted, 1 refused (energy_ev eV)"
    (row,) = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert (row["predicted"], row["warning"]) == (None, None)
    assert row["error"].startswith("CIF")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graph_config": {"cutoff": -1}}, "graph_config.cutoff: Input should be greater than 0"),
        ({"mean": None}, "mean: Input should be a valid number"),
    ],
)
def test_a_model_json_that_cannot_be_used_is_one_line(cgcnn, model, crystals, changes, message):
    card = json.loads((model / "model.json").read_text())
    (model / "model.json").write_text(json.dumps(card | changes))
    done = cgcnn("predict", crystals, "--model", model)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_model_of_foreign_code_needs_trust_code(cgcnn, model, crystals, tmp_path):
    """Its module lies in the working folder, which is not on the path: it is not found with trust either."""
    card = json.loads((model / "model.json").read_text())
    (tmp_path / "theirs.py").write_text("import pathlib; pathlib.Path('ran').touch()\nfrom torch.nn import Identity\n")
    (model / "model.json").write_text(json.dumps(card | {"model": card["model"] | {"name": "theirs:Identity"}}))
    for options, message in [([], "--trust-code"), (["--trust-code"], "No module named 'theirs'")]:
        done = cgcnn("predict", crystals, "--model", model, *options, folder=tmp_path)
        assert done.returncode == 2, done.stderr
        assert message in done.stderr.splitlines()[-1]
        assert not (tmp_path / "ran").exists()

"""`cgcnn predict` and `cgcnn show`, on a model that was trained a moment ago."""

import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

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

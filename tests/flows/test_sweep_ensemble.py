"""`cgcnn sweep --set ensemble=2` as its users run it: from the trials to one model that predicts."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from storage.store import Store


@pytest.fixture(scope="module")
def swept(cgcnn, crystals, small, trained, tmp_path_factory):
    """The store of a sweep of two widths, of which it had one trained, and what the sweep said."""
    store = shutil.copytree(trained[0], tmp_path_factory.mktemp("sweep") / "store")
    command = ["sweep", "--source", crystals, "--store", store, *small, "--set=pruner=none", "--set=sampler=grid"]
    command += ["--set=search.model.h_fea_len=[8, 16]", "--set=ensemble=2"]
    done = cgcnn(*command)
    assert done.returncode == 0, done.stderr
    return store, done


@pytest.fixture(scope="module")
def best(swept) -> Path:
    """The file of settings for `retrain`."""
    (page,) = swept[0].glob("sweep/*/")
    return page / "best.yaml"


@pytest.fixture(scope="module")
def retrained(cgcnn, swept, best):
    """What `retrain` said with that file."""
    done = cgcnn("retrain", "--config", best, "--store", swept[0])
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture
def ensemble(swept) -> Path:
    """The folder of the ensemble."""
    (folder,) = swept[0].glob("ensemble/*/")
    return folder


def states(run, step: str) -> list[str]:
    return re.findall(rf"'{step}' - Finished in state (\w+)", re.sub(r"\s+", " ", run.stderr))


def test_the_members_are_the_models_of_the_trials_the_best_first(swept, ensemble):
    trials = pq.read_table(next(swept[0].glob("sweep/*/trials.parquet"))).to_pylist()
    ranked = sorted(trials, key=lambda row: row["validation_error"])
    for number, row in enumerate(ranked):
        member = swept[0] / "train-model" / row["model"]
        assert (ensemble / f"model-{number}.safetensors").read_bytes() == (member / "model.safetensors").read_bytes()
        assert states(swept[1], f"train-model member {number + 1}") == ["Cached"]
    card = json.loads((ensemble / "model.json").read_text())
    widths = [json.loads(row["parameters"])["model.h_fea_len"] for row in ranked]
    assert [model["h_fea_len"] for model in card["member_models"]] == widths


def test_test_rows_are_evaluated_for_the_ensemble_alone(swept, trained, ensemble):
    before = {path.name for path in (trained[0] / "evaluate").iterdir()}
    (new,) = {path.name for path in (swept[0] / "evaluate").iterdir()} - before
    evaluated = json.loads((swept[0] / "evaluate" / new / "manifest.json").read_text())
    assert evaluated["inputs"]["trained"] == Store.at(swept[0]).read("ensemble", ensemble.name).digest


def test_it_says_where_the_model_is_and_that_one_predicts_with_an_uncertainty(
    cgcnn, swept, crystals, ensemble, tmp_path
):
    assert f"model: {swept[0] / 'ensemble' / ensemble.name}" in swept[1].stdout.splitlines()
    output = tmp_path / "out.csv"
    done = cgcnn("predict", crystals, "--store", swept[0], "--model", ensemble, "--output", output)
    assert done.returncode == 0, done.stderr
    rows = pd.read_csv(output)
    known = rows[rows["error"].isna()].drop_duplicates("id").set_index("id")
    assert (known["low"] < known["predicted"]).all()
    assert (known["uncertainty"] > 0).all()
    told = pq.read_table(ensemble / "predictions.parquet").to_pandas().set_index("material_id")
    for column, name in {"predicted": "predicted", "uncertainty": "standard_deviation", "high": "high"}.items():
        assert known.loc[told.index][column].to_numpy() == pytest.approx(told[name].to_numpy(), rel=1e-4, abs=1e-5)


def test_retrain_with_the_file_takes_the_same_ensemble_from_the_store(retrained, swept, ensemble):
    for step in ("train-model member 1", "train-model member 2", r"ensemble-\w+", r"evaluate-\w+"):
        assert states(retrained, step) == ["Cached"]
    assert [path.name for path in swept[0].glob("ensemble/*/")] == [ensemble.name]


def test_its_card_makes_it_a_model_like_others(retrained, cgcnn, swept, ensemble):
    """Listed, promoted by hand, compared with the single model, and reported with the settings of each member."""
    shown = json.loads(cgcnn("show", "--store", swept[0], "--json").stdout)
    run = next(each for each in shown if each.get("members") == 2)
    assert Path(run["model"]).name == ensemble.name
    assert f"{run['run']}: energy_ev" in retrained.stdout
    cgcnn("promote", run["run"], "--store", swept[0])
    assert ", ensemble of 2" in cgcnn("models", "--store", swept[0]).stdout
    single = next(each for each in shown if each.get("members") == 1)
    compared = cgcnn("compare", run["run"], single["run"], "--store", swept[0]).stdout
    assert re.search(r'members\.1 +\{"model\.h_fea_len": (8|16)\} +null', compared)
    assert "h_fea_len" in Path(run["report"]).read_text().partition(">members<")[2][:500]

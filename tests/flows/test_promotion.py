"""Champions as their users meet them: what a second training does, and what can be done by hand."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from storage.registry import model_folder
from storage.store import Store

NAME = "pairs-energy_ev"


@pytest.fixture(scope="module")
def store(cgcnn, crystals, small, trained, states, tmp_path_factory):
    """A store with a champion, and with a challenger that learned nothing."""
    folder = shutil.copytree(trained[0], tmp_path_factory.mktemp("promotion") / "store")
    lazy = ["--set=train.learning_rate=1e-7", "--set=train.epochs=2", "--set=promotion.least_common=5"]
    done = cgcnn("retrain", "--source", crystals, "--store", folder, *small, *lazy)
    assert done.returncode == 0, done.stderr
    made = {step for step, state in states(done).items() if state != "Cached"}
    assert made == {"train-model", "evaluate", "compare", "report", "promote"}  # what does not depend on it is kept
    told = re.sub(r"\s+", " ", done.stderr)
    assert re.search(rf"{NAME}: not promoted, for its MAE differs from the champion's by \+\d+\.\d %", told)
    return folder


def told(cgcnn, store):
    """What `cgcnn models --json` says of the only champion."""
    (known,) = json.loads(cgcnn("models", "--store", store, "--json").stdout)
    return known


def test_a_worse_model_leaves_the_champion_and_its_numbers_are_kept(cgcnn, store):
    known = told(cgcnn, store)
    first, second = known["decisions"]
    assert known["champion"]["model"] == first["model"] == second["champion"] != second["model"]
    assert (first["promoted"], second["promoted"]) == (True, False)
    assert second["numbers"]["challenger_mae"] > 2 * second["numbers"]["champion_mae"] > 0
    pages = [path.read_text() for path in store.glob("report/*/report.html")]
    assert sum("Not promoted" in page for page in pages) == 1
    shown = cgcnn("models", "--store", store).stdout
    assert f"champion  {first['run']}" in shown
    assert f"not promoted {second['run']}" in shown


def test_predict_uses_the_champion_unless_told_otherwise(cgcnn, store):
    first, lazy = told(cgcnn, store)["decisions"]
    known = Store(root=store)
    assert model_folder("champion", known) == model_folder(NAME, known) == store / first["model"]
    assert model_folder(lazy["run"], known) == store / lazy["model"] != store / first["model"]


def test_promotion_by_hand_and_back(cgcnn, store):
    before = told(cgcnn, store)["champion"]["run"]
    lazy = told(cgcnn, store)["decisions"][1]["run"]
    done = cgcnn("promote", lazy, "--store", store)
    assert done.stdout.strip() == f"{NAME}: the champion is {lazy}, before it was {before}"
    assert told(cgcnn, store)["champion"]["run"] == lazy
    again = cgcnn("promote", lazy, "--store", store)
    assert (again.returncode, "is the champion" in again.stderr) == (2, True)
    done = cgcnn("rollback", NAME, "--store", store)
    assert done.stdout.strip() == f"{NAME}: the champion is {before}; {lazy} was taken back"
    assert told(cgcnn, store)["champion"]["run"] == before
    further = cgcnn("rollback", NAME, "--store", store)
    assert (further.returncode, "no champion before its first" in further.stderr) == (2, True)


def test_the_champion_that_is_trained_again_stays_it(cgcnn, store, crystals, small, tmp_path):
    """By hand another one, and by hand back: it is compared with that one, and neither decides nor goes on for ever."""
    own = shutil.copytree(store, tmp_path / "store")
    first, lazy, *_ = (decision["run"] for decision in told(cgcnn, own)["decisions"])
    for run in (lazy, first):
        assert cgcnn("promote", run, "--store", own).returncode == 0
    before = told(cgcnn, own)
    again = cgcnn("retrain", "--source", crystals, "--store", own, *small)
    assert again.returncode == 0, again.stderr
    assert told(cgcnn, own) == before
    log = re.sub(r"\s+", " ", again.stderr)
    assert f"{NAME}: nothing new to decide about {first}" in log
    assert f"{NAME}: the champion is {first}" in log


def test_what_is_asked_of_a_challenger_may_change(cgcnn, store, crystals, small, tmp_path):
    """The same model, the same champion, the same store: with other settings of the promotion it is decided anew."""
    own = shutil.copytree(store, tmp_path / "store")
    first, lazy, *_ = (decision["run"] for decision in told(cgcnn, own)["decisions"])
    assert cgcnn("promote", lazy, "--store", own).returncode == 0
    for settings, champion in {(): lazy, ("--set=promotion.least_common=5",): first}.items():
        again = cgcnn("retrain", "--source", crystals, "--store", own, *small, *settings)
        assert again.returncode == 0, again.stderr
        word = "not promoted" if champion == lazy else "promoted"
        assert f"{NAME}: {word}, for" in re.sub(r"\s+", " ", again.stderr)
        assert told(cgcnn, own)["champion"]["run"] == champion


def test_two_trainings_that_finish_together_are_both_decided(environment, crystals, small, tmp_path, cgcnn):
    """On one store at the same time: what both need is made once, and each decision follows the other."""
    store = tmp_path / "store"
    command = [sys.executable, "-m", "flows.cli", "retrain", f"--source={crystals}", f"--store={store}", *small]
    command += ["--set=train.epochs=4", "--set=promotion.least_common=5"]
    seeds = [[*command, f"--set=train.seed={seed}"] for seed in (1, 2)]
    runs = [
        subprocess.Popen(c, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for c in seeds
    ]
    logs = [run.communicate(timeout=300)[1] for run in runs]
    assert [run.returncode for run in runs] == [0, 0], logs
    decisions = told(cgcnn, store)["decisions"]
    assert [d["champion"] for d in decisions] == [None, decisions[0]["model"]]
    assert len(list(store.glob("download/*"))) == len(list(store.glob("graphs/*"))) == 1
    assert not list(store.glob("work/*"))

"""`cgcnn sweep` on a real server: a trial that fails, one that is pruned, a kill on the way, and the winner's file."""

import json
import shutil
import signal
import subprocess
import sys
import warnings

import optuna
import pyarrow.parquet as pq
import pytest
from optuna.trial import TrialState

from flows import config
from storage.store import Store
from storage.studies import studies

BAD, POOR, GOOD = 1.0, 1e-6, 1e-3  # learning rates: the first makes the loss infinite, the second learns nothing


@pytest.fixture(scope="module")
def swept(trained, crystals, small, environment, tmp_path_factory, wait_until):
    """The store of a sweep that was killed in its first training and started again, and what the second one printed."""
    folder = tmp_path_factory.mktemp("sweep")
    store = folder / "store"
    shutil.copytree(trained[0], store)
    settings = ["train.epochs=27", "train.optimizer=sgd", "train.loss=mse", "train.schedule=none", "train.ema=0"]
    settings += [
        "train.batch_size=4",
        f"search.train.learning_rate=[{GOOD}, {POOR}, {BAD}]",
        "sampler=grid",
        "seed=5",
    ]  # the good one first
    command = [sys.executable, "-m", "flows.cli", "sweep", f"--source={crystals}", f"--store={store}", *small]
    command += [f"--set={text}" for text in settings]
    with (folder / "log").open("w") as log:
        first = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    wait_until(lambda: '{"epoch": 3, "epochs": 27' in (folder / "log").read_text(), first, folder / "log")
    first.send_signal(signal.SIGKILL)
    first.wait()
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert second.returncode == 0, second.stderr
    return store, second, (folder / "log").read_text()


@pytest.fixture(scope="module")
def study(swept) -> optuna.Study:
    """The study as Optuna itself opens it."""
    (path,) = (swept[0] / "sweeps").glob("*.db")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return optuna.load_study(study_name=path.stem, storage=f"sqlite:///{path}")


def by_rate(study: optuna.Study) -> dict[float, optuna.trial.FrozenTrial]:
    """The last trial of each learning rate."""
    return {trial.params["train.learning_rate"]: trial for trial in study.trials}


def test_each_trial_ends_as_what_became_of_it(study):
    last = by_rate(study)
    assert {rate: trial.state for rate, trial in last.items()} == {
        GOOD: TrialState.COMPLETE,
        POOR: TrialState.PRUNED,
        BAD: TrialState.FAIL,
    }
    assert last[POOR].last_step < 27
    assert last[BAD].user_attrs["reason"].startswith("train.learning_rate 1: the loss is not finite")
    assert len(last[GOOD].intermediate_values) == 27


def test_the_killed_training_went_on_from_its_last_epoch(swept, study):
    store = Store.at(swept[0])
    done = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    assert len(done) == 1
    assert len(study.trials) == 4  # the killed one is there as failed, and a second time
    model = store.read("train-model", done[0].user_attrs["model"])
    assert model.facts["resumed_from"] >= 3


def test_before_it_starts_it_says_how_many_trainings_and_about_how_long(swept):
    assert "3 of 3 trainings to do" in swept[2]
    assert "0 of 3 trials, at most about" in swept[2]
    assert "3 of 3 trials, done" in swept[1].stderr


def test_the_value_is_the_validation_error_of_the_weights_that_are_kept(swept, study):
    best = by_rate(study)[GOOD]
    folder = swept[0] / "train-model" / best.user_attrs["model"]
    kept = json.loads((folder / "manifest.json").read_text())["facts"]["kept_epoch"]
    history = {row["epoch"]: row["validation_mae"] for row in pq.read_table(folder / "history.parquet").to_pylist()}
    assert best.value == history[kept]


def test_the_best_configuration_is_a_file_for_retrain_and_its_training_is_in_the_store(swept, study):
    (page,) = swept[0].glob("sweep/*/")
    assert f"cgcnn retrain --config {page / 'best.yaml'}" in swept[1].stdout
    best = config.configured([config.preset_or_file(str(page / "best.yaml"))])
    trained = Store.at(swept[0]).read("train-model", by_rate(study)[GOOD].user_attrs["model"])
    for name in ("model", "train", "split"):
        assert getattr(best, name).model_dump(mode="json") == trained.parameters[name]


def test_test_rows_are_evaluated_for_the_winner_alone(swept, trained, study):
    before = {path.name for path in (trained[0] / "evaluate").iterdir()}
    (new,) = {path.name for path in (swept[0] / "evaluate").iterdir()} - before
    evaluated = json.loads((swept[0] / "evaluate" / new / "manifest.json").read_text())
    winner = Store.at(swept[0]).read("train-model", by_rate(study)[GOOD].user_attrs["model"])
    assert evaluated["inputs"]["trained"] == winner.digest


def test_it_is_listed_and_its_table_has_every_trial(swept):
    (listed,) = studies(Store.at(swept[0]))
    assert listed.card.kind == "sweep"
    assert "best of 3 trials" in listed.card.headline
    rows = pq.read_table((swept[0] / listed.report).with_name("trials.parquet")).to_pylist()
    assert sorted(row["state"] for row in rows) == ["complete", "fail", "pruned"]

"""The training program: learns, stops, resumes bit for bit, and says what it cannot do."""

import json
import math
import os
import signal
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gnn import predict, progress, train
from storage.errors import InputError
from storage.exchange import offer
from storage.program import PROGRESS
from tasks.programs import SPINS_BRIEFLY


def history(spec: train.TrainSpec) -> list[dict]:
    return pq.read_table(spec.output / "history.parquet").to_pylist()


def test_a_training_learns_and_leaves_its_tables(spec):
    one = spec(epochs=40)
    facts = train.build(one)
    table = pq.read_table(one.output / "predictions.parquet").to_pandas()
    test = table[table["split"] == "test"]
    error = (test["predicted"] - test["target"]).abs().mean()
    assert error < 0.5 * (test["target"] - test["target"].mean()).abs().mean()
    assert len(table) == 120
    assert table["material_id"].is_monotonic_increasing
    assert sum(facts["split"].values()) == 120
    assert pq.read_table(one.output / "gates.parquet").num_rows > 0


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(spec):
    made = []
    for name, seed in (("one", 1), ("two", 1), ("three", 2)):
        run = spec(name, seed=seed)
        train.build(run)
        made.append((run.output / "model.safetensors").read_bytes())
    assert made[0] == made[1] != made[2]


def program(run: train.TrainSpec, threads: int) -> "subprocess.Popen[str]":
    """The training in a process of its own, which has so many threads, and waits as the step's programs do."""
    path = run.output.parent / "spec.json"
    path.write_text(run.model_dump_json())
    variables = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), str(threads)) | SPINS_BRIEFLY
    command = [sys.executable, "-m", "gnn.train", str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **variables})


@pytest.mark.parametrize(
    ("threads", "settings"),
    [(1, {}), (2, {"schedule": "plateau", "ema": 0.9, "optimizer": "sgd", "learning_rate": 0.01})],
)
def test_a_killed_training_ends_as_an_undisturbed_one(spec, threads, settings):
    undisturbed, killed = spec("undisturbed", epochs=12, **settings), spec("killed", epochs=12, **settings)
    child = program(killed, threads)
    for line in child.stdout:
        if line.startswith("{") and json.loads(line)["epoch"] == 5:
            break
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert not list(killed.output.iterdir())
    for run in (undisturbed, killed):
        child = program(run, threads)
        child.communicate()
        assert child.returncode == 0
    assert json.loads((killed.scratch / "facts.json").read_text())["resumed_from"] >= 5
    for name in ("model.safetensors", "history.parquet", "predictions.parquet", "model.json"):
        assert (killed.output / name).read_bytes() == (undisturbed.output / name).read_bytes(), name


def test_training_stops_when_validation_gets_no_better_and_keeps_the_best_weights(spec):
    run = spec(epochs=200, patience=3, schedule="none", learning_rate=0.5, optimizer="adam", loss="mse")
    facts = train.build(run)
    rows = history(run)
    assert len(rows) == facts["kept_epoch"] + 3 < 200
    best = min(row["validation_mae"] for row in rows)
    table = pq.read_table(run.output / "predictions.parquet").to_pandas()
    kept = table[table["split"] == "validation"]
    assert (kept["predicted"] - kept["target"]).abs().mean() == pytest.approx(best, rel=1e-5)


def test_where_the_schedule_ends_near_zero_the_last_weights_are_kept(spec):
    kept = {keep: train.build(spec(keep, epochs=4, keep=keep, seed=1))["kept_epoch"] for keep in ("auto", "last")}
    assert kept == {"auto": 4, "last": 4}


def test_schedules_move_the_learning_rate_as_they_are_named(spec):
    rates = {}
    for schedule in ("none", "cosine", "onecycle"):
        run = spec(schedule, schedule=schedule, epochs=6, learning_rate=0.01)
        train.build(run)
        rates[schedule] = [row["learning_rate"] for row in history(run)]
    assert set(rates["none"]) == {0.01}
    assert rates["cosine"] == sorted(rates["cosine"], reverse=True)
    assert max(rates["onecycle"]) > rates["onecycle"][0]
    assert max(rates["onecycle"]) > 5 * rates["onecycle"][-1]


def test_scaling_is_fitted_on_training_rows_alone(spec):
    run = spec()
    train.build(run)
    card = json.loads((run.output / "model.json").read_text())
    table = pq.read_table(run.output / "predictions.parquet").to_pandas()
    known = table[table["split"] == "train"]["target"]
    assert card["mean"] == pytest.approx(known.mean(), rel=1e-6)
    assert card["deviation"] == pytest.approx(known.std(ddof=0), rel=1e-6)


@pytest.mark.parametrize("loss", ["l1", "mse", "huber"])
def test_each_loss_trains(spec, loss):
    run = spec(loss=loss, clip=1.0, ema=0.5)
    assert math.isfinite(train.build(run)["seconds"])
    assert all(math.isfinite(row["train_loss"]) for row in history(run))


def test_classification_gives_probabilities(spec):
    run = spec(task="classification", threshold=3.5, epochs=30)
    train.build(run)
    table = pq.read_table(run.output / "predictions.parquet").to_pandas()
    assert set(table["target"]) == {0.0, 1.0}
    assert table["predicted"].between(0, 1).all()
    means = table.groupby("target")["predicted"].mean()
    assert means[1.0] > means[0.0] + 0.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"learning_rate": 1.0, "optimizer": "sgd", "loss": "mse", "epochs": 60, "model": {"normalization": "none"}},
            "the loss is not finite in epoch",
        ),
        ({"task": "classification", "threshold": 99.0}, "all training rows lie on one side"),
        ({"split": {"validation": 1e-9}}, "no validation rows among 120"),
        ({"split": {"column": "split_x"}}, "split.column split_x: no such column"),
    ],
)
def test_what_cannot_be_trained_is_one_line(spec, settings, message):
    with pytest.raises(InputError) as fault:
        train.build(spec(**settings))
    assert message in str(fault.value)
    assert "\n" not in str(fault.value)


def test_prediction_gives_what_training_gave(spec, table, tmp_path):
    run = spec()
    train.build(run)
    (batches := tmp_path / "batches").mkdir()
    names = [str(n) for n in range(len(table))]
    rows = table.select(["material_id", "formula"]).rename_columns(["id", "formula"])
    inputs = rows.append_column("error", [pa.nulls(len(rows), pa.string())])
    offer(batches, [{"inputs": inputs, "graphs": table.set_column(0, table.schema.field(0), [names])}])
    wanted = predict.PredictSpec(
        output=tmp_path, scratch=tmp_path, model=run.output, batches=batches, parts=tmp_path, form=".parquet"
    )
    predict.build(wanted)
    found = pq.read_table(tmp_path / "predictions.parquet").to_pandas()
    stored = pq.read_table(run.output / "predictions.parquet").to_pandas()
    assert found["id"].tolist() == stored["material_id"].tolist()
    assert found["predicted"].to_numpy() == pytest.approx(stored["predicted"].to_numpy(), rel=1e-5, abs=1e-6)


def test_what_takes_long_says_how_far_it_is(spec, monkeypatch, capsys):
    """Who says nothing for long is taken for one that hangs, and is ended."""
    monkeypatch.setattr(progress, "QUIET", -1.0)
    train.build(spec(epochs=1))
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    last = {line[PROGRESS]: (line["done"], line["total"]) for line in lines if PROGRESS in line}
    assert last["graphs read"][0] == 120
    assert last["structures predicted"] == (120, 120)
    assert last["structures of the epoch"][0] == last["structures of the epoch"][1] > 50
    assert last["structures of the validation"][0] > 10

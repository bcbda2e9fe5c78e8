"""The whole flow, run as its users run it: what is cached, what is made again, and what survives a kill."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.cli import main

STEPS = ["download", "validate", "graphs", "train-model", "evaluate", "compare", "report", "promote"]


@pytest.fixture
def store(trained, tmp_path):
    """A copy of that store: a store that is moved is still a cache."""
    return shutil.copytree(trained[0], tmp_path / "store")


@pytest.fixture
def again(cgcnn, crystals, small, store, states):
    """Runs the same flow on the copied store with some settings changed; the state of each step, and the log."""

    def run(*changes: str) -> tuple[dict[str, str], str]:
        done = cgcnn("retrain", "--source", crystals, "--store", store, *small, *changes)
        assert done.returncode == 0, done.stderr
        return states(done), done.stderr

    return run


def cached(ended: dict[str, str]) -> list[str]:
    return [step for step in STEPS if ended[step] == "Cached"]


def test_last_lines_tell_error_baseline_and_report(trained):
    _, error, report = trained[1].stdout.strip().splitlines()[-3:]
    assert re.fullmatch(r"test MAE \S+ eV on \d+ materials; baseline \S+ eV", error)
    assert Path(report.removeprefix("report: ")).stat().st_size > 10_000


def test_one_json_line_an_epoch(trained):
    epochs = [json.loads(line) for line in trained[1].stdout.splitlines() if line.startswith("{")]
    assert [record["epoch"] for record in epochs] == list(range(1, 31))


def test_eight_steps(trained, states):
    assert [step for step in states(trained[1]) if step != "graph-shard"] == STEPS


def test_rows_in_are_accepted_and_rejected(trained):
    facts = json.loads(next(trained[0].glob("validate/*/manifest.json")).read_text())["facts"]
    assert facts["rows"] == 60
    assert facts["accepted"] + facts["rejected"] == 60
    assert facts["by_rule"] == {"target": 1, "min_distance": 1, "lattice": 1, "unique": 1}


def test_a_second_run_takes_every_step_from_the_store(again):
    ended, log = again()
    assert cached(ended) == STEPS
    assert "nothing has changed since" in re.sub(r"\s+", " ", log)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ("--set=graphs.max_neighbors=6", STEPS[:2]),
        ("--set=checks.min_distance=0.4", STEPS[:1]),
    ],
)
def test_a_change_reaches_only_what_depends_on_it(again, change, kept):
    """A stricter bound that rejects the same rows gives the same structures, so what follows is cached all the same."""
    ended, _ = again(change)
    assert cached(ended)[: len(kept)] == kept
    following = STEPS[len(kept)]
    assert ended[following] == "Completed"


@pytest.mark.parametrize(
    "damage",
    [{"download": "deleted", "report": "flipped"}, {"graph-shard": "flipped", "train-model": "deleted"}],
)
def test_damaged_files_cost_their_own_steps_alone(again, store, damage):
    victims = {
        step: max(next((store / step).iterdir()).glob("*[!n]"), key=lambda path: path.stat().st_size) for step in damage
    }
    before = {step: victim.read_bytes() for step, victim in victims.items()}
    for step, how in damage.items():
        if how == "deleted":
            victims[step].unlink()
        else:
            victims[step].write_bytes(before[step][:-1] + bytes([before[step][-1] ^ 1]))
    ended, log = again()
    rebuilt = {name for step in damage for name in {"graph-shard": ["graph-shard", "graphs"]}.get(step, [step])}
    assert {name for name, state in ended.items() if state != "Cached"} == rebuilt
    for step, victim in victims.items():
        told = rf"{step} [0-9a-f]{{8}}: {re.escape(victim.name)} (is missing|has other)"
        assert re.search(told, re.sub(r"\s+", " ", log))
        assert victim.read_bytes() == before[step]


def test_a_killed_run_leaves_no_server_goes_on_and_ends_with_the_same_model(  # noqa: PLR0913  fixtures
    environment, crystals, small, trained, store, again, prefect_home, tmp_path
):
    """Killed in the training, with a temporary server of its own."""
    (undisturbed,) = trained[0].glob("train-model/*")
    shutil.rmtree(store / "train-model" / undisturbed.name)
    alone = {name: value for name, value in environment.items() if name != "PREFECT_API_URL"}
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "retrain", f"--source={crystals}", f"--store={store}", *small],
        env={**alone, "PREFECT_HOME": str(prefect_home(tmp_path / "home"))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    while not (line := process.stdout.readline()).startswith('{"epoch": 5,'):
        assert line, "ended before it trained"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)  # until everybody who could write there is gone: the training and the server
    ended, _ = again()
    assert [step for step, state in ended.items() if state != "Cached"] == ["train-model"]
    resumed = store / "train-model" / undisturbed.name
    assert 5 <= json.loads((resumed / "manifest.json").read_text())["facts"]["resumed_from"] < 30
    for name in ("model.safetensors", "predictions.parquet", "history.parquet"):
        assert (resumed / name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_a_killed_shard_is_retried_and_the_flow_goes_on(trained):
    assert "SIGKILL" in trained[1].stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "nowhere.parquet"], "nowhere.parquet"),
        (["--target", "no_such"], "formation_energy_per_atom"),
        (["--set", "train.epochs=many"], "train.epochs"),
        (["--set", "train.epoch=3"], "train.epochs"),
        (["--set", "train.epochs"], "KEY=VALUE"),
        (["--set", "model.name=cgnn"], "cgcnn"),
        (["--config", "chapte"], "chapter"),
        (["--sorce", "alloys"], "--sorce"),
        (["--set", "graphs.cutoff=null", "--set", "graphs.max_neighbors=null"], "max_neighbors"),
    ],
)
def test_a_wrong_argument_is_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        main(["retrain", *arguments])
    assert left.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_too_many_rejected_rows_stop_the_run_with_the_counts(cgcnn, crystals, tmp_path):
    done = cgcnn("retrain", "--source", crystals, "--store", tmp_path / "store")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert "min_distance" in last
    assert "checks.max_rejected" in last


def test_the_same_bytes_under_another_name_are_another_run(cgcnn, crystals, small, store, states, tmp_path):
    """Nothing is trained again, but report and card say the new name."""
    copy = tmp_path / "other.jsonl"
    shutil.copy(crystals, copy)
    done = cgcnn("retrain", "--source", copy, "--store", store, *small)
    assert states(done)["train-model"] == "Cached"
    assert done.stdout.strip().splitlines()[-3].startswith("other-energy_ev-")
    assert "other" in Path(done.stdout.strip().splitlines()[-1].removeprefix("report: ")).read_text()


def test_steps_and_artifacts_are_in_the_server(trained, ask):
    assert trained[1].returncode == 0
    names = {run["name"].rpartition("-")[0] for run in ask("task_runs/filter", limit=200)}
    assert set(STEPS) <= names
    assert {"report", "errors", "page", "training"} <= {
        artifact["key"] for artifact in ask("artifacts/filter", limit=200)
    }
    assert any('"epoch": 30' in line["message"] for line in ask("logs/filter", limit=200))


def test_a_schedule_makes_runs(ask):
    """With the SQLAlchemy that the pin keeps out, the server starts, everything works, and no run is ever scheduled."""
    flow = ask("flows/", name="scheduled")["id"]
    cron = {"schedule": {"cron": "0 3 * * 1", "timezone": "UTC"}, "active": True}
    deployment = ask("deployments/", name="weekly", flow_id=flow, schedules=[cron])["id"]
    until = time.monotonic() + 120
    while not ask("flow_runs/filter", flow_runs={"deployment_id": {"any_": [deployment]}}):
        assert time.monotonic() < until, "no run was scheduled within two minutes"
        time.sleep(0.5)

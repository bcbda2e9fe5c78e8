"""Trainings of several processes: what one process gives, whoever is killed on the way."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from gnn import train
from gnn.config import Placement
from gnn.join import _spec
from storage.errors import InputError

LOCAL = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def losses(run: train.TrainSpec) -> torch.Tensor:
    rows = pq.read_table(run.output / "history.parquet").to_pylist()
    return torch.tensor([[row["train_loss"], row["validation_mae"]] for row in rows], dtype=torch.float64)


def on(run: train.TrainSpec, processes: int) -> train.TrainSpec:
    return run.model_copy(update={"placement": Placement(processes=processes)})


def started(run: train.TrainSpec, **variables: str) -> "subprocess.Popen[str]":
    """The training program in a process of its own, in a process group of its own."""
    path = run.output.parent / "spec.json"
    path.write_text(run.model_dump_json())
    return subprocess.Popen(
        [sys.executable, "-m", "gnn.train", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, **LOCAL, "CGCNN_ENDS_WITH_PARENT": "1", **variables},
    )


def ranks_of(run: train.TrainSpec) -> dict[int, int]:
    """Rank → process id, of all processes that work on this training now."""
    found = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                arguments = (process / "cmdline").read_text().split("\0")
                variables = dict(v.split("=", 1) for v in (process / "environ").read_text().split("\0") if "=" in v)
            except OSError:
                continue
            if str(run.scratch / "ranks-here.json") in arguments and "torch.distributed.run" not in arguments:
                found[int(variables["RANK"])] = int(process.name)
    return found


def wait_for_epoch(child: "subprocess.Popen[str]", epoch: int) -> None:
    for line in child.stdout or ():
        if line.startswith('{"epoch"') and json.loads(line)["epoch"] == epoch:
            return
    raise AssertionError(f"it ended before epoch {epoch}")


def assert_same_curve(several: train.TrainSpec, alone: train.TrainSpec) -> None:
    assert torch.allclose(losses(several), losses(alone), rtol=1e-4, atol=0)
    assert predicted(several) == pytest.approx(predicted(alone), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("model", [{"name": "cogn"}, {"normalization": "gated"}])
def test_three_processes_give_the_curve_of_one(spec, model):
    """The last batch of an epoch has one row: two of the three have nothing to do there."""
    settings = {"model": model, "epochs": 4, "batch_size": 73, "clip": 1.0}
    alone, several = spec("one", **settings), on(spec("three", **settings), 3)
    train.build(alone)
    assert train.build(several)["processes"] == 3
    assert_same_curve(several, alone)


def predicted(run: train.TrainSpec) -> list[float]:
    return pq.read_table(run.output / "predictions.parquet")["predicted"].to_pylist()


def test_two_processes_give_the_curve_of_one_and_a_killed_rank_changes_no_byte(spec):
    settings = {"epochs": 12, "batch_size": 30}
    alone, undisturbed = spec("one", **settings), on(spec("undisturbed", **settings), 2)
    killed = on(spec("killed", **settings), 2)
    for run in (alone, undisturbed):
        train.build(run)
    assert_same_curve(undisturbed, alone)
    with started(killed) as child:
        wait_for_epoch(child, 4)
        os.kill(ranks_of(killed)[1], signal.SIGKILL)
        rest = child.stdout.read()
    assert child.returncode == 0
    assert "restart 1 after a process died" in rest
    for name in ("model.safetensors", "history.parquet", "predictions.parquet"):
        assert (killed.output / name).read_bytes() == (undisturbed.output / name).read_bytes(), name


@pytest.mark.parametrize("way", ["the parent is killed", "the launcher is killed"])
def test_no_rank_stays_behind(spec, way):
    run = on(spec("run", epochs=5000), 2)
    child = started(run)
    wait_for_epoch(child, 1)
    ranks = ranks_of(run)
    assert set(ranks) == {0, 1}
    if way == "the parent is killed":
        child.stdin.close()  # as the system closes the pipe of a parent that is gone
    else:
        os.kill(child.pid, signal.SIGKILL)
    child.wait(40)
    deadline = time.monotonic() + 20
    while ranks_of(run) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not ranks_of(run)
    child.stdout.close()
    child.stdin.close()


def test_what_cannot_be_trained_is_the_same_line_from_several_processes(spec):
    run = on(spec(task="classification", threshold=99.0), 2)
    with pytest.raises(InputError, match="all training rows lie on one side"):
        train.build(run)


def test_a_machine_joins_the_newest_training(tmp_path, monkeypatch):
    """One that was killed has left its spec."""
    monkeypatch.setenv("PET_RDZV_ID", "alloys")
    for number, key in enumerate(("2", "1", "3")):
        path = tmp_path / "work" / f"train-model-{key}" / "scratch" / "ranks-alloys.json"
        path.parent.mkdir(parents=True)
        path.write_text(key)
        os.utime(path, (number, number))
    assert _spec(tmp_path, 1).read_text() == "3"


FAILING = """
import os

if os.environ.get("LOCAL_RANK") == "1":
    from gnn import graph_files
    from storage.errors import InputError

    def fail(*_, **__):
        raise InputError("there is no room here")

    graph_files.open_graphs = fail
"""


def test_a_rank_that_alone_cannot_go_on_ends_those_that_wait_for_it(spec, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text(FAILING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(InputError, match="there is no room here"):
        train.build(on(spec(), 2))


def test_two_machines_train_as_one(spec, tmp_path):
    """Two launchers on loopback, each with one rank, as they would stand on two machines with a common folder."""
    alone, made = spec("alone"), spec("work/train-model-1")
    train.build(alone)
    two = on(made, 1)
    meeting = {
        "PET_NNODES": "2",
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ENDPOINT": f"127.0.0.1:{free_port()}",
        "PET_RDZV_ID": "a-training",
        "PET_LOCAL_ADDR": "127.0.0.1",
    }
    join = [sys.executable, "-m", "gnn.join", str(tmp_path), "--wait", "60"]
    further = subprocess.Popen(join, env={**os.environ, **LOCAL, **meeting})
    with started(two, **meeting) as first:
        lines = first.stdout.read()
    assert (first.returncode, further.wait(60)) == (0, 0)
    assert "2 processes" in lines
    assert torch.allclose(losses(two), losses(alone), rtol=1e-4, atol=0)
    assert len(predicted(two)) == 120
    assert list(tmp_path.glob("work/*/scratch/ranks-*")) == []  # what the next one would join


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_give_the_curve_of_one(spec):
    """By NCCL, which sums nothing that lies in the machine's memory."""
    alone, two = (spec(name).model_copy(update={"device": "cuda"}) for name in ("alone", "two"))
    train.build(on(alone, 1))
    train.build(on(two, 2))
    assert_same_curve(two, alone)


@pytest.mark.parametrize("index", ["0", "1"])
def test_the_first_pod_of_an_indexed_job_runs_the_flow_and_the_others_join(tmp_path, index):
    variables = {**os.environ, "JOB_COMPLETION_INDEX": index}
    command = [sys.executable, "-m", "gnn.join", str(tmp_path), "--wait", "0.1", "--", "printenv", "PET_RDZV_ENDPOINT"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    if index == "0":
        assert done.stdout.strip().endswith(":29400")
        assert done.returncode == 0
    else:
        assert done.returncode == 1
        assert "began within 0.1 s" in done.stderr


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])

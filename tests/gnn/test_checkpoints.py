"""A training's checkpoints: damaged ones, those of somebody else, and those of a machine that shares no disk."""

import json
import logging
import os
import pickle
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from gnn import train
from gnn.checkpoint import load_checkpoint, save_checkpoint
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from storage.artefact import Recipe
from storage.checkpoints import CHECKPOINTS, add_checkpoint, checkpoints_among, checkpoints_in
from storage.store import Store
from tasks.programs import Program

RECIPE = Recipe(step="train-model", version=1, parameters={}, inputs={})
EPOCHS = 40
CPU = torch.device("cpu")
# A worker without Prefect: what a task does for this step, ended by SIGTERM as a task is.
WORKER = """
import logging, signal, sys
from storage.artefact import Recipe
from storage.store import Store
from tasks.checkpoints import shared_checkpoints
from tasks.programs import Program, run_program

signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
store, recipe = Store.at(sys.argv[1]), Recipe.model_validate_json(sys.argv[2])
with store.building(recipe.step, recipe.key) as work:
    with shared_checkpoints(store, recipe, work, float(sys.argv[4]), logging.getLogger()) as log:
        lines = lambda line: (print(line, flush=True), log())
        facts = run_program(Program.model_validate_json(sys.argv[3]), work, lines)
        store.commit(recipe, work / "output", facts)
"""


@pytest.fixture(scope="module")
def settings(shards) -> dict:
    """The fields of a training's spec."""
    return {
        "graphs": shards,
        "graph_config": {"cutoff": 8.0},
        "target": "energy_ev",
        "unit": "eV",
        "model": ModelConfig(atom_fea_len=8, h_fea_len=8, n_conv=1),
        "train": TrainConfig(epochs=EPOCHS),
        "split": SplitConfig(validation=0.2, test=0.2),
        "device": "cpu",
    }


@pytest.fixture(scope="module")
def undisturbed(settings, tmp_path_factory) -> Path:
    """The output of a training from the first epoch to the last; its scratch folder lies beside it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    folders = {kind: folder / kind for kind in ("output", "scratch")}
    for made in folders.values():
        made.mkdir()
    train.build(train.TrainSpec(**settings, **folders))
    return folders["output"]


@pytest.fixture
def worker(settings, bucket, tmp_path):
    """worker(machine, minutes): a worker with a disk of its own trains; its lines are those of its log."""
    started = []

    def start(machine: str, minutes: float) -> "subprocess.Popen[str]":
        program = Program(module="gnn.train", spec=settings).model_dump_json()
        command = [sys.executable, "-c", WORKER, bucket, RECIPE.model_dump_json(), program, str(minutes)]
        own = {"XDG_CACHE_HOME": str(tmp_path / machine), "OMP_NUM_THREADS": str(torch.get_num_threads())}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, **own})
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def epochs_of(lines: list[str]) -> list[int]:
    return [json.loads(line)["epoch"] for line in lines if line.startswith("{")]


def test_workers_that_share_no_disk_go_on_from_each_other(worker, bucket, tmp_path, undisturbed):
    """The first is killed, the second is stopped, the third ends as if nothing had been."""
    there = Store(root=tmp_path / "looks", url=bucket)
    killed = worker("one", minutes=0.003)
    sent = 0
    for line in killed.stdout:
        sent += "is in the store" in line
        if sent == 2:
            break
    killed.kill()
    reached = epochs_of(killed.communicate()[0].splitlines())
    names = [name.rpartition("/")[2] for name in there.remote.sizes("work")]
    in_store = checkpoints_among(names)[0].epoch

    stopped = worker("two", minutes=5.0)
    lines = []
    for line in stopped.stdout:
        lines.append(line)
        if len(epochs_of(lines)) == 5:
            break
    stopped.send_signal(signal.SIGTERM)
    lines += stopped.communicate(timeout=30)[0].splitlines()
    assert f"goes on after epoch {in_store}, with the checkpoint from {bucket}\n" in lines
    assert epochs_of(lines)[0] == in_store + 1
    assert max(reached, default=0) < EPOCHS

    third = worker("three", minutes=5.0)
    lines_of_third = third.communicate(timeout=60)[0].splitlines()
    assert third.returncode == 0
    assert epochs_of(lines_of_third) == list(range(epochs_of(lines)[-1] + 1, EPOCHS + 1))
    assert there.remote.sizes("work") == {}
    model = there.find(RECIPE.step, RECIPE.key, print)
    assert set(model.files) == {path.name for path in undisturbed.iterdir()}
    for name in ("model.safetensors", "history.parquet", "predictions.parquet", "model.json"):
        assert there.path(model, name).read_bytes() == (undisturbed / name).read_bytes(), name


def test_a_training_whose_newest_checkpoint_is_damaged_takes_the_one_before(settings, undisturbed, tmp_path, caplog):
    scratch = shutil.copytree(undisturbed.parent / "scratch", tmp_path / "scratch")
    newest, before = checkpoints_in(scratch / CHECKPOINTS)
    path = scratch / CHECKPOINTS / newest.name
    path.write_bytes(path.read_bytes()[:-100])
    (tmp_path / "again").mkdir()
    facts = train.build(train.TrainSpec(**settings, scratch=scratch, output=tmp_path / "again"))
    assert facts["resumed_from"] == before.epoch == EPOCHS - 1
    assert f"{path}: is damaged, and skipped" in caplog.messages
    for file in undisturbed.iterdir():
        assert (tmp_path / "again" / file.name).read_bytes() == file.read_bytes()
    assert pq.read_table(tmp_path / "again" / "history.parquet").num_rows == EPOCHS


def test_what_would_run_code_is_no_checkpoint(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    saved = {"weights": torch.ones(3), "state": {"epoch": 4}}
    save_checkpoint(saved, tmp_path)
    trap = tmp_path / "trap"
    (tmp_path / "aside").write_bytes(pickle.dumps(_Trap(trap), protocol=2))
    add_checkpoint(tmp_path / "aside", 5)
    assert load_checkpoint(tmp_path, CPU)["state"] == {"epoch": 4}
    assert not trap.exists()
    assert caplog.messages[0].endswith("is no checkpoint of a training, and skipped")


class _Trap:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)

"""A sweep ends trainings early on other machines, too: in the pool `gpu`, and on a Dask cluster."""

import json
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.trial import TrialState
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate

from flows.train import train
from tasks.heartbeat import online_workers

GOOD = 8e-3  # the default learning rate: its training is in the store
POOR = {"pool": 1e-7, "dask": 1e-8}
JUDGED = 10  # the epoch after which the pruner can end a training of 30
ROOT = Path(__file__).parents[2]
SLOW = f"""
import builtins, json, pathlib, sys, time
if "gnn.train" in sys.orig_argv:
    whole, rate = print, json.loads(pathlib.Path(sys.orig_argv[-1]).read_text())["train"]["learning_rate"]
    def slowly(*words, **options):
        whole(*words, **options)
        text = " ".join(map(str, words))
        late = text.startswith('{{"epoch"') and json.loads(text)["epoch"] >= {JUDGED}
        time.sleep(3.0 if late and rate == {POOR["pool"]} else 0.0)
    builtins.print = slowly
"""


@pytest.fixture(scope="module")
def store(trained, tmp_path_factory) -> Path:
    """A store with one training, of the best settings."""
    return shutil.copytree(trained[0], tmp_path_factory.mktemp("pruning") / "store")


@pytest.fixture(scope="module")
def sweep(crystals, small, store, environment):
    """sweep(a poor learning rate, settings, variables): sweeps over that and the good one; what it printed."""

    def run(poor: float, settings: list[str], variables: dict[str, str]) -> "subprocess.CompletedProcess[str]":
        search = [f"--set=search.train.learning_rate=[{poor}, {GOOD}]", "--set=sampler=grid", "--set=seed=0"]
        command = [sys.executable, "-m", "flows.cli", "sweep", f"--source={crystals}", f"--store={store}"]
        return subprocess.run(
            [*command, *small, *search, *settings],
            env={**environment, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    return run


@pytest.fixture
def gpu_worker(server, environment, tmp_path) -> Iterator[None]:
    """A worker of the pool `gpu`; later epochs of the poor training take long. After the test there is no such pool."""
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    told = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    (gpu,) = [deployment for deployment in told if deployment["name"] == "gpu"]
    own = {"PYTHONPATH": str(tmp_path), "PREFECT_WORKER_QUERY_SECONDS": "1"}
    with SyncPrefectClient(server) as client:
        client.create_work_pool(WorkPoolCreate(name="gpu", type="process", concurrency_limit=1))
        deployment = client.create_deployment(
            client.create_flow(train),
            "gpu",
            entrypoint=gpu["entrypoint"],
            work_pool_name="gpu",
            job_variables=gpu["work_pool"]["job_variables"],
            pull_steps=[],
        )
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu"]
        with (tmp_path / "log").open("w") as log:
            worker = subprocess.Popen(command, env={**environment, **own}, stdout=log, stderr=log)
        while not online_workers(client, "gpu"):
            assert worker.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.2)
        yield
        worker.terminate()
        worker.wait(60)
        client.delete_deployment(deployment)
        client.delete_work_pool("gpu")


def trials(store: Path, poor: float) -> dict[float, optuna.trial.FrozenTrial]:
    """Learning rate → trial, of the study that has the poor one."""
    for path in (store / "sweeps").glob("*.db"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.load_study(study_name=path.stem, storage=f"sqlite:///{path}").trials
        by_rate = {trial.params["train.learning_rate"]: trial for trial in found}
        if poor in by_rate:
            return by_rate
    raise LookupError(poor)


def check(store: Path, poor: float) -> None:
    """The good trial came from the store; the poor one was ended early, and its checkpoint is kept."""
    found = trials(store, poor)
    assert {rate: trial.state for rate, trial in found.items()} == {
        GOOD: TrialState.COMPLETE,
        poor: TrialState.PRUNED,
    }
    assert found[poor].last_step < 30
    (kept,) = [
        spec.parent
        for spec in store.glob("work/train-model-*/spec.json")
        if json.loads(spec.read_text())["train"]["learning_rate"] == poor
    ]
    assert list(kept.glob("scratch/checkpoints/*"))


@pytest.mark.parametrize("dask", [1], indirect=True)
def test_a_poor_training_on_dask_ends_early(dask, sweep, store):
    address, _workers = dask
    done = sweep(POOR["dask"], [], {"CGCNN_DASK": address})
    assert done.returncode == 0, done.stderr
    check(store, POOR["dask"])


@pytest.mark.usefixtures("gpu_worker")
def test_a_poor_training_in_the_pool_ends_early_and_its_run_is_cancelled(sweep, store, ask):
    done = sweep(POOR["pool"], ["--set=train.where=gpu-pool"], {})
    assert done.returncode == 0, done.stderr
    check(store, POOR["pool"])
    runs: list[dict[str, Any]] = ask("flow_runs/filter", deployments={"name": {"any_": ["gpu"]}}, limit=9)
    (poor,) = [run for run in runs if run["parameters"]["train"]["learning_rate"] == POOR["pool"]]
    assert poor["state_type"] == "CANCELLED"
    log = "\n".join(
        line["message"] for line in ask("logs/filter", logs={"flow_run_id": {"any_": [poor["id"]]}}, limit=200)
    )
    assert log.count('{"epoch"') < 30
    assert not re.findall("Runner failed|error was encountered", log)  # the worker could run the hook

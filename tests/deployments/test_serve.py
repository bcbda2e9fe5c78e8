"""`make serve`: what it starts, what the API says of it, and that nothing is left when it ends."""

import functools
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import SyncPrefectClient

from storage.remote import Remote

ROOT = Path(__file__).parents[2]
QUICK = {
    "checks": {"max_rejected": 0.2},
    "split": {"validation": 0.2, "test": 0.2},
    "model": {"atom_fea_len": 8, "h_fea_len": 8},
}


class Service:
    """A running `deployments/serve.py`, and the API of its server."""

    def __init__(self, folder: Path, store: str, ports: tuple[int, int], ask_server: Callable[..., Any]) -> None:
        self.folder, self.store = folder, store
        self.api = f"http://127.0.0.1:{ports[0]}/api"
        self.ask = functools.partial(ask_server, self.api)
        self.command = [sys.executable, str(ROOT / "deployments" / "serve.py"), f"--store={self.store}"]
        self.command += [f"--port={ports[0]}", f"--reports-port={ports[1]}", "--no-gpu-worker"]
        own = {"PREFECT_HOME": str(folder / "home"), "XDG_CACHE_HOME": str(folder / "here"), "OMP_NUM_THREADS": "1"}
        self.environment = {**os.environ, **own}
        self.log = folder / "log"

    def start(self) -> None:
        """Start it, and wait until it says where it is."""
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
        self.wait(lambda: "Ctrl-C stops it all" in self.log.read_text())

    def wait(self, reached: Any, seconds: float = 120) -> None:
        """Until then, but not for ever."""
        until = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < until, self.log.read_text()
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.3)

    def run(self, name: str = "retrain/adhoc", state: dict[str, str] | None = None, **parameters: Any) -> str:
        """The id of a run of the deployment, as the UI's form starts one."""
        deployment = self.ask(f"deployments/name/{name}")
        whole = {**deployment["parameters"], **parameters}
        asked = self.ask(
            f"deployments/{deployment['id']}/create_flow_run", parameters=whole, state=state or {"type": "SCHEDULED"}
        )
        return str(asked["id"])

    def state(self, run: str) -> str:
        """The type of the run's state."""
        return str(self.ask(f"flow_runs/{run}")["state_type"])

    def ended(self, run: str, seconds: float = 240) -> str:
        """The type of the run's last state."""
        self.wait(lambda: self.state(run) in {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}, seconds)
        return self.state(run)

    def trainings(self) -> list[dict[str, Any]]:
        """The flow runs of train/gpu, oldest first."""
        found = self.ask("flow_runs/filter", flows={"name": {"any_": ["train"]}}, limit=20)
        return sorted(found, key=lambda run: run["created"])

    def epochs(self, run: str) -> int:
        """How many epochs the log of a run tells."""
        lines = self.ask("logs/filter", logs={"flow_run_id": {"any_": [run]}}, limit=200)
        return sum(line["message"].startswith('{"epoch"') for line in lines)

    def left(self) -> list[str]:
        """Command lines of processes that have to do with this service."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.folder).encode() in told and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        return found

    def end(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(90)


@pytest.fixture(scope="module")
def service(tmp_path_factory, free_port, ask_server, new_bucket, prefect_home):
    folder = tmp_path_factory.mktemp("serve")
    prefect_home(folder / "home")
    made = Service(folder, new_bucket(), (free_port(), free_port()), ask_server)
    made.start()
    yield made
    if made.process.poll() is None:  # where the last test, which ends it, was not run
        made.end()


@pytest.fixture
def gpu_worker(service):
    """Starts a worker of the pool gpu, each as on another machine: its copy of the store is its own."""
    started = []

    def start() -> "subprocess.Popen[bytes]":
        disk = service.folder / f"there-{len(started)}"
        own = {"XDG_CACHE_HOME": str(disk), "PREFECT_API_URL": service.api, "PREFECT_WORKER_QUERY_SECONDS": "2"}
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "gpu"]
        with (service.folder / "worker").open("w") as log:
            started.append(subprocess.Popen(command, env={**service.environment, **own}, stdout=log, stderr=log))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_the_deployments_are_there_and_the_schedule_is_off(service):
    found = {d["name"]: d for d in service.ask("deployments/filter", limit=10)}
    pools = {name: deployment["work_pool_name"] for name, deployment in found.items()}
    studies = {"sweep": "cpu", "crossvalidate": "cpu", "ablate": "cpu", "curve": "cpu"}
    assert pools == {"weekly": "cpu", "adhoc": "cpu", "batch": "cpu", "gpu": "gpu", **studies}
    (schedule,) = found["weekly"]["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == (
        False,
        "0 3 * * 1",
        "UTC",
    )
    assert {d["parameters"]["store"] for d in found.values()} == {service.store}
    assert service.ask("work_pools/gpu")["concurrency_limit"] == 1


def test_applied_again_it_is_the_same_and_a_schedule_stays_on(service):
    def schedule() -> dict[str, Any]:
        (only,) = service.ask("deployments/name/retrain/weekly")["schedules"]
        return only

    deployment = service.ask("deployments/name/retrain/weekly")["id"]
    switch = urllib.request.Request(
        f"{service.api}/deployments/{deployment}/schedules/{schedule()['id']}",
        b'{"active": true}',
        {"Content-Type": "application/json"},
        method="PATCH",
    )
    urllib.request.urlopen(switch, timeout=30).close()
    before = service.ask("deployments/filter", limit=10)
    subprocess.run(
        [sys.executable, str(ROOT / "deployments" / "apply.py"), "--store", service.store],
        env={**service.environment, "PREFECT_API_URL": service.api},
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert schedule()["active"]
    after = service.ask("deployments/filter", limit=10)
    for name in ("id", "parameters", "entrypoint", "work_pool_name", "job_variables"):
        assert [d[name] for d in after] == [d[name] for d in before]


def test_a_bad_value_is_refused_before_there_is_a_run(service):
    with pytest.raises(urllib.error.HTTPError) as refused:
        service.run(train={"epochs": -3})
    assert "-3 is less than the minimum of 1" in refused.value.read().decode()


def test_the_form_describes_its_parameters(service):
    schema = service.ask("deployments/name/retrain/adhoc")["parameter_openapi_schema"]
    assert "alloys, materials-project" in schema["properties"]["source"]["description"]
    assert "eV/atom" in schema["definitions"]["MaterialsProjectQuery"]["properties"]["formation_energy"]["description"]


def test_without_a_worker_of_the_pool_gpu_it_says_so_at_once(service, crystals):
    run = service.run(**QUICK, source=str(crystals), train={"epochs": 1, "where": "gpu-pool"})
    assert service.ended(run) == "FAILED"
    assert "no worker of the pool gpu is alive" in service.ask(f"flow_runs/{run}")["state"]["message"]
    assert service.trainings() == []


def test_a_training_on_another_worker_outlives_it_and_the_report_is_a_click_away(service, gpu_worker, crystals):
    """The store is all that the workers share. One of them is killed in the training; the next goes on from there."""
    worker = gpu_worker()
    service.wait(lambda: len(service.ask("work_pools/gpu/workers/filter", limit=5)) == 1)
    settings = {"epochs": 120, "where": "gpu-pool", "checkpoint_minutes": 0.002}
    run = service.run(**QUICK, source=str(crystals), train=settings)
    service.wait(lambda: any("checkpoint-" in name for name in Remote(service.store).sizes("work")), 120)
    worker.kill()
    worker.wait()
    gpu_worker()
    assert service.ended(run) == "COMPLETED"
    assert [training["state_type"] for training in service.trainings()] == ["CRASHED", "COMPLETED"]
    (trained,) = (service.folder / "there-1").glob("cgcnn-flows/*/train-model/*/manifest.json")
    assert json.loads(trained.read_text())["facts"]["resumed_from"] > 0
    (page,) = service.ask("artifacts/latest/filter", artifacts={"key": {"any_": ["page"]}})
    address = page["data"].partition("(")[2].rstrip(")")
    assert address.startswith("http://127.0.0.1:")
    shutil.rmtree(service.folder / "here" / "cgcnn-flows")  # what was made elsewhere is fetched
    with urllib.request.urlopen(address, timeout=30) as answer:
        assert b"<h1>energy" in answer.read()


def test_predictions_by_a_worker(service, crystals):
    output = service.folder / "predictions.csv"
    run = service.run("predict/batch", files=[str(crystals)], output=str(output))
    assert service.ended(run) == "COMPLETED"
    assert len(output.read_text().splitlines()) == 61
    (told,) = service.ask("artifacts/latest/filter", artifacts={"key": {"any_": ["predictions"]}})
    assert "predicted" in told["data"]


def test_a_run_whose_machine_was_switched_off_ends_as_crashed(service):
    """Nobody works on it: the server was only told so."""
    zombies = runpy.run_path(str(ROOT / "deployments" / "zombie_runs.py"))
    run = service.run(source="alloys", state={"type": "RUNNING"})
    now = datetime.now(UTC)
    with SyncPrefectClient(service.api) as client:
        zombies["crash_zombies"](client, now + timedelta(seconds=100))
        assert service.state(run) == "RUNNING"
        zombies["crash_zombies"](client, now + timedelta(seconds=200))
    assert service.state(run) == "CRASHED"
    assert "no heartbeat since" in service.ask(f"flow_runs/{run}")["state"]["message"]


def test_ctrl_c_in_a_training_leaves_no_process(service, crystals):
    """The last of these tests: after it there is no service."""
    service.run(**QUICK, source=str(crystals), train={"epochs": 10_000})
    service.wait(lambda: any("gnn.train" in line for line in service.left()), 120)
    service.end()
    until = time.monotonic() + 30
    while service.left():
        assert time.monotonic() < until, service.left()
        time.sleep(0.5)
    assert service.process.returncode == 0

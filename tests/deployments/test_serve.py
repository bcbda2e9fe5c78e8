"""`make serve`: what it starts, what the API says of it, and that nothing is left when it ends."""

import functools
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
QUICK = {
    "checks": {"max_rejected": 0.2},
    "split": {"validation": 0.2, "test": 0.2},
    "model": {"atom_fea_len": 8, "h_fea_len": 8},
}


class Service:
    """A running `deployments/serve.py`, and the API of its server."""

    def __init__(self, folder: Path, ports: tuple[int, int], ask_server: Callable[..., Any]) -> None:
        self.store = folder / "store"
        self.ask = functools.partial(ask_server, f"http://127.0.0.1:{ports[0]}/api")
        self.command = [sys.executable, str(ROOT / "deployments" / "serve.py"), f"--store={self.store}"]
        self.command += [f"--port={ports[0]}", f"--reports-port={ports[1]}"]
        self.environment = {**os.environ, "PREFECT_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}
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

    def run(self, **parameters: Any) -> str:
        """The id of a run of retrain/adhoc, as the UI's form starts one."""
        deployment = self.ask("deployments/name/retrain/adhoc")
        whole = {**deployment["parameters"], **parameters}
        asked = self.ask(
            f"deployments/{deployment['id']}/create_flow_run", parameters=whole, state={"type": "SCHEDULED"}
        )
        return str(asked["id"])

    def state(self, run: str) -> str:
        """The type of the run's state."""
        return str(self.ask(f"flow_runs/{run}")["state_type"])

    def left(self) -> list[str]:
        """Command lines of processes that have to do with this service."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                told = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
            except OSError:
                continue
            if str(self.store).encode() in told and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        return found

    def end(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(90)


@pytest.fixture(scope="module")
def service(tmp_path_factory, free_port, ask_server):
    made = Service(tmp_path_factory.mktemp("serve"), (free_port(), free_port()), ask_server)
    made.start()
    yield made
    made.process.kill()
    made.process.wait()


def test_both_deployments_are_there_and_the_schedule_is_off(service):
    found = {d["name"]: d for d in service.ask("deployments/filter", limit=10)}
    assert set(found) == {"weekly", "adhoc"}
    (schedule,) = found["weekly"]["schedules"]
    assert (schedule["active"], schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == (
        False,
        "0 3 * * 1",
        "UTC",
    )
    assert {d["parameters"]["store"] for d in found.values()} == {str(service.store)}


def test_a_bad_value_is_refused_before_there_is_a_run(service):
    with pytest.raises(urllib.error.HTTPError) as refused:
        service.run(train={"epochs": -3})
    assert "-3 is less than the minimum of 1" in refused.value.read().decode()


def test_the_form_describes_its_parameters(service):
    schema = service.ask("deployments/name/retrain/adhoc")["parameter_openapi_schema"]
    assert "alloys, materials-project" in schema["properties"]["source"]["description"]
    assert "eV/atom" in schema["definitions"]["MaterialsProjectQuery"]["properties"]["formation_energy"]["description"]


def test_a_run_from_the_form_ends_with_a_report_a_click_away(service, crystals):
    run = service.run(**QUICK, source=str(crystals), train={"epochs": 1})
    service.wait(lambda: service.state(run) in {"COMPLETED", "FAILED", "CRASHED"}, 180)
    assert service.state(run) == "COMPLETED"
    (page,) = service.ask("artifacts/latest/filter", artifacts={"key": {"any_": ["page"]}})
    address = page["data"].partition("(")[2].rstrip(")")
    assert address.startswith("http://127.0.0.1:")
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert b"<h1>energy" in answer.read()


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

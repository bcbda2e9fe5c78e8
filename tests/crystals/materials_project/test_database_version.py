"""The program that looks up the database version: what it tells, and what it does where the heartbeat is in trouble."""

import subprocess
import sys

import pytest

from crystals.config import MaterialsProjectQuery
from crystals.materials_project import database_version
from crystals.materials_project.retry import RetryPolicy
from storage.errors import InputError, WorldError


@pytest.fixture
def version(materials_project, monkeypatch, tmp_path):
    """Runs the program in this process; the version that it tells."""
    monkeypatch.setenv("MP_API_KEY", materials_project.key)
    retry = RetryPolicy(timeout=1.5, pauses=(0.01, 0.01))
    spec = database_version.VersionSpec(output=tmp_path, scratch=tmp_path, query=MaterialsProjectQuery(), retry=retry)
    return lambda: database_version.build(spec)["version"]


def test_the_version_of_now(version, materials_project):
    assert version() == materials_project.version
    assert version() != materials_project.moves_on() == version()


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_address_with_and_without_a_slash(version, materials_project, monkeypatch, slash):
    monkeypatch.setenv("MP_API_ENDPOINT", materials_project.endpoint.rstrip("/") + slash)
    assert version() == materials_project.version


@pytest.mark.parametrize(
    ("kind", "how"), [("status", {"status": 500}), ("cut", {}), ("truncated", {}), ("slow", {"seconds": 3})]
)
def test_trouble_that_passes_changes_nothing(version, materials_project, caplog, kind, how):
    materials_project.fails("heartbeat", kind, **how)
    assert version() == materials_project.version
    assert materials_project.tell()["heartbeat"] == 2
    assert f"Materials Project: no heartbeat from {materials_project.endpoint}: " in caplog.text


def test_trouble_that_stays_is_told(version, materials_project):
    materials_project.fails("heartbeat", "status", status=500, times=100)
    with pytest.raises(WorldError, match=r"no heartbeat from http\S+: .*KeyError.*\(3 tries\)"):
        version()


def test_a_service_that_refuses_its_heartbeat(version, materials_project):
    materials_project.fails("heartbeat", "status", status=403, times=100)
    with pytest.raises(WorldError, match="no database version"):
        version()


def test_a_service_that_is_not_there(version, monkeypatch, free_port):
    monkeypatch.setenv("MP_API_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(WorldError, match=r"from http://127\.0\.0\.1:\d+/: .*ConnectionError, MaxRetryError, NewConn"):
        version()


def test_what_cannot_be_a_key_is_told_without_asking(version, materials_project, monkeypatch):
    monkeypatch.setenv("MP_API_KEY", "short")
    with pytest.raises(InputError, match="MP_API_KEY: expected 32 letters and digits, got 5"):
        version()
    assert materials_project.tell() == {}


def test_the_client_is_not_loaded():
    """It takes three seconds, and a run whose database has not moved on needs nothing else of it."""
    loaded = "import sys, crystals.materials_project.database_version; print(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert "'requests'" in modules
    assert "'mp_api" not in modules
    assert "'emmet" not in modules

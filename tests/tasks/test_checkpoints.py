"""A step's checkpoints while it runs: another machine goes on from them, and their copying disturbs nobody."""

import logging
import socket
import time
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from prefect.logging import disable_run_logger
from s3fs import S3FileSystem

from gnn.config import Placement, TrainConfig
from storage.artefact import Recipe
from storage.checkpoints import CHECKPOINTS, RemoteCheckpoints, add_checkpoint
from storage.errors import InputError, WorldError
from storage.remote import Remote
from storage.store import Store
from tasks import checkpoints
from tasks.caching import BuildPlan, get_or_build, recipe_of
from tasks.checkpoints import shared_checkpoints
from tasks.programs import Program

RECIPE = Recipe(step="step", version=1, parameters={}, inputs={})
PROGRAM = """
import os, signal
from storage.checkpoints import CHECKPOINTS, add_checkpoint, whole_checkpoints
from storage.errors import InputError
from storage.program import Spec, main

class S(Spec):
    end: str

def build(spec):
    folder = spec.scratch / CHECKPOINTS
    folder.mkdir(exist_ok=True)
    first = max((found.epoch for found in whole_checkpoints(folder)), default=0)
    for epoch in range(first + 1, first + 4):
        (folder / "aside").write_text(f"after {epoch}")
        add_checkpoint(folder / "aside", epoch)
    if spec.end == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.end == "refused":
        raise InputError("the loss is not finite")
    return {"first": first}

main(S, build)
"""


@pytest.fixture
def made(tmp_path, bucket, monkeypatch) -> Callable[..., dict[str, Any]]:
    """made(machine, end): the step on that machine, as a task runs it; the facts of its artefact."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "writes_checkpoints.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(modules))

    def make(machine: str, end: str, minutes: float = 5.0) -> dict[str, Any]:
        store = Store(root=tmp_path / machine, url=bucket)
        plan = BuildPlan(program=Program(module="writes_checkpoints", spec={"end": end}), checkpoint_minutes=minutes)
        with disable_run_logger():
            return get_or_build(store, RECIPE, lambda: plan)[0].facts

    return make


def wait_for(reached: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_what_ends_early_is_gone_on_with_on_another_machine_and_leaves_nothing(made, tmp_path, bucket):
    there = Store(root=tmp_path, url=bucket).remote
    for machine, end, error in (("one", "killed", WorldError), ("two", "refused", InputError)):
        with pytest.raises(error):
            made(machine, end)
    assert made("three", "done") == {"first": 3}  # of "one": what was refused is of no use
    assert there.sizes("work") == {}


def test_a_copy_that_fails_is_a_warning_and_tried_again(tmp_path, bucket, caplog):
    caplog.set_level(logging.INFO)
    store, s3 = Store(root=tmp_path, url=bucket), boto3.client("s3")
    name, folder = bucket.split("/")[2], tmp_path / "scratch" / CHECKPOINTS

    def warnings() -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]

    with shared_checkpoints(store, RECIPE, tmp_path, 0.001, logging.getLogger("test")) as log:
        s3.delete_bucket(Bucket=name)
        folder.mkdir(parents=True)
        (folder / "aside").write_text("after 1")
        add_checkpoint(folder / "aside", 1)
        wait_for(lambda: log() or len(warnings()) > 1)
        s3.create_bucket(Bucket=name)
        wait_for(lambda: log() or "the checkpoint of epoch 1 is in the store" in caplog.messages)
    s3.close()
    assert warnings()[0].startswith(f"the checkpoint of epoch 1 is not in the store: {bucket}: ")
    assert "\n" not in warnings()[0]


@pytest.mark.usefixtures("s3")
def test_a_service_that_hangs_holds_nobody_up(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(checkpoints, "STOPPING", 0.3)
    (tmp_path / "aside").write_text("after 1")
    add_checkpoint(tmp_path / "aside", 1)
    S3FileSystem.clear_instance_cache()  # they know the address of before
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{silent.getsockname()[1]}")
        remote = RemoteCheckpoints(Remote("s3://bucket/store"), "step", RECIPE.key)
        copies = checkpoints._Copies(remote, tmp_path, None, 0.001, logging.getLogger("test"))
        silent.accept()[0].close()
        connection, _ = silent.accept()  # it tries again, and is not answered
        began = time.monotonic()
        copies.stop(last=True)
        assert time.monotonic() - began < 5
        connection.close()
    S3FileSystem.clear_instance_cache()
    assert "the last checkpoint did not reach the store within 0.3 s" in caplog.messages


def test_how_it_runs_is_in_no_key():
    def key(train: TrainConfig) -> str:
        return recipe_of("train-model", 1, {"train": train}).key

    changed = TrainConfig(where="gpu-pool", checkpoint_minutes=0.5, processes=2, data="streaming", stall_timeout=9)
    assert key(changed) != key(TrainConfig())
    assert key(changed.without_placement) == key(TrainConfig())
    assert set(Placement.model_fields).isdisjoint(TrainConfig().model_dump())

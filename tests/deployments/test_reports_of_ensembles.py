"""An ensemble's files are served as a single model's are."""

import asyncio
import importlib.util
import io
import zipfile
from pathlib import Path

import httpx
import pytest

from storage.artefact import Recipe
from storage.store import Store

FILES = {"model.json": b"{}", "model-0.safetensors": b"0", "model-1.safetensors": b"1", "predictions.parquet": b"P"}


@pytest.fixture
def served(tmp_path):
    """Asks for a file of an ensemble in the store: the response."""
    path = Path(__file__).parents[2] / "deployments" / "reports.py"
    spec = importlib.util.spec_from_file_location("reports", path)
    reports = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reports)
    store, recipe = Store(root=tmp_path), Recipe(step="ensemble", version=1, parameters={}, inputs={})
    with store.building("ensemble", recipe.key) as work:
        (work / "output").mkdir()
        for name, content in {**FILES, "history.parquet": b"H"}.items():
            (work / "output" / name).write_bytes(content)
        store.commit(recipe, work / "output", {})
    transport = httpx.ASGITransport(reports.reports_app(store))

    async def ask(name: str) -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://there") as client:
            return await client.get(f"/model/{recipe.key}/{name}")

    return lambda name: asyncio.run(ask(name))


def test_the_archive_has_all_members(served):
    archive = zipfile.ZipFile(io.BytesIO(served("model.zip").content))
    found = {Path(name).name: archive.read(name) for name in archive.namelist()}
    assert found == {name: content for name, content in FILES.items() if name.startswith("model")}


@pytest.mark.parametrize("name", FILES)
def test_each_file_is_there(served, name):
    assert served(name).content == FILES[name]


@pytest.mark.parametrize("name", ["manifest.json", "history.parquet", "model-2.safetensors", "model-x.safetensors"])
def test_nothing_else_is(served, name):
    assert served(name).status_code == 404

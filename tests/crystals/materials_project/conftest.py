"""The download program over the loopback service, in this process."""

import itertools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from crystals.config import MaterialsProjectQuery

SERVICE = Path(__file__).parents[2] / "service"


class Download(NamedTuple):
    """What one run of the program made."""

    table: pa.Table
    facts: dict[str, Any]
    path: Path

    @property
    def ids(self) -> list[str]:
        """Its materials, in order."""
        return list(self.table["material_id"].to_pylist())


@pytest.fixture(scope="session")
def generated() -> Any:
    """The module that generates the service's documents."""
    sys.path.insert(0, str(SERVICE))
    try:
        import documents
    finally:
        sys.path.remove(str(SERVICE))
    return documents


@pytest.fixture
def collection(materials_project, generated) -> list[Any]:
    """What the service has in its first version."""
    return list(generated.entries(materials_project.count, [materials_project.version], 0.03, 0))


@pytest.fixture
def spec(materials_project, monkeypatch, tmp_path) -> Callable[..., Any]:
    """A spec of the program; without `folder`, in folders of its own."""
    monkeypatch.setenv("MP_API_KEY", materials_project.key)
    from crystals.materials_project.download import DatabaseSpec
    from crystals.materials_project.retry import RetryPolicy

    numbers = itertools.count()

    def make(*, folder: Path | None = None, **told: Any) -> DatabaseSpec:
        folder = folder or tmp_path / f"download-{next(numbers)}"
        for name in ("output", "scratch"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        query = MaterialsProjectQuery(**told.pop("query", {}))
        retry = RetryPolicy(timeout=1.5, pauses=(0.01, 0.01, 0.01))
        known = {"version": materials_project.version, "retry": retry, **told}
        return DatabaseSpec(output=folder / "output", scratch=folder / "scratch", query=query, **known)

    return make


@pytest.fixture
def run(materials_project) -> Callable[[Any], Download]:
    """Runs the program; its client knows nothing of what the service said before."""
    from mp_api.client import MPRester
    from mp_api.client.core.settings import MAPI_CLIENT_SETTINGS
    from mp_api.client.routes.materials import materials  # noqa: F401  else the constructor imports it, against the clock

    from crystals.materials_project import download

    def build(spec: Any) -> Download:
        MAPI_CLIENT_SETTINGS.ENDPOINT = materials_project.endpoint
        MPRester._get_heartbeat_info.cache_clear()
        MPRester.get_emmet_version.cache_clear()
        facts = download.build(spec)
        path = spec.output / "structures.parquet"
        return Download(pq.read_table(path), facts, path)

    return build

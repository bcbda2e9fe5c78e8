"""One store for all tests here: the page on Python, run from its first line to its last, has made its two runs."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import cgcnn

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def environment(server) -> dict[str, str]:
    """The environment of a process that trains: the session's server, one thread."""
    return {**os.environ, "PREFECT_API_URL": server, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def folder(crystals, environment, tmp_path_factory) -> Path:
    """Where the page's examples ran: with crystals.jsonl, store, and what they printed in `printed`."""
    here = tmp_path_factory.mktemp("python")
    shutil.copy(crystals, here / "crystals.jsonl")
    page = (ROOT / "docs/python.md").read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE))
    (here / "page.py").write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "page.py"], cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (here / "printed").write_text(done.stdout, encoding="utf-8")
    return here


@pytest.fixture(scope="session")
def store(folder) -> Path:
    """The store with both runs. To be read only."""
    return folder / "store"


@pytest.fixture(scope="session", params=["cgcnn", "cogn"])
def model(request, store) -> cgcnn.Model:
    """The model of each kind."""
    found = [run.model("cpu") for run in cgcnn.runs(store)]
    return next(each for each in found if each.name == request.param)

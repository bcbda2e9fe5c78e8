"""The server of reports gives the pages of studies, and its index leads to them."""

import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from storage.artefact import Recipe
from storage.store import Store
from storage.studies import STUDIES, StudyCard

PROGRAM = Path(__file__).parents[2] / "deployments" / "reports.py"


def commit(store: Store, kind: str) -> str:
    """A made-up study; its key."""
    card = StudyCard(
        kind=kind, run=f"pairs-{kind}", source="pairs.jsonl", target="energy_ev", unit="eV", note="",
        headline="<b>half</b> the error", models=3,
    )  # fmt: skip
    recipe = Recipe(step=kind, version=1, parameters={}, inputs={})
    with store.building(kind, recipe.key) as work:
        (work / "output").mkdir()
        for name, text in {"report.html": f"<title>{kind}</title>", "study.json": card.model_dump_json()}.items():
            (work / "output" / name).write_text(text)
        store.commit(recipe, work / "output", {})
    return recipe.key


@pytest.fixture(scope="module")
def served(tmp_path_factory, add_run, free_port, wait_until):
    """The keys of a study of each kind by kind, and the address at which their store is served."""
    store = Store(root=tmp_path_factory.mktemp("served") / "store")
    keys = {kind: commit(store, kind) for kind in STUDIES}
    add_run(store, "pairs-1")
    port = free_port()
    process = subprocess.Popen([sys.executable, str(PROGRAM), f"--store={store.root}", f"--port={port}"])
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: _answer(address) is not None, process)
    yield keys, address
    process.kill()
    process.wait()


def _answer(address: str) -> str | None:
    try:
        with urllib.request.urlopen(address, timeout=20) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        return str(error.code)
    except OSError:
        return None


def test_the_index_leads_to_each_page(served):
    keys, address = served
    index = _answer(address)
    assert "1 run, 1 champion, 4 studies; the newest finished on" in index
    assert "<b>half</b>" not in index
    for kind, key in keys.items():
        assert f'href="./{key}/report.html"' in index
        assert _answer(f"{address}/{key}/report.html") == f"<title>{kind}</title>"
    assert len(re.findall("&lt;b&gt;half", index)) == len(STUDIES)


def test_a_study_that_is_not_there_and_its_other_files_are_not_given(served):
    keys, address = served
    assert _answer(f"{address}/{'0' * 64}/report.html") == "404"
    assert _answer(f"{address}/{keys['curve']}/study.json") == "404"
    assert _answer(f"{address}/{keys['curve']}/summary.md") == "404"

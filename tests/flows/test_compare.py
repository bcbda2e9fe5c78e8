"""`cgcnn compare` and `cgcnn show --html`, of made-up runs: no training, no Prefect."""

import json
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from flows import cli
from storage.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(root=tmp_path / "store")


def rows(errors: dict[int, float], label: float = 1.0) -> list[tuple[str, float, float]]:
    """(id, target, predicted) of materials by number, with these errors."""
    return [(f"m-{number}", label + number, label + number + error) for number, error in errors.items()]


def told(store: Store, capsys, *arguments: str) -> str:
    cli.main(["compare", "--store", str(store.root), *arguments])
    return str(capsys.readouterr().out)


def refused(store: Store, capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as end:
        cli.main(["compare", "--store", str(store.root), *arguments])
    error = str(capsys.readouterr().err)
    assert end.value.code == 2
    assert len(error.splitlines()) == 1
    return error


def test_only_settings_that_differ_are_told(store, add_run, capsys):
    settings = {"train": {"epochs": 3, "seed": 0}, "model": {"name": "cgcnn"}}
    add_run(store, "pairs-1", rows({1: 0.1, 2: 0.1}), settings)
    add_run(store, "pairs-2", rows({1: 0.1, 2: 0.1}), {**settings, "train": {"epochs": 50, "seed": 0, "ema": 0.9}})
    found = json.loads(told(store, capsys, "pairs-1", "pairs-2", "--json"))
    assert found["differences"] == {"train.epochs": [3, 50], "train.ema": [0.995, 0.9]}
    text = told(store, capsys, "pairs-1", "pairs-2")
    assert re.search(r"train\.epochs +3 +50", text)
    assert "seed" not in text


def test_what_only_one_run_has_is_told(store, add_run, capsys):
    add_run(store, "pairs-1", rows({1: 0.1, 2: 0.1}), {"train": {"epochs": 3}})
    tuned = {"train": {"epochs": 3, "members": 4}, "start_from": "energy_ev", "auxiliary": {"gap_ev": "learned"}}
    add_run(store, "pairs-2", rows({1: 0.1, 2: 0.1}), tuned)
    found = json.loads(told(store, capsys, "pairs-1", "pairs-2", "--json"))
    members, start, gap = {"train.members": [1, 4]}, {"start_from": [None, "energy_ev"]}, ["null", "learned"]
    assert found["differences"] == {**members, **start, "auxiliary.gap_ev": [None, "learned"]}
    assert re.search(rf"auxiliary\.gap_ev +{gap[0]} +{gap[1]}", told(store, capsys, "pairs-1", "pairs-2"))


def test_errors_are_those_on_the_materials_that_all_have(store, add_run, capsys):
    """By hand: of 0…6, 1…7 and 2…8, the runs have 2…6 in common."""
    errors = [
        {n: 0.1 * (n + 1) for n in range(7)},
        {n: 0.05 * n for n in range(1, 8)},
        dict.fromkeys(range(2, 9), -0.5),
    ]
    for number, each in enumerate(errors):
        add_run(store, f"pairs-{number}", rows(each))
    found = json.loads(told(store, capsys, "pairs-0", "pairs-1", "pairs-2", "--json"))
    runs = [run["in_common"] for run in found["runs"]]
    assert found["common"] == 5
    assert [run["test"] for run in runs] == [7, 7, 7]
    assert [run["mae"] for run in runs] == pytest.approx([0.5, 0.2, 0.5])
    assert "difference" not in runs[0]
    assert [run["difference"] for run in runs[1:]] == pytest.approx([-0.3, 0.0], abs=1e-9)
    assert -0.4 <= runs[1]["low"] < -0.3 < runs[1]["high"] <= -0.2  # the smallest and the largest of the five pairs
    assert "5 test materials in common (of 7, 7, 7)" in told(store, capsys, "pairs-0", "pairs-1", "pairs-2")


def test_the_first_runs_labels_are_taken_and_others_are_told(store, add_run, capsys):
    add_run(store, "pairs-1", rows({1: 0.1, 2: 0.1, 3: 0.1}))
    add_run(store, "pairs-2", rows({1: 0.1, 2: 0.1, 3: 0.1}, label=2.0))
    found = json.loads(told(store, capsys, "pairs-1", "pairs-2", "--json"))
    assert [run["in_common"]["mae"] for run in found["runs"]] == pytest.approx([0.1, 1.1])
    assert "3 labels of its own differ" in told(store, capsys, "pairs-1", "pairs-2")


def test_a_classification_is_ranked(store, add_run, capsys):
    right = [("a", 1.0, 0.9), ("b", 0.0, 0.2), ("c", 0.0, 0.6)]
    wrong = [("a", 1.0, 0.5), ("b", 0.0, 0.4), ("c", 0.0, 0.6)]
    kind = {"task": "classification", "metric": "roc_auc"}
    for name, predictions in {"pairs-1": right, "pairs-2": wrong}.items():
        add_run(store, name, predictions, {"train": {"threshold": 0.0}}, **kind)
    found = json.loads(told(store, capsys, "pairs-1", "pairs-2", "--json"))
    assert [run["in_common"]["roc_auc"] for run in found["runs"]] == [1.0, 0.5]
    add_run(store, "pairs-3", right, {"train": {"threshold": 1.0}}, **kind)
    assert "train.threshold" in refused(store, capsys, "pairs-1", "pairs-3")


def test_runs_are_named_as_elsewhere(store, add_run, capsys):
    add_run(store, "pairs-1", rows({1: 0.1, 2: 0.1}))
    add_run(store, "pairs-2", rows({1: 0.2, 2: 0.2}), promoted=False)
    for names in (["champion", "latest"], ["pairs-energy_ev", "pairs-2"], ["rs-1", "rs-2"]):
        found = json.loads(told(store, capsys, *names, "--json"))
        assert [run["run"] for run in found["runs"]] == ["pairs-1", "pairs-2"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["pairs-1", "nobody"], "nobody: is no run"),
        (["pairs-1"], "name two or more"),
        (["pairs-1", "champion"], "are the same run, pairs-1"),
        (["pairs-1", "gap"], "pairs-1 is about energy_ev eV, gap about gap_ev eV"),
        (["pairs-1", "milli"], "milli about energy_ev meV"),
        (["pairs-1", "lost"], "its predictions"),
    ],
)
def test_what_cannot_be_compared_is_one_line(store, add_run, capsys, names, message):
    add_run(store, "pairs-1", rows({1: 0.1, 2: 0.1}))
    add_run(store, "gap", target="gap_ev", promoted=False)
    add_run(store, "milli", unit="meV", promoted=False)
    lost = add_run(store, "lost", promoted=False)
    (store.root / lost.predictions).unlink()
    assert message in refused(store, capsys, *names)


def test_without_materials_in_common_the_settings_are_told(store, add_run, capsys):
    add_run(store, "pairs-1", rows({1: 0.1, 2: 0.1}), {"train": {"epochs": 3}})
    add_run(store, "pairs-2", rows({3: 0.1, 4: 0.1}), {"train": {"epochs": 4}})
    text = told(store, capsys, "pairs-1", "pairs-2")
    assert "train.epochs" in text
    assert "0 test materials in common (of 2, 2): too few to compare" in text


def test_neither_needs_prefect():
    code = "import sys; from flows.compare import compare; from evaluation.index import index_page; "
    code += "print([name for name in ('prefect', 'torch', 'pymatgen', 'pandas') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


def test_the_page_in_a_file_has_links_that_work_from_anywhere(store, add_run, tmp_path, capsys):
    card = add_run(store, "pairs <1>")
    page = tmp_path / "runs.html"
    cli.main(["show", "--store", str(store.root), "--html", str(page)])
    assert capsys.readouterr().out == f"{page}: 1 run\n"
    html = page.read_text(encoding="utf-8")
    links = [unquote(link.removeprefix("file://")) for link in re.findall(r'href="(file://[^"]+)"', html)]
    assert links[0] == str(store.root / card.report)
    assert len(links) == 4
    assert all(Path(link).is_file() for link in links)
    assert "pairs &lt;1&gt;" in html


def test_the_page_of_a_store_without_runs_says_what_to_do(tmp_path):
    cli.main(["show", "--store", str(tmp_path), "--html", str(tmp_path / "runs.html")])
    assert "cgcnn retrain --store" in (tmp_path / "runs.html").read_text()


@pytest.mark.parametrize(("file", "message"), [(".", "is a folder"), ("no/such/runs.html", "there is no folder")])
def test_a_page_that_cannot_be_written_is_one_line(tmp_path, capsys, file, message):
    with pytest.raises(SystemExit) as end:
        cli.main(["show", "--store", str(tmp_path), "--html", str(tmp_path / file)])
    assert end.value.code == 2
    assert message in capsys.readouterr().err

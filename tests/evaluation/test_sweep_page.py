"""The page of a sweep, from a table of trials."""

import json

import pyarrow.parquet as pq
import pytest

from evaluation.sweep import SweepSpec, build
from storage.schemas import TRIALS
from storage.studies import StudyCard


def row(number: int, state: str, error: float | None, **changes: object) -> dict[str, object]:
    values = {"train.learning_rate": 10.0**-number, "graphs.max_neighbors": [12, None][number % 2]}
    known = {"stage": 1, "number": number, "state": state, "validation_error": error, "parameters": values}
    known |= {"epochs": 9, "seconds": 12.5, "validation_rows": 60, "reason": "", "model": f"{number:064x}"}
    return {**known, **changes}


FAILED = {"epochs": None, "seconds": None, "validation_rows": None, "model": None}
ROWS = [
    row(0, "complete", 0.06),
    row(1, "fail", None, reason="<b>the loss</b> is not finite", **FAILED),
    row(2, "pruned", 0.02, epochs=1, model=None, validation_rows=None),
    row(3, "complete", 0.05),
]


@pytest.fixture
def made(tmp_path):
    """made(…): the facts, and the text of a file that was written."""

    def make(rows: list[dict[str, object]] = ROWS, task: str = "regression", unit: str = "eV"):
        about = {"kind": "sweep", "run": "r", "source": "s", "title": "pairs", "note": "", "target": "energy_ev"}
        about |= {"unit": unit, "task": task, "configuration": {}}
        metrics = {"metric": "mae", "test": {"mae": 0.07}}
        if task == "classification":
            metrics = {"metric": "roc_auc", "test": {"roc_auc": 0.9}}
        (tmp_path / "metrics.json").write_text(json.dumps(metrics))
        shares = {"train.learning_rate": 0.8, "graphs.max_neighbors": 0.2}
        spec = SweepSpec(
            **{"output": tmp_path, "scratch": tmp_path, "about": about, "metrics": tmp_path / "metrics.json"},
            **{"trials": rows, "best": (1, 3), "importances": shares, "settings": "source: s\n"},
        )
        return build(spec), lambda name: (tmp_path / name).read_text(encoding="utf-8")

    return make


def test_the_winner_is_the_best_of_those_that_finished_and_its_test_error_is_the_only_one(made):
    facts, text = made()
    page = text("report.html")
    assert "trial 3, 50.0 meV, with learning_rate 0.001, max_neighbors null" in page  # not the pruned one's 20 meV
    assert page.count("70.0 meV") == 1
    assert StudyCard.model_validate_json(text("study.json")).headline == facts["headline"]
    assert facts["models"] == 2
    assert text("best.yaml") == "source: s\n"


def test_a_failed_trial_is_there_with_its_reason_and_its_words_are_no_html(made):
    _, text = made()
    assert "&lt;b&gt;the loss&lt;/b&gt; is not finite" in text("report.html")
    assert "<b>the loss" not in text("report.html")
    assert "2 finished, 1 pruned, 1 failed" in text("summary.md")


def test_the_table_has_every_trial_and_the_same_rows_give_the_same_bytes(made, tmp_path):
    made()
    first = (tmp_path / "trials.parquet").read_bytes()
    made()
    assert (tmp_path / "trials.parquet").read_bytes() == first
    table = pq.read_table(tmp_path / "trials.parquet")
    assert table.schema.equals(TRIALS)
    assert [json.loads(values) for values in table["parameters"].to_pylist()] == [row["parameters"] for row in ROWS]


def test_trials_with_other_validation_rows_are_told(made):
    _, text = made([*ROWS[:3], row(3, "complete", 0.05, validation_rows=57)])
    assert "Not all errors are of the same validation structures: 57 to 60 of them." in text("report.html")
    _, text = made()
    assert "Not all errors" not in text("report.html")


def test_a_classification_has_errors_without_a_unit(made):
    _, text = made(task="classification")
    assert "Test ROC-AUC 0.900" in text("report.html")
    assert "meV" not in text("report.html")


def test_one_finished_trial_alone_makes_a_page(made):
    made([row(3, "complete", 0.05)])

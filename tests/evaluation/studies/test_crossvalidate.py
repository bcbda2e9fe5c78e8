"""The report over folds: means and deviations against closed forms, every row once, and Matbench's record."""

import hashlib
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.crossvalidate import CrossvalidateSpec, build
from storage import schemas
from storage.matbench import ROWS, task_id

ROWS_MADE, OFF = 40, {0: 0.1, 1: 0.2, 2: 0.6}  # how far each fold's predictions are off, eV


@pytest.fixture
def made(tmp_path, about, model):
    """made(…): makes a cross-validation of three folds in `tmp_path`; its facts.

    The test rows of the folds `one_class` are all negative.
    """

    def make(*, column="matbench_test_fold", folds=3, one_class=(), **changes):
        target = np.linspace(0, 4, ROWS_MADE)
        models = {}
        for fold, off in OFF.items():
            split = ["test" if n % 3 == fold else "validation" if n % 7 == 0 else "train" for n in range(ROWS_MADE)]
            values = (target > 2).astype(float) if changes.get("task") == "classification" else target
            if fold in one_class:
                values[fold::3] = 0.0
            predicted = np.clip(np.where(values > 0.5, 0.9 - off, off), 0, 1) if values is not target else target + off
            models[fold] = model(tmp_path, f"fold {fold}", values, predicted, split)
        spec = CrossvalidateSpec(
            output=tmp_path,
            scratch=tmp_path,
            about=about("crossvalidate", **changes),
            models=models,
            folds=folds,
            column=column,
            stamp="2026.01.31 12:00.00",
        )
        return build(spec)

    return make


def test_mean_and_deviation_are_those_of_the_folds(made, tmp_path):
    """0.1, 0.2 and 0.6 eV: their mean is 0.3, their deviation √((0.04 + 0.01 + 0.09)/3) = 0.216."""
    facts = made()
    assert facts["headline"].startswith("test MAE 0.30 ± 0.22 eV over 3 folds, 40 structures; baseline")
    summary = (tmp_path / "summary.md").read_text()
    assert "| fold 2 | 0.600 | 0.600 |" in summary
    assert "Nothing about a fold's test rows chose anything" in summary


def test_every_row_is_predicted_once_and_the_tables_keep_their_schemas(made, tmp_path):
    made()
    predictions, folds = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("predictions", "folds"))
    assert predictions.schema.equals(schemas.OUT_OF_FOLD)
    assert folds.schema.equals(schemas.FOLDS)
    assert sorted(predictions["material_id"].to_pylist()) == sorted(f"m-{n}" for n in range(ROWS_MADE))
    assert folds["mae"].to_pylist() == pytest.approx(list(OFF.values()))


def test_the_record_has_matbenchs_layout_scores_and_hash(made, tmp_path):
    made(title="matbench_phonons")
    record = json.loads((tmp_path / "record.json").read_text())
    task = record["tasks"]["matbench_phonons"]
    assert (record["@class"], task["@class"]) == ("MatbenchBenchmark", "MatbenchTask")
    assert record["benchmark_name"] == task["benchmark_name"] == "matbench_v0.1"
    fold = task["results"]["fold_1"]
    assert set(fold) == {"data", "parameters", "scores", "uncertainty"}
    assert fold["data"]["m-4"] == pytest.approx(4 * 4 / 39 + 0.2)
    assert fold["scores"] == pytest.approx({"mae": 0.2, "rmse": 0.2, "max_error": 0.2, "mape": fold["scores"]["mape"]})
    told = record.pop("hash")
    assert told == hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def test_only_a_whole_matbench_task_is_called_one(made, tmp_path):
    made(title="matbench_phonons")
    summary = (tmp_path / "summary.md").read_text()
    assert "those that the source publishes" in summary
    assert "ALIGNN" not in summary


def test_rows_have_the_names_that_matbench_gives_them():
    assert task_id("matbench_phonons", 7) == "mb-phonons-0007"
    assert task_id("matbench_mp_e_form", ROWS["matbench_mp_e_form"]) == "mb-mp-e-form-132752"


def test_some_of_the_folds_are_called_some(made, tmp_path):
    assert "over 3 of 5 folds" in made(folds=5, column=None)["headline"]
    assert "drawn by a hash of the material" in (tmp_path / "summary.md").read_text()


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_needs_no_network_and_does_not_scroll_sideways(made, tmp_path, browser, worst_point, width):
    made()
    page = browser.new_page(viewport={"width": width, "height": 844})
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda r: None if r.url.startswith("file://") else faults.append(r.url))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("svg[data-points]").scroll_into_view_if_needed()
    x, y, name = page.evaluate(worst_point)
    page.mouse.move(x + 1, y + 1)
    assert name in page.locator("#tip").inner_text()
    assert faults == []
    page.close()


def test_a_classification_reports_roc_auc(made, tmp_path):
    """The positives' probabilities, 0.8, 0.7 and 0.3, are above the negatives' in the folds 0 and 1, and not in 2."""
    facts = made(task="classification", unit="eV")
    assert facts["headline"].startswith("test ROC-AUC 0.67 ± 0.47 over 3 folds")
    scores = json.loads((tmp_path / "record.json").read_text())["tasks"]["made-up"]["results"]["fold_0"]["scores"]
    assert scores == {"accuracy": 1.0, "balanced_accuracy": 1.0, "f1": 1.0, "rocauc": 1.0}


@pytest.mark.parametrize(
    ("one_class", "why"),
    [
        ((1,), "fold 1 has test rows of one class alone, and so no ROC-AUC"),
        ((0, 2), "folds 0, 2 have test rows of one class alone, and so no ROC-AUC"),
    ],
)
def test_a_fold_whose_test_rows_are_of_one_class_has_no_roc_auc(made, tmp_path, one_class, why):
    """Neither has the mean over the folds; the record has null, and the page and the list of runs say why."""
    facts = made(task="classification", unit="", one_class=one_class)
    results = json.loads((tmp_path / "record.json").read_text())["tasks"]["made-up"]["results"]
    aucs = [results[f"fold_{fold}"]["scores"]["rocauc"] for fold in OFF]
    assert [auc is None for auc in aucs] == [fold in one_class for fold in OFF]
    assert facts["headline"].startswith(f"test ROC-AUC – over 3 folds ({why}), ")
    assert "put in the right class, 40 structures" in facts["headline"]
    summary = (tmp_path / "summary.md").read_text().replace("\\", "")
    assert f"Test ROC-AUC – over 3 folds ({why}), " in summary
    assert "| Test ROC-AUC | – |" in summary
    assert "| **mean ± deviation** | **–** |" in summary

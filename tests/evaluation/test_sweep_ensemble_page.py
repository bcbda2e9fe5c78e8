"""The page of a sweep whose best trials predict together: the members, and the test error of the ensemble alone."""

import json

import pytest

from evaluation.sweep import SweepSpec, build

MODEL = f"ensemble/{'a' * 64}"


def row(number: int, error: float) -> dict[str, object]:
    known = {"stage": 1, "number": number, "state": "complete", "validation_error": error, "reason": ""}
    known |= {"parameters": {"model.n_conv": number}, "epochs": 9, "seconds": 12.5, "validation_rows": 60}
    return {**known, "model": f"{number:064x}"}


@pytest.fixture
def made(tmp_path):
    """made(…): the facts, and the page as Markdown. `validation` is the validation error of the ensemble."""

    def make(task: str = "regression", validation: float = 0.04):
        about = {"kind": "sweep", "run": "r", "source": "s", "title": "pairs", "note": "", "target": "energy_ev"}
        about |= {"unit": "eV", "task": task, "configuration": {}}
        metrics = {"metric": "mae", "test": {"mae": 0.07}, "validation": {"mae": validation}}
        metrics |= {"uncertainty": {"interval": {"observed": 0.88, "promised": 0.9}}}
        if task == "classification":
            metrics = {"metric": "roc_auc", "test": {"roc_auc": 0.9}, "validation": {"roc_auc": 0.95}}
        (tmp_path / "metrics.json").write_text(json.dumps(metrics))
        spec = SweepSpec(
            **{"output": tmp_path, "scratch": tmp_path, "about": about, "metrics": tmp_path / "metrics.json"},
            **{"trials": [row(1, 0.06), row(2, 0.08), row(3, 0.05)], "best": (1, 3), "importances": {}},
            **{"settings": "source: s\n", "members": [(1, 3), (1, 1)], "model": MODEL},
        )
        return build(spec), (tmp_path / "summary.md").read_text(encoding="utf-8")

    return make


def test_the_members_are_there_the_best_first_and_what_they_are_together(made):
    facts, page = made()
    section = page.partition("## The ensemble")[2].partition("## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| trial ") or "together" in line]
    assert lines[1:4] == [
        "| trial 3 | n\\_conv 3 | 50.0 |",
        "| trial 1 | n\\_conv 1 | 60.0 |",
        "| **together** | **the mean of what they predict** | **40.0** |",
    ]
    assert "Of the test values 88.0 % lie in their intervals, promised are 90.0 %." in section
    assert MODEL in section
    assert (facts["model"], facts["members"]) == (MODEL, 2)


def test_the_test_error_is_the_ensemble_s_beside_the_validation_error_of_the_best_alone(made):
    facts, page = made()
    assert "trial 3, 50.0 meV, with n\\_conv 3. An ensemble of 2 trials predicts together" in page
    assert "the test structures were evaluated for this ensemble alone" in page
    assert "| Test MAE, of the ensemble of 2 alone | 70.0 meV |" in page
    assert facts["headline"] == "validation 50.0 meV, test MAE 70.0 meV of the ensemble of 2; best of 3 trials"


@pytest.mark.parametrize(
    ("error", "told"), [(0.045, "45.0 meV, not above that of"), (0.055, "55.0 meV, above that of")]
)
def test_it_says_whether_together_is_worse_than_the_best_alone(made, error, told):
    """As it is where the other members are far behind."""
    assert f"validation error of {told} the best alone. Test MAE" in made(validation=error)[1]


def test_a_classification_has_no_validation_error_of_the_ensemble_and_no_interval(made):
    _, page = made("classification")
    section = page.partition("## The ensemble")[2].partition("## ")[0]
    assert "Test ROC-AUC together: 0.900" in section
    assert "**together**" not in section
    assert "interval" not in section

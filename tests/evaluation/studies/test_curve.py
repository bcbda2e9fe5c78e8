"""The report of a learning curve: its exponent from made-up models, and what is said of a goal."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.curve import CurveSpec, build
from storage import schemas


@pytest.fixture
def made(tmp_path, about, model):
    """made(exponent, goal, …): models whose errors are 2 eV N^−exponent, times `factors`; facts, summary and fit."""

    def make(exponent, goal=None, counts=(40, 80, 160, 320), noise=0.0, factors=None, **said):
        random, models = np.random.default_rng(0), []
        for count, factor in zip(counts, factors or [1.0] * len(counts), strict=True):
            split = ["train"] * count + ["unused"] * (320 - count) + ["test"] * 50
            target = np.linspace(0, 4, len(split))
            predicted = target + 2 * factor * count**-exponent * np.exp(random.normal(0, noise))
            parameters = {"split": {"train_share": count / 320}, "train": {"seed": 0}}
            models.append(model(tmp_path, f"{count}", target, predicted, split, parameters=parameters))
        facts = build(
            CurveSpec(output=tmp_path, scratch=tmp_path, about=about("curve", **said), models=models, goal=goal)
        )
        return facts, (tmp_path / "summary.md").read_text(), json.loads((tmp_path / "fit.json").read_text())

    return make


def test_the_exponent_is_that_of_the_errors_and_a_goal_is_reached_on_the_line(made, tmp_path):
    """2 N^−0.5 = 0.05 at N = 1,600, five times the 320 structures."""
    facts, summary, found = made(0.5, goal=0.05)
    assert facts["headline"].startswith("MAE falls as N^−b, b = 0.50 (95 % interval 0.50 to 0.50)")
    assert found["structures"] == pytest.approx(1600)
    assert "about 1,600 training structures" in summary
    assert "5.0 times the largest training set, an extrapolation" in summary
    assert "twice the data, 29.3 % less error" in summary
    assert pq.read_table(tmp_path / "curve.parquet").schema.equals(schemas.CURVE)


def test_a_goal_that_was_reached_needs_no_extrapolation(made):
    _, summary, _ = made(0.5, goal=0.2)
    assert "about 100 training structures" in summary
    assert "extrapolation" not in summary


def test_a_goal_has_no_interval_where_the_exponent_may_be_zero(made):
    _, summary, found = made(0.05, goal=0.05, noise=0.4)
    assert found["low"] < 0
    assert found["from"] is None
    assert "do not bound" in summary or "hardly falls" in summary


@pytest.mark.parametrize("steps", [(0.1000, 0.0998, 0.1001, 0.0999, 0.0995), (0.1000, 0.0999, 0.0998, 0.0997)])
def test_a_goal_far_below_a_curve_that_is_nearly_flat_asks_for_no_number(made, steps):
    """The line reaches it at more structures than the largest float."""
    counts = [20 * 2**n for n in range(len(steps))]
    _, summary, found = made(0.0, goal=0.02, counts=counts, factors=[step / 2 for step in steps])
    assert found["exponent"] > 0
    assert found["structures"] is None
    assert "For 20.0 meV the line gives no number of structures: the error hardly falls." in summary


def test_two_shares_have_no_interval(made):
    facts, summary, found = made(0.5, goal=0.05, counts=(80, 320))
    assert "interval" not in facts["headline"]
    assert found["low"] is None
    assert "no interval" in summary


def test_without_a_goal_the_page_says_what_half_the_error_needs(made):
    _, summary, _ = made(0.5)
    assert "Half the error would need 4.0 times the data" in summary


def test_the_page_says_how_long_the_models_were_trained(made):
    assert "All models saw their rows equally often" in made(0.5)[1]


def test_a_curve_by_the_minute_says_nothing_of_equal_epochs(made):
    _, summary, _ = made(0.5, configuration={"train": {"minutes": 2.5}})
    assert "Each training took 2.5 minutes" in summary
    assert "equally often" not in summary

"""Errors of targets that are exactly 0 for many structures."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from evaluation import zeros


@given(
    st.integers(1, 12).flatmap(
        lambda rows: st.tuples(
            arrays(float, rows, elements=st.sampled_from([0.0, 0.5, 1.0])),
            arrays(float, rows, elements=st.sampled_from([-0.1, 0.0, 0.05, 0.2, 0.7])),
        )
    )
)
def test_no_other_limit_calls_more_rows_right(drawn):
    target, predicted = drawn

    def right(limit: float) -> int:
        return int(((np.abs(predicted) <= limit) == (target == 0)).sum())

    best = zeros.threshold(target, predicted)
    none_is_zero = int((target != 0).sum())
    assert max(right(best), none_is_zero) == max(none_is_zero, *(right(float(size)) for size in np.abs(predicted)))


def test_numbers_by_hand():
    split = np.array(["train"] * 4 + ["validation"] * 3 + ["test"] * 4, dtype=object)
    target = np.array([0, 0, 0, 2.0, 0, 0, 1.0, 0, 0, 1.0, 3.0])
    predicted = np.array([0, 0, 0, 2.0, 0.1, 0.2, 0.9, 0.1, 0.5, 0.15, 2.0])
    assert zeros.measure(target, predicted, split) == {
        "threshold": 0.2,
        "zero": 2,
        "other": 2,
        "mae_zero": pytest.approx(0.3),
        "mae_other": pytest.approx((0.85 + 1) / 2),
        "accuracy": 0.5,
        "baseline_accuracy": 0.5,
    }


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_target_that_is_hardly_ever_or_nearly_always_zero_has_no_such_numbers(value):
    split = np.array(["train"] * 50 + ["test"] * 50, dtype=object)
    target = np.full(100, value)
    target[:2] = 1 - value
    assert zeros.measure(target, target, split) is None


def test_zeros_of_a_target_of_both_signs_are_values_like_others():
    split = np.array(["train"] * 50 + ["test"] * 50, dtype=object)
    target = np.tile([0.0, 0.0, 1.0, -1.0], 25)
    assert zeros.measure(np.abs(target), target, split) is not None
    assert zeros.measure(target, target, split) is None


def test_the_report_says_both_errors_and_how_many_are_called_right(make_run, table):
    random = np.random.default_rng(1)
    target = np.maximum(random.normal(0, 1, 400), 0)
    predicted = np.maximum(target + random.normal(0, 0.1, 400), 0)
    run = make_run(table(400, target=target, predicted=predicted))
    found = json.loads((run.folder / "evaluate" / "metrics.json").read_text())["zeros"]
    assert found["accuracy"] > 0.8 > found["baseline_accuracy"]
    assert "by reference value" in run.page
    assert "not 0" in run.page
    assert f"{found['accuracy']:.1%} of the test structures are called right" in run.page
    assert "Test error by reference value" in run.summary

"""Bootstrap intervals against closed forms, and what is drawn together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.bootstrap import relative_difference, resampled_means


@given(st.floats(0.1, 3), st.integers(1, 4), st.integers(2, 30))
def test_an_error_that_is_larger_by_a_factor_everywhere_has_no_spread(factor, seeds, rows):
    """Rows are drawn together: where each error is the same multiple of the other model's, so is each draw."""
    reference = np.tile(np.random.default_rng(rows).uniform(0.5, 2, rows), (seeds, 1))
    found = relative_difference(factor * reference, reference)
    assert found == pytest.approx((factor - 1,) * 3)


def test_the_spread_over_rows_is_the_standard_error_of_the_mean():
    errors = np.random.default_rng(0).exponential(1, (1, 400))
    (means,) = resampled_means([errors]).T
    assert means.std() == pytest.approx(errors.std() / 20, rel=0.05)


def test_the_spread_over_seeds_is_that_of_their_mean():
    """Rows that are all alike leave the seeds alone: √(variance / seeds), of the drawn seeds' own variance."""
    errors = np.array([[1.0], [2.0], [3.0], [4.0]]) * np.ones((1, 50))
    (means,) = resampled_means([errors]).T
    assert means.std() == pytest.approx(np.std([1, 2, 3, 4]) / 2, rel=0.05)


def test_the_seeds_of_two_models_are_drawn_on_their_own():
    errors = np.array([[1.0], [2.0]]) * np.ones((1, 50))
    means = resampled_means([errors, errors])
    assert abs(np.corrcoef(means.T)[0, 1]) < 0.1


def test_large_tables_are_drawn_in_pieces(monkeypatch):
    errors = np.random.default_rng(0).uniform(0, 1, (2, 40))
    monkeypatch.setattr("evaluation.bootstrap.AT_A_TIME", 400)
    assert resampled_means([errors], draws=95).shape == (95, 1)

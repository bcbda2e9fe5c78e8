"""The power law against closed forms: without noise it gives its own exponent and the goal's number of structures."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evaluation.power_law import fit, structures_for

COUNTS = np.array([60.0, 120.0, 240.0, 480.0, 960.0])


@given(st.floats(0.05, 2), st.floats(0.01, 100), st.integers(2, 5))
def test_a_power_law_without_noise_gives_its_exponent_and_what_a_goal_needs(exponent, scale, sizes):
    counts = COUNTS[:sizes]
    law = fit(counts, scale * counts**-exponent, counts)
    assert law.exponent == pytest.approx(exponent)
    assert law.error(5000.0) == pytest.approx(scale * 5000.0**-exponent)
    needed = structures_for(law, scale * 7777.0**-exponent)
    assert needed[0] == pytest.approx(7777.0, rel=1e-6)
    if sizes > 2:
        assert (law.low, law.high) == pytest.approx((exponent, exponent), abs=1e-6)
        assert needed[1:] == pytest.approx((7777.0, 7777.0), rel=1e-3)


def test_the_interval_is_that_of_a_straight_line_through_the_means():
    """Against scipy's regression: its slope, and the standard error of that by the quantile of Student's t."""
    random = np.random.default_rng(2)
    sizes, counts = np.repeat(COUNTS, 3), np.repeat(COUNTS, 3) * random.uniform(0.95, 1.05, 15)
    errors = 3 * counts**-0.4 * np.exp(random.normal(0, 0.1, 15))
    law = fit(counts, errors, sizes)
    means = [np.log(values).reshape(5, 3).mean(axis=1) for values in (counts, errors)]
    line = stats.linregress(*means)
    half = stats.t.ppf(0.975, 3) * line.stderr
    assert law.exponent == pytest.approx(-line.slope)
    assert (law.low, law.high) == pytest.approx((-line.slope - half, -line.slope + half))


def test_the_interval_holds_the_true_exponent_about_as_often_as_it_says():
    random = np.random.default_rng(0)
    laws = [fit(COUNTS, COUNTS**-0.5 * np.exp(random.normal(0, 0.1, 5)), COUNTS) for _ in range(1000)]
    assert 0.92 < np.mean([law.low <= 0.5 <= law.high for law in laws]) < 0.98


def test_the_goals_interval_is_where_the_lines_confidence_band_meets_the_goal():
    random = np.random.default_rng(1)
    law = fit(COUNTS, COUNTS**-0.5 * np.exp(random.normal(0, 0.05, 5)), COUNTS)
    goal = 0.01
    middle, low, high = structures_for(law, goal)
    assert low < middle < high
    for end in (low, high):
        u = math.log(end) - law.centre
        band = stats.t.ppf(0.975, 3) * math.sqrt(law.scatter * (1 / 5 + u**2 / law.spread))
        assert abs(math.log(law.error(end)) - math.log(goal)) == pytest.approx(band)


def test_an_exponent_that_may_be_zero_bounds_nothing():
    law = fit(COUNTS, [1.0, 1.3, 0.9, 1.2, 0.95], COUNTS)
    assert not law.falls
    assert all(math.isnan(end) for end in structures_for(law, 0.5)[1:])
    assert structures_for(fit(COUNTS, COUNTS**0.1, COUNTS), 0.5)[0] == math.inf


def test_a_goal_beyond_all_numbers_is_at_infinity():
    """With b = 0.001 a tenth of the error needs 10¹⁰⁰⁰ times the structures."""
    law = fit(COUNTS, COUNTS**-0.001 * np.exp([1e-5, -2e-5, 0, 2e-5, -1e-5]), COUNTS)
    assert law.falls
    assert structures_for(law, 0.1 * law.error(60)) == (math.inf, math.inf, math.inf)


def test_one_size_is_no_line():
    with pytest.raises(ValueError, match="two sizes"):
        fit([10, 11], [1.0, 2.0], [0.5, 0.5])

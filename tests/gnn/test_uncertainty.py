"""What the spread of an ensemble becomes: against closed forms, and by the argument that conformal intervals have."""

import logging

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gnn.model_card import Calibration
from gnn.uncertainty import calibrate, floor_of, mean_and_spread, with_uncertainty

SIZES = st.floats(-1e3, 1e3, allow_subnormal=False)


def half(calibration: Calibration, spread: np.ndarray) -> np.ndarray:
    """Half of the interval around predictions with these spreads."""
    return with_uncertainty(np.zeros_like(spread), spread, calibration)["high"]


@given(arrays(float, st.tuples(st.integers(2, 6), st.integers(1, 5)), elements=SIZES), st.randoms())
def test_the_order_of_the_members_does_not_matter(outputs, random):
    order = list(range(len(outputs)))
    random.shuffle(order)
    for one, other in zip(mean_and_spread(outputs), mean_and_spread(outputs[order]), strict=True):
        assert one.tobytes() == other.tobytes()


def test_two_members_have_the_mean_and_the_deviation_that_one_computes_by_hand():
    mean, spread = mean_and_spread(np.array([[1.0, 2.0], [3.0, 2.0]]))
    assert mean.tolist() == [2.0, 2.0]
    assert spread.tolist() == [pytest.approx(2**0.5), 0.0]


@given(
    st.integers(2, 40).flatmap(
        lambda rows: st.tuples(arrays(float, rows, elements=SIZES), arrays(float, rows, elements=st.floats(0, 10)))
    ),
    st.floats(0.5, 0.99),
)
def test_of_rows_in_any_order_the_promised_share_lies_in_the_interval_that_the_others_give(drawn, coverage):
    """Which of exchangeable rows is the new one is chance: so each is, once, and the share of hits is the probability.

    Vovk, Gammerman & Shafer, Algorithmic Learning in a Random World (2005); it holds whatever the errors are.
    """
    error, spread = drawn
    inside, promised = [], set()
    for new in range(len(error)):
        others = np.arange(len(error)) != new
        calibration = calibrate(error[others], spread[others], 0.1, coverage)
        promised.add(calibration.coverage)
        # as ties are no miss: less than rounding beyond the end
        inside.append(abs(error[new]) <= half(calibration, spread[new : new + 1])[0] * (1 + 1e-9))
    assert len(promised) == 1
    assert np.mean(inside) >= min(promised) - 1e-9
    assert min(promised) == pytest.approx(min(coverage, (len(error) - 1) / len(error)))


def test_normal_errors_give_back_their_factor_and_their_quantile():
    random = np.random.default_rng(3)
    spread = random.gamma(4, 0.1, 20_000)
    error = 2.5 * np.hypot(spread, 0.05) * random.normal(size=len(spread))
    found = calibrate(error, spread, 0.05, 0.9)
    assert found.factor == pytest.approx(2.5, rel=0.02)
    assert found.quantile == pytest.approx(1.645, rel=0.02)  # Φ⁻¹(0.95)


def test_the_factor_is_the_most_likely_one():
    random = np.random.default_rng(4)
    error, spread = random.normal(size=50), random.gamma(2, 1, 50)

    def likelihood(factor: float) -> float:
        deviation = factor * np.hypot(spread, 0.2)
        return float(-(np.square(error / deviation) / 2 + np.log(deviation)).sum())

    best = calibrate(error, spread, 0.2, 0.9).factor
    assert likelihood(best) > max(likelihood(best * 0.99), likelihood(best * 1.01))


def test_ten_errors_by_hand():
    """⌈(9 + 1) 0.8⌉ = 8: the eighth of nine."""
    found = calibrate(np.arange(1.0, 10.0), np.zeros(9), 1.0, 0.8)
    assert half(found, np.zeros(1))[0] == pytest.approx(8.0)
    assert found.coverage == 0.8


def test_of_too_few_rows_the_widest_interval_is_taken_and_promises_less(caplog):
    with caplog.at_level(logging.WARNING):
        found = calibrate(np.array([0.5, -3.0, 1.0]), np.zeros(3), 1.0, 0.9)
    assert half(found, np.zeros(1))[0] == pytest.approx(3.0)
    assert found.coverage == 0.75
    assert (
        "3 validation rows are too few for intervals of 90.0%: the widest that they allow promises 75.0%" in caplog.text
    )


def test_members_that_agree_by_chance_are_not_taken_for_certain():
    floor = floor_of(np.array([0.1, 0.3, 5.0]), 1.0)
    assert floor == 0.3
    found = calibrate(np.array([1.0, -1.0]), np.zeros(2), floor, 0.5)
    deviation = with_uncertainty(np.zeros(2), np.array([0.0, 1.0]), found)["standard_deviation"]
    assert deviation[0] == pytest.approx(1.0)
    assert deviation[1] > 2


def test_rows_for_which_all_members_say_the_very_same_tell_nothing_of_the_floor():
    """Most band gaps are 0, and a hurdle predicts that exactly: with no floor, the factor would reach millions."""
    assert floor_of(np.array([0.0] * 9 + [0.1, 0.3, 0.2]), 1.0) == pytest.approx(0.2)


@pytest.mark.parametrize("spread", [np.zeros(5), np.array([])])
def test_members_that_are_all_the_same_have_an_uncertainty_above_zero(spread):
    floor = floor_of(spread, 2.0)
    found = calibrate(np.zeros(4), np.zeros(4), floor, 0.5)
    assert with_uncertainty(np.zeros(1), np.zeros(1), found)["standard_deviation"][0] > 0

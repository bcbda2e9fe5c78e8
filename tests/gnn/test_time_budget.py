"""Trainings that a time ends."""

import pyarrow.parquet as pq
import pytest

from gnn import train
from gnn.time_budget import TimeBudget


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
def test_the_rate_has_fallen_to_nothing_when_the_time_is_over(spec, schedule):
    run = spec(minutes=0.03, epochs=1, schedule=schedule, learning_rate=0.01)
    facts = train.build(run)
    rates = pq.read_table(run.output / "history.parquet")["learning_rate"].to_pylist()
    assert facts["epochs"] == len(rates) == facts["kept_epoch"] > 1
    assert rates.index(max(rates)) < len(rates) / 2
    assert rates[-1] < 0.5 * max(rates)


def test_a_time_that_is_too_short_for_an_epoch_ends_it_after_a_batch(spec, capfd):
    facts = train.build(spec(minutes=1e-9, batch_size=8))
    assert facts["epochs"] == 1
    assert facts["structures_per_second"] * facts["seconds"] == pytest.approx(8, rel=0.3)  # not all training rows
    assert '"epoch": 1, "epochs": 1,' in capfd.readouterr().out


def test_what_a_killed_attempt_spent_is_spent():
    first = TimeBudget(1.0)
    first.load_state_dict({"spent": 45.0})
    assert 0.75 <= first.share < 1
    second = TimeBudget(1.0)
    second.load_state_dict({"spent": first.state_dict()["spent"] + 15.0})
    assert second.over
    assert second.epochs(7) == 7


def test_the_number_of_epochs_is_foreseen_from_those_that_are_done():
    budget = TimeBudget(1.0)
    assert budget.epochs(0) == 0
    budget.share = 0.25
    assert budget.epochs(5) == 20

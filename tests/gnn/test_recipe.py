"""The default recipe: what the number of training rows decides, and what it leaves to the user."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn import train
from gnn.config import SplitConfig, TrainConfig
from gnn.recipe import CHOSEN, expected_rows, recipe_for

ROWS = st.integers(1, 5_000_000)


@given(ROWS, ROWS, st.sampled_from(["cgcnn", "cogn", "torch_geometric.nn:SchNet"]))
def test_more_rows_are_seen_less_often_in_larger_batches_but_cost_no_less(one, other, model):
    few, many = (recipe_for(TrainConfig(), model, rows) for rows in sorted((one, other)))
    assert few.epochs >= many.epochs >= 1
    assert few.batch_size <= many.batch_size
    assert few.epochs * min(one, other) < (many.epochs + 1) * max(one, other)  # epochs are rounded up


@given(ROWS, st.integers(1, 10_000), st.integers(1, 4096), st.floats(1e-6, 1))
def test_what_is_said_stays(rows, epochs, batch_size, learning_rate):
    said = {"epochs": epochs, "batch_size": batch_size, "learning_rate": learning_rate}
    assert recipe_for(TrainConfig(**said), "cgcnn", rows).model_dump(include=CHOSEN) == said


@pytest.mark.parametrize("rows", [965, 1_700, 2_273])
def test_a_thousand_or_two_have_the_recipe_that_was_measured_on_them(rows):
    assert recipe_for(TrainConfig(), "cgcnn", rows).model_dump(include=CHOSEN) == {
        "epochs": 100,
        "batch_size": 32,
        "learning_rate": 8e-3,
    }
    assert recipe_for(TrainConfig(), "cogn", rows).epochs == 300


def test_fifteen_thousand_are_seen_as_often_as_a_thousand_but_not_by_the_slow_model():
    assert recipe_for(TrainConfig(), "cgcnn", 15_000).epochs == recipe_for(TrainConfig(), "cgcnn", 1_000).epochs == 100
    assert recipe_for(TrainConfig(), "cogn", 15_000).epochs < 200


def test_the_training_says_it_and_keeps_it(spec, caplog):
    caplog.set_level(logging.INFO)
    facts = train.build(spec(epochs=None, minutes=1e-9, learning_rate=0.01))
    assert "recipe: 1e-09 minutes, batches of 32, learning rate 0.01" in caplog.text
    assert facts["recipe"] == {"batch_size": 32, "learning_rate": 0.01}  # no epochs: nothing asked for their number


def test_rows_are_expected_as_the_split_cuts_them():
    assert expected_rows(1000, SplitConfig(test=0.2, validation=0.1, train_share=0.5)) == 350
    assert expected_rows(0, SplitConfig()) == 1

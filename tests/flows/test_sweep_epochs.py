"""After how many epochs a sweep's trials are compared, and when they are not."""

import pytest

from flows.stages import by_epochs, most_epochs
from flows.sweep_config import SweepConfig

ROWS = 1_000  # the recipe has 100 epochs for cgcnn, 300 for cogn


@pytest.mark.parametrize(
    ("search", "epochs"),
    [
        ({"model.n_conv": [2, 3]}, 100),
        ({"model.name": ["cgcnn", "cogn"]}, 300),
        ({"train.epochs": {"low": 5, "high": 20}}, 20),
        ({"train.epochs": [20, None]}, 100),
        ({"train.epochs": [20, None], "model.name": ["cgcnn", "cogn"]}, 300),
    ],
)
def test_the_longest_trial_says_how_many_epochs_there_are(search, epochs):
    config = SweepConfig(search=search)
    assert most_epochs(config, config.search, ROWS) == epochs


def test_epochs_that_are_said_are_those_of_every_network():
    config = SweepConfig(search={"model.name": ["cgcnn", "cogn"]}, train={"epochs": 7})
    assert most_epochs(config, config.search, ROWS) == 7


@pytest.mark.parametrize(
    ("search", "minutes", "compare"),
    [
        ({"model.n_conv": [2, 3]}, None, True),
        ({"model.n_conv": [2, 3]}, 5, False),
        ({"train.minutes": [5, 10]}, None, False),
        ({"train.minutes": [5, None]}, None, False),
        ({"train.minutes": {"low": 5, "high": 10}}, None, False),
    ],
)
def test_trials_that_a_time_ends_are_not_compared_by_epochs(search, minutes, compare):
    config = SweepConfig(search=search, train={"minutes": minutes})
    assert by_epochs(config, config.search) is compare

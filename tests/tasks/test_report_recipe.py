"""What the report says of a training's settings that nobody chose."""

from gnn.config import TrainConfig
from tasks.report import with_recipe

FACTS = {"split": {"train": 1_234}, "recipe": {"epochs": 100, "batch_size": 32, "learning_rate": 8e-3}}


def test_it_says_what_the_rows_chose_and_leaves_what_was_said():
    found = with_recipe(TrainConfig(batch_size=16).model_dump(), FACTS)
    assert found["epochs"] == "100, by 1,234 training rows"
    assert found["batch_size"] == 16


def test_a_training_by_the_minute_has_no_number_of_epochs():
    recipe = {name: value for name, value in FACTS["recipe"].items() if name != "epochs"}
    found = with_recipe(TrainConfig(minutes=3, epochs=50).model_dump(), {**FACTS, "recipe": recipe})
    assert "epochs" not in found
    assert found["minutes"] == 3
    assert found["learning_rate"] == "0.008, by 1,234 training rows"


def test_a_training_that_is_older_than_the_recipe_was_told_all_of_it():
    told = TrainConfig(epochs=50, batch_size=16, learning_rate=0.001).model_dump()
    assert with_recipe(told, {"split": {"train": 1_234}}) == told

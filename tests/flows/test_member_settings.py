"""`member_settings`: an ensemble whose members differ in more than the seed. What is wrong in it is one line."""

import pytest

from flows.config import RetrainConfig, configured, configured_as
from flows.curve_config import CurveConfig
from gnn.config import Placement
from storage.errors import InputError

TWO = [{"model.n_conv": 2}, {"model.n_conv": 3, "train.learning_rate": 0.01}]


def test_each_member_is_the_configuration_with_its_settings():
    config = configured([{"train": {"epochs": 9}, "member_settings": TWO}])
    first, second = config.trainings.values()
    assert (first[0].n_conv, first[1].epochs) == (2, 9)
    assert (second[0].n_conv, second[1].learning_rate, second[1].epochs) == (3, 0.01, 9)
    assert first[0].model_copy(update={"n_conv": 3}) == second[0]


def test_a_member_is_the_very_training_of_one_model_with_its_settings():
    """So it is in the store where that was trained: what says where and how it runs is not in it."""
    alone = configured([{"model": {"n_conv": 2}}]).trainings["seed-0"]
    elsewhere = {"train": {"where": "gpu-pool", "coverage": 0.8, "processes": 2}, "member_settings": TWO}
    assert configured([elsewhere]).trainings["member-1"] == alone


def test_without_them_a_configuration_has_no_word_of_them():
    """So keys of the store, and files of settings, stay what they were."""
    assert "member_settings" not in RetrainConfig().model_dump(mode="json")
    assert list(configured([{"train": {"members": 2, "seed": 4}}]).trainings) == ["seed-4", "seed-5"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([{}], "one member is no ensemble"),
        ([{}, {}], "member 2: is the same training as member 1"),
        ([{"model.n_conv": 4}, {"model.n_conv": 99}], "member 2: model.n_conv: Input should be less than or equal"),
        ([{}, {"split.seed": 3}], "member 2: split.seed: members differ in keys of model and train alone"),
        ([{}, {"graphs.cutoff": 5}], "member 2: graphs.cutoff: members differ in keys of model and train alone"),
        ([{}, {"train.task": "classification"}], "member 2: train.task: is the same for all members"),
        ([{}, {"train.members": 2}], "member 2: train.members: is the same for all members"),
        (
            [{}, {"train.lerning_rate": 1}],
            "member 2: train.lerning_rate: no such key; did you mean train.learning_rate",
        ),
        ([{}, {"model.name": "package:Class"}], "reduce_symmetry has to be false for package:Class"),
        ([{}, {"model.name": "cogn", "model.max_l": 2}], "vectors has to be true for model.max_l above 0"),
        ([{}, {"model": {"n_conv": 2}}], "member 2: model: members differ in keys of model and train alone, as model."),
        ([{}] * 101, "at most 100 items"),
        ({"model.n_conv": 2}, "Input should be a valid list"),
    ],
)
def test_a_fault_is_one_line(settings, message):
    with pytest.raises(InputError, match=r"^member_settings: ") as fault:
        configured([{"member_settings": settings}])
    assert message in str(fault.value)
    assert len(str(fault.value).splitlines()) == 1


def test_how_a_training_runs_is_no_setting_of_a_member():
    for name in Placement.model_fields:
        with pytest.raises(InputError, match=f"train.{name}: is the same for all members"):
            configured([{"member_settings": [{}, {f"train.{name}": 2}]}])


def test_they_are_no_second_kind_of_members():
    with pytest.raises(InputError, match=r"member_settings: train\.members has to be 1 beside them"):
        configured([{"train": {"members": 2}, "member_settings": TWO}])


def test_a_study_of_networks_with_seeds_of_its_own_takes_none():
    with pytest.raises(InputError, match="member_settings: has to be empty"):
        configured_as(CurveConfig, [{"member_settings": TWO}])

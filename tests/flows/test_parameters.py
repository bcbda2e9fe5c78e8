"""The parameters of the flows: what Prefect and the UI's form read of them is what the configuration class says."""

import inspect

import pytest
from prefect.exceptions import ParameterTypeError

from flows.config import RetrainConfig, TrainingConfig
from flows.retrain import retrain
from flows.sweep import sweep
from flows.sweep_config import SweepConfig
from flows.train import train

BOXES = ("train", "model", "graphs", "split", "materials_project", "checks", "promotion")


@pytest.mark.parametrize(("flow", "config"), [(retrain, RetrainConfig), (sweep, SweepConfig), (train, TrainingConfig)])
def test_the_parameters_are_the_fields(flow, config):
    schema = flow.parameters.model_dump_for_openapi()
    in_order = sorted(schema["properties"], key=lambda name: schema["properties"][name]["position"])
    assert in_order == list(config.model_fields)
    defaults = {name: p.default for name, p in inspect.signature(flow.fn).parameters.items()}
    assert {n: d for n, d in defaults.items() if d is not inspect.Parameter.empty} == {
        name: field.default for name, field in config.model_fields.items() if not field.is_required()
    }
    assert schema.get("required", []) == [name for name, f in config.model_fields.items() if f.is_required()]


def test_every_field_of_the_form_has_a_place_a_name_and_a_description():
    schema = retrain.parameters.model_dump_for_openapi()
    for name, field in schema["properties"].items():
        box = schema["definitions"][field["$ref"].rpartition("/")[2]] if "$ref" in field else None
        assert field.get("description") or box["description"]
        if box:
            keys = [
                f"{name}.{key}" for key in sorted(box["properties"], key=lambda n: box["properties"][n]["position"])
            ]
            assert keys == [f"{name}.{key}" for key in type(RetrainConfig.model_fields[name].default).model_fields]
            for key, inner in box["properties"].items():
                assert inner["title"] == key
                assert inner["description"]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"train": {"epochs": -3}}, "train.epochs"),
        ({"device": "gpu"}, "device"),
        ({"split": {"tset": 1}}, "split.tset"),
    ],
)
def test_a_wrong_value_is_refused_before_the_run(wrong, told):
    with pytest.raises(ParameterTypeError, match=told):
        retrain.validate_parameters(wrong)

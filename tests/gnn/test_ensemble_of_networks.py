"""Members of different networks as one model: each is built by its own configuration, everything else is the same."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from gnn import ensemble, train
from gnn.checkpoint import load_members, load_model
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from gnn.ensemble import EnsembleSpec
from gnn.inference import Predictor
from gnn.model_card import read_card
from storage.errors import InputError

CPU = torch.device("cpu")
NARROW = {"atom_fea_len": 8, "h_fea_len": 8, "n_conv": 1}
WIDE = {**NARROW, "atom_fea_len": 12}
DEEP = {**NARROW, "n_conv": 2}


def together(folder, members) -> dict:
    folder.mkdir()
    folders, facts = zip(*members, strict=True)
    spec = EnsembleSpec(output=folder, scratch=folder, members=list(folders), facts=list(facts), coverage=0.8)
    return ensemble.build(spec)


@pytest.fixture(scope="module")
def trainings(shards, tmp_path_factory):
    """Folder and facts of a narrow, a wide and a deep network, and of a narrow one that learned from fewer rows."""
    folder, made = tmp_path_factory.mktemp("networks"), {}
    split = {"validation": 0.2, "test": 0.2}
    wanted = {"narrow": (NARROW, split), "wide": (WIDE, split), "deep": (DEEP, split)}
    wanted["fewer"] = (NARROW, {"validation": 0.3, "test": 0.2})
    for name, (model, rows) in wanted.items():
        spec = train.TrainSpec(
            **{"output": folder / name, "scratch": folder / f"scratch-{name}", "graphs": shards, "graph_config": {}},
            **{"target": "energy_ev", "unit": "eV", "train": TrainConfig(epochs=2), "device": "cpu"},
            model=ModelConfig(**model),
            split=SplitConfig(**rows),
        )
        spec.output.mkdir()
        spec.scratch.mkdir()
        made[name] = (spec.output, train.build(spec))
    return made


@pytest.fixture(scope="module")
def mixed(trainings, tmp_path_factory):
    """The folder of an ensemble of the narrow and the wide network."""
    output = tmp_path_factory.mktemp("mixed") / "it"
    together(output, [trainings["narrow"], trainings["wide"]])
    return output


@pytest.fixture
def changed(mixed, tmp_path):
    """changed(…): a copy of that folder with other values in its model.json."""

    def make(**values: object):
        folder = shutil.copytree(mixed, tmp_path / "copy")
        card = json.loads((folder / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(card | values))
        return folder

    return make


def test_each_member_is_built_by_its_own_configuration(trainings, mixed):
    models, card = load_members(mixed, CPU)
    assert [config.atom_fea_len for config in card.models] == [8, 12]
    for name, model in zip(("narrow", "wide"), models, strict=True):
        alone = load_model(trainings[name][0], CPU)[0].state_dict()
        assert alone.keys() == model.state_dict().keys()
        assert all(torch.equal(value, alone[key]) for key, value in model.state_dict().items())


def test_loaded_again_it_predicts_the_mean_that_it_wrote_with_its_intervals(trainings, mixed, table):
    rows = pq.read_table(mixed / "predictions.parquet")
    tables = [pq.read_table(trainings[name][0] / "predictions.parquet") for name in ("narrow", "wide")]
    members = np.stack([each["predicted"].to_numpy() for each in tables])
    assert rows["predicted"].to_numpy() == pytest.approx(members.mean(0), rel=1e-12)
    found = Predictor(mixed, "cpu").predict_intervals(table)
    for place, name in enumerate(("predicted", "standard_deviation", "low", "high")):
        assert found[:, place] == pytest.approx(rows[name].to_numpy(), rel=1e-4, abs=1e-5)


def test_gates_are_averaged_where_they_are_of_the_same_layers_and_left_out_elsewhere(trainings, mixed, tmp_path):
    tables = [pq.read_table(trainings[name][0] / "gates.parquet") for name in ("narrow", "wide")]
    mean = np.mean([each["mean_gate"].to_numpy() for each in tables], axis=0)
    assert pq.read_table(mixed / "gates.parquet")["mean_gate"].to_numpy() == pytest.approx(mean)
    together(tmp_path / "out", [trainings["narrow"], trainings["deep"]])
    assert not (tmp_path / "out" / "gates.parquet").exists()
    assert read_card(tmp_path / "out").models[1].n_conv == 2


def test_members_of_one_network_have_one_configuration_in_the_card(trainings, tmp_path):
    together(tmp_path / "out", [trainings["narrow"], trainings["narrow"]])
    assert "member_models" not in json.loads((tmp_path / "out" / "model.json").read_text())
    assert len(read_card(tmp_path / "out").models) == 2


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"mean": 3.0}, "differs from .* in more than the network"),
        ({"graph_config": {"cutoff": 5.0}}, "differs from .* in more than the network"),
        ({"elements": [1]}, "differs from .* in more than the network"),
    ],
)
def test_what_is_not_the_network_has_to_be_the_same(trainings, tmp_path, other, message):
    folder = shutil.copytree(trainings["wide"][0], tmp_path / "other")
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | other))
    with pytest.raises(InputError, match=message):
        together(tmp_path / "out", [trainings["narrow"], (folder, trainings["wide"][1])])


def test_members_of_other_rows_are_refused(trainings, tmp_path):
    """Also where the cards say nothing of it."""
    folder = shutil.copytree(trainings["fewer"][0], tmp_path / "other")
    shutil.copyfile(trainings["narrow"][0] / "model.json", folder / "model.json")
    with pytest.raises(InputError, match="member 2: was not trained on the same rows as member 1"):
        together(tmp_path / "out", [trainings["narrow"], (folder, trainings["fewer"][1])])


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([NARROW], "member_models: has 1 networks for 2 members"),
        ([WIDE, NARROW], "member_models: the first one is not `model`"),
        ([NARROW, {"n_conv": 99}], "member_models.1.n_conv: Input should be less than or equal to 20"),
        ([NARROW, DEEP], "model-1.safetensors does not fit model.json"),
        ([NARROW, {"name": "package:Class"}], "model.name package:Class: .*--trust-code"),
        ([NARROW] * 101, "member_models: List should have at most 100 items"),
    ],
)
def test_networks_that_cannot_be_are_one_line(changed, models, message):
    with pytest.raises(InputError, match=message) as fault:
        load_members(changed(member_models=models), CPU)
    assert len(str(fault.value).splitlines()) == 1

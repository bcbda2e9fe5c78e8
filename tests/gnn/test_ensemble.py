"""Members that were trained a moment ago, as one model: what is written, what it predicts, and what it refuses."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gnn import ensemble, train
from gnn.checkpoint import load_members, load_model
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from gnn.ensemble import EnsembleSpec
from gnn.inference import Predictor
from gnn.model_card import read_card
from storage import schemas
from storage.errors import InputError

CPU = torch.device("cpu")


def together(folder, members, facts, coverage=0.8) -> dict:
    folder.mkdir()
    return ensemble.build(EnsembleSpec(output=folder, scratch=folder, members=members, facts=facts, coverage=coverage))


@pytest.fixture(scope="module")
def train_members(shards, tmp_path_factory):
    """train_members(**settings): the folders of the trainings of an ensemble, and their facts."""

    def make(**settings):
        folder, made = tmp_path_factory.mktemp("members"), []
        for number, config in enumerate(TrainConfig(epochs=2, **settings).trainings):
            output = folder / f"{number}"
            output.mkdir()
            spec = train.TrainSpec(
                **{"output": output, "scratch": folder / f"scratch-{number}", "graphs": shards, "graph_config": {}},
                **{"target": "energy_ev", "unit": "eV", "train": config, "device": "cpu"},
                model=ModelConfig(atom_fea_len=8, h_fea_len=8, n_conv=1),
                split=SplitConfig(validation=0.2, test=0.2),
            )
            spec.scratch.mkdir()
            made.append((output, train.build(spec)))
        return [list(each) for each in zip(*made, strict=True)]

    return make


@pytest.fixture(scope="module")
def trained(train_members, tmp_path_factory):
    """Three members, their facts, the ensemble's folder and its facts."""
    folders, facts = train_members(members=3, seed=5)
    output = tmp_path_factory.mktemp("ensemble") / "it"
    return folders, facts, output, together(output, folders, facts)


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the ensemble's folder."""
    return shutil.copytree(trained[2], tmp_path / "copy")


def test_it_predicts_the_mean_of_its_members_with_the_interval_of_its_calibration(trained):
    folders, _, output, _ = trained
    rows = pq.read_table(output / "predictions.parquet")
    assert rows.schema.equals(schemas.CALIBRATED_PREDICTIONS)
    members = np.stack([pq.read_table(f / "predictions.parquet")["predicted"].to_numpy() for f in folders])
    assert rows["predicted"].to_numpy() == pytest.approx(members.mean(0), rel=1e-12)
    found = read_card(output).calibration
    deviation = found.factor * np.sqrt(members.var(0, ddof=1) + found.floor**2)
    assert rows["standard_deviation"].to_numpy() == pytest.approx(deviation, rel=1e-9)
    width = rows["high"].to_numpy() - rows["low"].to_numpy()
    assert width == pytest.approx(2 * found.quantile * deviation, rel=1e-9)


def test_of_the_validation_rows_that_set_it_as_many_lie_inside_as_it_was_made_to_hold(trained):
    rows = pq.read_table(trained[2] / "predictions.parquet").to_pandas()
    watched = rows[rows["split"] == "validation"]
    inside = (watched["low"] - 1e-9 <= watched["target"]) & (watched["target"] <= watched["high"] + 1e-9)
    assert inside.sum() == int(np.ceil((len(watched) + 1) * 0.8 - 1e-9))
    assert read_card(trained[2]).calibration.rows == len(watched)


def test_test_rows_set_nothing(trained, tmp_path):
    """Other targets of the test rows leave the model as it is."""
    folders, facts, output, _ = trained
    changed = []
    for number, folder in enumerate(folders):
        other = shutil.copytree(folder, tmp_path / str(number))
        rows = pq.read_table(other / "predictions.parquet")
        target = np.where(rows["split"].to_numpy() == "test", 1e3, rows["target"].to_numpy())
        place = rows.schema.get_field_index("target")
        rows = rows.set_column(place, rows.schema.field("target"), pa.array(target))
        schemas.write_table(rows, other / "predictions.parquet")
        changed.append(other)
    together(tmp_path / "again", changed, facts)
    assert (tmp_path / "again" / "model.json").read_bytes() == (output / "model.json").read_bytes()


def test_what_it_took_adds_up(trained):
    _, facts, _, found = trained
    assert found["members"] == 3
    assert found["seconds"] == pytest.approx(sum(each["seconds"] for each in facts))
    assert found["parameters"] == 3 * facts[0]["parameters"]
    assert set(facts[0]) - {"resumed_from"} <= set(found)


def test_the_curve_and_the_gates_are_the_mean_of_the_members(trained):
    folders, _, output, _ = trained
    for name, column in (("history", "validation_mae"), ("gates", "mean_gate")):
        mean = np.mean([pq.read_table(f / f"{name}.parquet")[column].to_numpy() for f in folders], axis=0)
        assert pq.read_table(output / f"{name}.parquet")[column].to_numpy() == pytest.approx(mean, rel=1e-12)


def test_loaded_again_it_predicts_what_it_wrote(trained, table):
    output = trained[2]
    rows = pq.read_table(output / "predictions.parquet")
    found = Predictor(output, "cpu").predict_intervals(table)
    for place, name in enumerate(("predicted", "standard_deviation", "low", "high")):
        assert found[:, place] == pytest.approx(rows[name].to_numpy(), rel=1e-4, abs=1e-5)
    assert np.array_equal(Predictor(output, "cpu").predict(table), found[:, 0])
    weights = [model.state_dict() for model in load_members(output, CPU)[0]]
    for folder, loaded in zip(trained[0], weights, strict=True):
        for name, value in load_model(folder, CPU)[0].state_dict().items():
            assert torch.equal(value, loaded[name])


def test_it_has_no_features_and_a_single_model_no_uncertainty(trained):
    with pytest.raises(InputError, match="an ensemble of 3 models has no features"):
        _ = Predictor(trained[2], "cpu").features
    with pytest.raises(InputError, match="no uncertainty"):
        Predictor(trained[0][0], "cpu").check_calibrated()
    with pytest.raises(InputError, match="is an ensemble of 3 models"):
        load_model(trained[2], CPU)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "there is no model-1.safetensors"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "model-1.safetensors: cannot be read"),
        (lambda path: path.write_bytes(b""), "model-1.safetensors: cannot be read"),
    ],
)
def test_a_damaged_member_is_one_line_that_names_it(copy, damage, message):
    damage(copy / "model-1.safetensors")
    with pytest.raises(InputError, match=message) as fault:
        load_members(copy, CPU)
    assert len(str(fault.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("members", 101, "members: "),
        ("members", 0, "members: "),
        ("members", 1, "a single model has no spread"),
        ("calibration", {"floor": 0.1, "factor": -1, "quantile": 1, "coverage": 0.9, "rows": 9}, "calibration.factor"),
        ("calibration", "none", "calibration: "),
    ],
)
def test_a_calibration_that_cannot_be_is_refused(copy, key, value, message):
    card = json.loads((copy / "model.json").read_text())
    (copy / "model.json").write_text(json.dumps(card | {key: value}))
    with pytest.raises(InputError, match=message):
        read_card(copy)


def test_a_member_whose_training_diverged_is_named(trained, tmp_path):
    folders, facts, _, _ = trained
    other = shutil.copytree(folders[1], tmp_path / "other")
    rows = pq.read_table(other / "predictions.parquet")
    place = rows.schema.get_field_index("predicted")
    lost = pa.array(np.full(len(rows), np.nan))
    schemas.write_table(rows.set_column(place, rows.schema.field("predicted"), lost), other / "predictions.parquet")
    with pytest.raises(InputError, match="member 2: 120 of 120 predicted values are not finite"):
        together(tmp_path / "out", [folders[0], other], facts[:2])


def test_members_of_different_networks_are_refused(trained, tmp_path):
    folders, facts, _, _ = trained
    other = shutil.copytree(folders[1], tmp_path / "other")
    card = json.loads((other / "model.json").read_text())
    (other / "model.json").write_text(json.dumps(card | {"mean": 3.0}))
    with pytest.raises(InputError, match="differs from"):
        together(tmp_path / "out", [folders[0], other], facts[:2])


def test_of_a_classification_the_probability_is_the_mean_and_has_no_interval(train_members, tmp_path, table):
    folders, facts = train_members(members=2, task="classification", threshold=4.0)
    assert "coverage" not in together(tmp_path / "out", folders, facts)
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet")
    assert rows.schema.equals(schemas.PREDICTIONS)
    members = [pq.read_table(f / "predictions.parquet")["predicted"].to_numpy() for f in folders]
    assert rows["predicted"].to_numpy() == pytest.approx(np.mean(members, axis=0))
    predictor = Predictor(tmp_path / "out", "cpu")
    assert predictor.predict(table) == pytest.approx(rows["predicted"].to_numpy(), rel=1e-4)
    with pytest.raises(InputError, match="no uncertainty"):
        predictor.check_calibrated()


def test_a_single_training_s_settings_and_card_have_no_word_of_members(trained):
    """So keys and bytes of trainings without members stay what they were."""
    assert not {"members", "coverage"} & set(TrainConfig().model_dump(mode="json"))
    assert not {"members", "calibration"} & set(json.loads((trained[0][0] / "model.json").read_text()))
    alone = TrainConfig(epochs=2, seed=6)
    assert TrainConfig(epochs=2, seed=5, members=3, coverage=0.8, where="gpu-pool").trainings[1] == alone

"""Fine-tuning: what is taken over from a trained model, what is not, and what learns how fast."""

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from gnn import initial, train
from gnn.initial import is_readout
from gnn.model_card import read_card
from storage.errors import InputError


def weights(run: train.TrainSpec) -> dict[str, torch.Tensor]:
    return load_file(run.output / "model.safetensors")


@pytest.fixture
def trained(spec) -> train.TrainSpec:
    one = spec("trained", epochs=8)
    train.build(one)
    return one


def test_a_frozen_body_stays_and_a_fresh_readout_learns(spec, trained):
    tuned = spec("tuned", epochs=3, seed=5, body_rate=0, ema=0).model_copy(update={"start": trained.output})
    train.build(tuned)
    before, after = weights(trained), weights(tuned)
    assert any("running" in name for name in after)
    assert {is_readout(name) for name in after} == {True, False}
    assert all(torch.equal(before[name], after[name]) != is_readout(name) for name in after)


def test_a_model_that_is_kept_whole_begins_where_it_was(spec, trained):
    tuned = spec("tuned", epochs=1, learning_rate=1e-9, readout="kept", ema=0).model_copy(
        update={"start": trained.output}
    )
    train.build(tuned)
    before, after = weights(trained), weights(tuned)
    assert all(torch.allclose(before[n], after[n], atol=1e-6) for n in before if is_readout(n))


def test_a_readout_that_is_kept_predicts_the_same_where_targets_have_another_scale(spec, trained):
    few = spec(
        "tuned", split={"train_share": 0.2}, epochs=1, learning_rate=1e-9, readout="kept", body_rate=0, ema=0
    ).model_copy(update={"start": trained.output})
    train.build(few)
    assert read_card(few.output).deviation != pytest.approx(read_card(trained.output).deviation, rel=0.01)
    before, after = (pq.read_table(run.output / "predictions.parquet")["predicted"] for run in (trained, few))
    assert np.allclose(before, after, atol=1e-5)


def test_a_slower_body_moves_less(spec, trained):
    moved = []
    for rate in (1.0, 0.01):
        tuned = spec(f"tuned-{rate}", epochs=2, body_rate=rate, ema=0).model_copy(update={"start": trained.output})
        train.build(tuned)
        name = next(name for name in weights(trained) if name.endswith("linear.weight"))
        moved.append(float((weights(tuned)[name] - weights(trained)[name]).abs().mean()))
    assert moved[1] < 0.1 * moved[0]


def test_a_model_of_another_size_is_one_line(spec, trained):
    other = spec("tuned", epochs=1).model_copy(update={"start": trained.output})
    other = other.model_copy(update={"model": other.model.model_copy(update={"atom_fea_len": 16})})
    with pytest.raises(InputError, match=r"has other settings; say --set model\.atom_fea_len=8"):
        train.build(other)


def test_other_neighbours_are_one_line(spec, trained):
    other = spec("tuned", epochs=1).model_copy(update={"start": trained.output, "graph_config": {"cutoff": None}})
    with pytest.raises(InputError, match=r"has other settings; say --set graphs\.cutoff=8\.0$"):
        train.build(other)


def test_a_readout_is_kept_for_the_same_task_alone(spec, trained):
    other = spec("tuned", epochs=1, readout="kept", task="classification", threshold=3.5)
    with pytest.raises(InputError, match=r"has other settings; say --set train\.task=regression$"):
        train.build(other.model_copy(update={"start": trained.output}))


def test_the_copy_in_the_store_is_the_model(trained, tmp_path):
    output = tmp_path / "copy"
    output.mkdir()
    facts = initial.build(initial.InitialSpec(output=output, scratch=tmp_path, folder=trained.output))
    assert facts["target"] == trained.target
    assert read_card(output) == read_card(trained.output)
    with pytest.raises(InputError, match="is no model"):
        initial.build(initial.InitialSpec(output=output, scratch=tmp_path, folder=tmp_path))


def test_an_ensemble_is_no_start(spec, trained):
    card = trained.output / "model.json"
    card.write_text(card.read_text().replace('"model": {', '"members": 2, "model": {', 1))
    with pytest.raises(InputError, match="is an ensemble of 2 models; start from a single one"):
        train.build(spec("tuned", epochs=1).model_copy(update={"start": trained.output}))

"""Auxiliary targets: what a crystal lacks changes nothing, and the model is that of its target alone."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from gnn import ensemble, train
from gnn.auxiliary import Auxiliary
from gnn.config import Placement
from gnn.ensemble import EnsembleSpec
from storage import schemas
from storage.errors import InputError

AUXILIARY = ("gap_ev", "bond_length")


@pytest.fixture
def with_auxiliary(shards, tmp_path):
    """The shards of 120 graphs with two columns more: one that a third of the rows have, and one that all have.

    The gap falls with the energy, and its scale is another one.
    """
    paths = []
    for shard in shards:
        table = pq.read_table(shard)
        gap = [None if n % 3 else 50 - 10 * value for n, value in enumerate(table["energy_ev"].to_pylist())]
        columns = {name: table[name] for name in table.column_names}
        columns |= {
            "gap_ev": pa.array(gap, pa.float64()),
            "bond_length": pa.array([np.mean(row.as_py()) for row in table["edge_distance"]]),
        }
        schema = schemas.graphs("energy_ev", [], AUXILIARY)
        paths.append(tmp_path / shard.name)
        pq.write_table(pa.table([columns[name] for name in schema.names], schema=schema), paths[-1])
    return paths


@pytest.fixture
def trained(spec, with_auxiliary):
    """Trains with them; the spec and the facts."""

    def build(name: str, auxiliary: tuple[str, ...] = AUXILIARY, data: str = "auto", **settings):
        run = spec(name, **settings).model_copy(
            update={"graphs": with_auxiliary, "auxiliary": auxiliary, "placement": Placement(data=data)}
        )
        return run, train.build(run)

    return build


def test_both_are_learned_and_the_model_is_an_ordinary_one(trained):
    both, facts = trained("both", epochs=40)
    alone, without = trained("alone", (), epochs=40)
    learned = facts["auxiliary"]
    assert {name: found["unit"] for name, found in learned.items()} == {"gap_ev": "eV", "bond_length": ""}
    energy = pq.read_table(both.output / "predictions.parquet").to_pandas()
    watched = energy[energy["split"] == "validation"]
    whole = pa.concat_tables(
        pq.read_table(path, columns=["material_id", *AUXILIARY]) for path in both.graphs
    ).to_pandas()
    for name in AUXILIARY:
        known = whole[name][whole["material_id"].isin(watched["material_id"])]
        assert 0 < learned[name]["validation_mae"] < 0.8 * (known - whole[name].mean()).abs().mean()
    assert "auxiliary" not in without
    one, other = (load_file(run.output / "model.safetensors") for run in (both, alone))
    assert {name: value.shape for name, value in one.items()} == {name: value.shape for name, value in other.items()}
    assert (both.output / "model.json").read_bytes() == (alone.output / "model.json").read_bytes()
    assert any(not torch.equal(one[name], other[name]) for name in one if name.startswith("convolutions"))


def test_streamed_it_has_the_same_bytes(trained):
    runs = [trained(data, data=data)[0] for data in ("resident", "streaming")]
    contents = [(run.output / "model.safetensors").read_bytes() for run in runs]
    assert contents[0] == contents[1]


@pytest.mark.parametrize(
    "settings",
    [{"model": {"head": "mean-variance"}}, {"model": {"head": "log"}}, {"task": "classification", "threshold": 3}],
)
def test_it_goes_with_every_head(trained, settings):
    run, facts = trained("run", **settings)
    assert set(facts["auxiliary"]) == set(AUXILIARY)
    assert np.isfinite(pq.read_table(run.output / "predictions.parquet")["predicted"].to_numpy()).all()


def test_a_column_without_two_values_is_one_line(spec, with_auxiliary):
    for path in with_auxiliary:
        table = pq.read_table(path)
        none = pa.nulls(len(table), pa.float64())
        pq.write_table(table.set_column(table.column_names.index("gap_ev"), table.field("gap_ev"), none), path)
    run = spec("run").model_copy(update={"graphs": with_auxiliary, "auxiliary": AUXILIARY})
    with pytest.raises(
        InputError,
        match=r"^auxiliary: gap_ev has no value in the training rows; two or more different ones can be learned$",
    ):
        train.build(run)


def test_an_ensemble_tells_the_mean_of_its_members(trained, tmp_path):
    runs, facts = zip(*(trained(f"{seed}", seed=seed) for seed in range(2)), strict=True)
    folder = tmp_path / "ensemble"
    folder.mkdir()
    spec = EnsembleSpec(
        output=folder, scratch=folder, members=[run.output for run in runs], facts=list(facts), coverage=0.9
    )
    found = ensemble.build(spec)["auxiliary"]
    each = [member["auxiliary"]["bond_length"]["validation_mae"] for member in facts]
    assert found["bond_length"] == {"unit": "", "validation_mae": pytest.approx(np.mean(each))}


@given(st.integers(0, 2**32), st.floats(0.1, 10))
def test_a_value_that_is_missing_has_no_loss_and_no_gradient(seed, weight):
    chance = torch.Generator().manual_seed(seed)
    wanted = torch.randn(9, 3, generator=chance)
    wanted[torch.rand(9, 3, generator=chance) < 0.4] = torch.nan
    output = torch.randn(9, 3, generator=chance).requires_grad_()
    several = Auxiliary(["a", "b", "c"], wanted.double(), torch.ones(3), weight)
    loss = several.loss(output, wanted, "l1")
    known = ~wanted.isnan()
    torch.testing.assert_close(loss, weight * (output - wanted)[known].abs().sum())
    (gradient,) = torch.autograd.grad(loss, output)
    assert torch.equal(gradient != 0, known)


def test_errors_are_in_each_ones_unit():
    values = torch.tensor([[1.0, 10], [3, 30], [torch.nan, 50]], dtype=torch.float64)
    both = Auxiliary.fit(["a", "b"], values, torch.arange(3), 1.0)
    output = both.standardized.nan_to_num() + torch.tensor([1.0, 0.5])
    found = both.errors(output, torch.arange(3))
    assert found["a"]["validation_mae"] == pytest.approx(1.0)  # a deviation of 1
    assert found["b"]["validation_mae"] == pytest.approx(0.5 * np.std([10, 30, 50]))
    assert json.dumps(both.errors(output[2:], torch.tensor([2]))["a"]) == '{"unit": "", "validation_mae": null}'

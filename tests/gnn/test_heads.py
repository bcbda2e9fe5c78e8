"""What a network's numbers mean: against densities, medians, and the head that predicts one value."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad

from gnn import train
from gnn.config import ModelConfig, TrainConfig
from gnn.ensemble import EnsembleSpec
from gnn.ensemble import build as calibrate
from gnn.heads import DEVIATION_OF, LOSSES, Head, Hurdle, Logarithm, MeanVariance, powers_of_ten
from gnn.inference import Predictor
from gnn.models.registry import build_model
from storage.errors import InputError


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_has_the_deviation_of_its_density(name):
    def density(x: float) -> float:
        return math.exp(-LOSSES[name](torch.tensor([x]), torch.zeros(1), reduction="sum").item())

    norm, second = (quad(lambda x, p=power: x**p * density(x), -40, 40, points=[-1, 0, 1])[0] for power in (0, 2))
    assert DEVIATION_OF[name] == pytest.approx(math.sqrt(second / norm), rel=1e-3)


@pytest.mark.parametrize("name", LOSSES)
def test_the_most_likely_deviation_is_that_of_the_errors(name):
    """Of errors drawn from the loss's own density, here by their exact quantiles."""
    places = torch.linspace(-30, 30, 400_001, dtype=torch.float64)
    weight = torch.exp(-LOSSES[name](places, torch.zeros_like(places), reduction="none")).cumsum(0)
    errors = 0.3 * places[torch.searchsorted(weight / weight[-1], torch.linspace(1e-4, 1 - 1e-4, 20_001).double())]
    logs = torch.linspace(-4, 1, 501).double()
    head = MeanVariance(0.0, 1.0)
    losses = [
        head.loss(torch.stack([errors, log.expand(len(errors))], 1), torch.zeros_like(errors), name) for log in logs
    ]
    best = logs[int(torch.stack(losses).argmin())].exp()
    assert best == pytest.approx(0.3 * DEVIATION_OF[name], rel=0.02)


def test_a_deviation_that_is_learned_changes_no_gradient_of_the_value(table):
    from gnn.batches import Graphs

    graphs = Graphs.of(table)
    batch, wanted = graphs.batch(torch.arange(20), torch.device("cpu")), torch.linspace(-1, 1, 20)
    gradients = []
    for name, head in (("point", Head(0.0, 1.0)), ("mean-variance", MeanVariance(0.0, 1.0))):
        torch.manual_seed(0)
        model = build_model(ModelConfig(atom_fea_len=8, h_fea_len=8, n_conv=1, head=name))
        with torch.no_grad():
            model.out.weight[:1], model.out.bias[:1] = 0.1, 0.0
        head.loss(model(batch), wanted, "l1").backward()
        gradients.append({n: p.grad[:1] if n.startswith("out.") else p.grad for n, p in model.named_parameters()})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradient, gradients[1][name])


def test_a_known_row_does_not_make_the_loss_endless():
    output = torch.tensor([[1.0, -1e6]], requires_grad=True)
    loss = MeanVariance(0.0, 1.0).loss(output, torch.ones(1), "l1")
    loss.backward()
    assert loss.isfinite()
    assert output.grad.isfinite().all()


@pytest.fixture
def with_targets(shards, tmp_path) -> Callable[[Callable[[pa.Table], np.ndarray]], list[Path]]:
    """with_targets(change): the graphs with other targets, change(table) in each file."""

    def write(change: Callable[[pa.Table], np.ndarray]) -> list[Path]:
        paths = []
        for number, path in enumerate(shards):
            table = pq.read_table(path)
            place = table.schema.get_field_index("energy_ev")
            paths.append(tmp_path / f"{number}.parquet")
            pq.write_table(table.set_column(place, table.schema.field(place), [change(table)]), paths[-1])
        return paths

    return write


VALUES = st.floats(0, 10, allow_subnormal=False, width=32)


@given(arrays(np.float32, st.integers(2, 30), elements=VALUES))
def test_a_hurdle_gives_back_what_it_was_standardized_from(target):
    wanted = torch.from_numpy(target)
    if (wanted > 0).all() or not (wanted > 0).any():
        return
    head = Hurdle.fit(wanted)
    size = head.standardize(wanted)
    output = torch.stack([torch.where(wanted > 0, 9.0, -9.0), size], dim=1)
    torch.testing.assert_close(head.value(output), wanted)
    assert head.loss(output, size, "l1") < 0.01 * len(target)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([0.0, 1.0, -0.5], "of 3 training rows 1 are below 0, 1 are 0"),
        ([1.0, 2.0], "of 2 training rows 0 are below 0, 0 are 0"),
        ([0.0, 0.0], "of 2 training rows 0 are below 0, 2 are 0"),
    ],
)
def test_a_hurdle_needs_zeros_and_nothing_below(target, message):
    with pytest.raises(InputError, match=message):
        Hurdle.fit(torch.tensor(target))


@pytest.mark.parametrize("value", [0.1, -1e5 / 3, 0.0, 1e-30])
def test_a_constant_target_has_the_scale_one(value):
    """The mean of many equal numbers is rounded, so that they seem to deviate from it."""
    target = torch.full((500,), value, dtype=torch.float64)
    assert Head.fit(target).deviation == 1.0
    if value > 0:
        assert Hurdle.fit(torch.cat([torch.zeros(500), target])).deviation == 1.0


@pytest.mark.parametrize("kind", [Head, Logarithm, MeanVariance, Hurdle])
def test_a_readout_in_another_scale_predicts_the_same(kind):
    torch.manual_seed(0)
    old_mean, new_mean = (0.0, 0.0) if kind is Hurdle else (-1.5, 4.0)
    old, new = kind(old_mean, 2.0), kind(new_mean, 0.3)
    features, readout = torch.randn(50, 8), kind.readout(8)
    before = readout(features)
    new.rescale(readout, old)
    after = readout(features)
    torch.testing.assert_close(new.value(after), old.value(before))
    if kind is MeanVariance:
        torch.testing.assert_close(new.predicted_deviation(after), old.predicted_deviation(before))


@given(arrays(np.float64, st.integers(1, 30), elements=st.floats(1e-100, 1e100)))
@example(np.array([1.0] * 999 + [10.0]))
def test_a_logarithm_gives_back_what_it_was_standardized_from(target):
    wanted = torch.from_numpy(target)
    head = Logarithm.fit(wanted)
    torch.testing.assert_close(head.value(head.standardize(wanted)[:, None]), wanted, rtol=1e-9, atol=0)


@given(st.floats(1e-40, 1e40), st.floats(-1e30, 1e30))
def test_a_network_far_off_predicts_a_value_whose_square_is_finite_and_above_zero(scale, output):
    head = Logarithm.fit(torch.tensor([1e-40, 1.0, 1e40], dtype=torch.float64) * scale)
    assert 0 < head.value(torch.tensor([[output]], dtype=torch.float64)).item() ** 2 < math.inf


def test_a_logarithm_needs_values_above_zero():
    Logarithm.check(torch.tensor([1.0, 1e-30]))
    with pytest.raises(InputError, match=r"of 3 rows 2 are not, the least is -0\.5"):
        Logarithm.check(torch.tensor([1.0, 0.0, -0.5]))


def test_a_zero_among_the_test_rows_is_one_line_before_the_training(spec, with_targets):
    run = spec(epochs=1)
    train.build(run)
    split = pq.read_table(run.output / "predictions.parquet").to_pandas().set_index("material_id")["split"]

    def zero_where_tested(table):
        tested = [split[name] == "test" for name in table["material_id"].to_pylist()]
        return np.where(tested, 0.0, table["energy_ev"].to_numpy())

    paths = with_targets(zero_where_tested)
    zero = spec("zero", epochs=1, model={"head": "log"}).model_copy(update={"graphs": paths})
    with pytest.raises(InputError, match=rf"of 120 rows {(split == 'test').sum()} are not, the least is 0"):
        train.build(zero)


@pytest.mark.parametrize(("low", "high", "powers"), [(1.0, 1.0, 0), (2.0, 200.0, 2), (0.0, 1.0, 0), (-1.0, 1.0, 0)])
def test_powers_of_ten_are_those_between_most_values(low, high, powers):
    assert powers_of_ten(torch.tensor([low] * 50 + [high] * 50)) == pytest.approx(powers)
    assert powers_of_ten(torch.tensor([1.0] * 999 + [1e9])) == 0  # one of a thousand


@pytest.fixture
def tiny(with_targets) -> list[Path]:
    """The graphs with targets of some 1e-9, over more than two powers of ten."""
    return with_targets(lambda table: 1e-9 * 10 ** (2 * (table["energy_ev"].to_numpy() - 3.5)))


def test_the_log_says_where_a_logarithm_may_help(spec, tiny, caplog):
    caplog.set_level("INFO")
    settings = [{"epochs": 1}, {"epochs": 1, "task": "classification", "threshold": 1e-9}]
    settings += [{"epochs": 1, "model": {"head": "log"}}]
    for number, each in enumerate(settings):
        train.build(spec(f"{number}", **each).model_copy(update={"graphs": tiny}))
    assert len(re.findall(r"over \d\.\d powers of ten: model\.head=log", caplog.text)) == 1
    assert caplog.text.count("recipe: ") == len(settings)


def test_small_and_large_values_are_learned_alike_and_have_intervals_of_their_own_size(spec, tiny, table, tmp_path):
    runs = [
        spec(f"seed {seed}", epochs=60, seed=seed, model={"head": "log"}).model_copy(update={"graphs": tiny})
        for seed in (0, 1)
    ]
    facts = [train.build(run) for run in runs]
    (folder := tmp_path / "ensemble").mkdir()
    members = [run.output for run in runs]
    calibrate(EnsembleSpec(output=folder, scratch=tmp_path, members=members, facts=facts, coverage=0.8))
    found = pq.read_table(folder / "predictions.parquet").to_pandas()
    assert (found["predicted"] > 0).all()
    relative = (found["predicted"] / found["target"]).apply(math.log10).abs()
    small = found["target"] < found["target"].median()
    assert relative[small].mean() < 0.1 > relative[~small].mean()
    deviations = found["standard_deviation"]
    assert deviations[~small].median() > 3 * deviations[small].median()
    assert (found["low"] > 0).all()
    factor = found["high"] / found["predicted"]
    np.testing.assert_allclose(factor, found["predicted"] / found["low"])
    assert 1 < factor.min() < factor.max() < 10
    inside = found["target"].between(found["low"] * (1 - 1e-9), found["high"] * (1 + 1e-9))  # the last one is an end
    assert inside[found["split"] == "validation"].mean() >= 0.8
    again = Predictor(folder, "cpu").predict_intervals(table)
    np.testing.assert_allclose(again, found[["predicted", "standard_deviation", "low", "high"]], rtol=1e-4)


def test_half_of_the_values_are_zero_and_so_are_their_predictions(spec, with_targets):
    paths = with_targets(lambda table: np.maximum(table["energy_ev"].to_numpy() - 3.5, 0.0))
    run = spec(epochs=60, model={"head": "hurdle"}).model_copy(update={"graphs": paths})
    train.build(run)
    found = pq.read_table(run.output / "predictions.parquet").to_pandas()
    assert found["predicted"].min() == 0.0
    assert ((found["predicted"] == 0) == (found["target"] == 0)).mean() > 0.8


def test_an_ensemble_for_many_zeros_has_intervals_of_the_size_of_the_values(spec, with_targets, tmp_path):
    paths = with_targets(lambda table: np.maximum(table["energy_ev"].to_numpy() - 4.0, 0.0))
    made = [spec(f"seed {n}", epochs=40, seed=n, model={"head": "hurdle"}) for n in (0, 1)]
    runs = [run.model_copy(update={"graphs": paths}) for run in made]
    facts = [train.build(run) for run in runs]
    (folder := tmp_path / "ensemble").mkdir()
    members = [run.output for run in runs]
    calibrate(EnsembleSpec(output=folder, scratch=tmp_path, members=members, facts=facts, coverage=0.8))
    found = pq.read_table(folder / "predictions.parquet").to_pandas()
    assert (found["target"] == 0).mean() > 0.5 < (found["predicted"] == 0).mean()
    assert found["low"].min() == 0
    assert (found["low"] <= found["predicted"]).all()
    assert found["high"].max() < 10 * found["target"].max()


def test_one_model_that_predicts_its_deviation_is_calibrated_alone(spec, table, tmp_path):
    run = spec(epochs=10, model={"head": "mean-variance"})
    facts = train.build(run)
    alone = pq.read_table(run.output / "predictions.parquet").to_pandas()
    assert (alone["predicted_deviation"] > 0).all()
    folder = tmp_path / "calibrated"
    made = EnsembleSpec(output=folder, scratch=tmp_path, members=[run.output], facts=[facts], coverage=0.8)
    folder.mkdir()
    assert calibrate(made)["members"] == 1
    rows = pq.read_table(folder / "predictions.parquet").to_pandas()
    assert (rows["predicted"] == alone["predicted"]).all()
    ranks = [values.rank().tolist() for values in (rows["standard_deviation"], alone["predicted_deviation"])]
    assert ranks[0] == ranks[1]
    inside = rows["target"].between(rows["low"], rows["high"])[rows["split"] == "validation"]
    assert inside.mean() >= 0.8
    again = Predictor(folder, "cpu").predict_intervals(table)
    np.testing.assert_allclose(again, rows[["predicted", "standard_deviation", "low", "high"]], rtol=1e-5)


@pytest.mark.parametrize("name", ["torch_geometric.nn:GCN", "cgcnn-2018"])
def test_other_models_have_one_value(name):
    with pytest.raises(ValueError, match=r"allowed for .* are point and log"):
        ModelConfig(name=name, head="hurdle")


def test_the_default_head_is_in_no_key():
    assert "head" not in ModelConfig().model_dump()
    assert TrainConfig().model_dump() == TrainConfig(**TrainConfig().model_dump()).model_dump()

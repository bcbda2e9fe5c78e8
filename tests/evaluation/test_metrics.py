import math

import numpy as np
import pytest

from evaluation import metrics
from evaluation.elements import SYMBOLS, crystal_system, place
from evaluation.formatting import duration, error_scale, format_target, significant, verdict
from evaluation.published import published

TARGET = np.array([1.0, 2.0, 3.0, 6.0])
PREDICTED = np.array([2.0, 2.0, 1.0, 7.0])  # errors 1, 0, −2, 1


def test_errors_by_hand():
    assert metrics.mae(TARGET, PREDICTED) == 1.0
    assert metrics.rmse(TARGET, PREDICTED) == math.sqrt(6 / 4)
    assert metrics.r2(TARGET, PREDICTED) == 1 - 6 / 14  # squares around the mean 3: 4 + 1 + 0 + 9


def test_r2_of_a_constant_target_is_undefined():
    assert math.isnan(metrics.r2(np.array([2.0, 2.0]), np.array([1.0, 2.0])))
    assert metrics.regression(np.array([2.0]), np.array([1.0]), 0.0)["r2"] is None


def test_the_baseline_predicts_the_mean_of_the_training_rows():
    found = metrics.regression(TARGET, PREDICTED, training_mean=2.0)
    assert found["baseline_mae"] == (1 + 0 + 1 + 4) / 4
    assert found["baseline_rmse"] == math.sqrt((1 + 0 + 1 + 16) / 4)


def test_a_split_without_rows_has_no_numbers():
    found = metrics.regression(np.array([]), np.array([]), 1.0)
    assert found == {"count": 0, "mae": None, "rmse": None, "r2": None, "baseline_mae": None, "baseline_rmse": None}


def test_roc_auc_by_hand():
    """Pairs (positive, negative): .9>.8 .9>.4 .4<.8 .4=.4 → (1 + 1 + 0 + ½) / 4."""
    positive = np.array([True, False, True, False])
    assert metrics.roc_auc(positive, np.array([0.9, 0.8, 0.4, 0.4])) == 2.5 / 4
    assert math.isnan(metrics.roc_auc(np.array([True]), np.array([0.3])))


def test_area_under_the_roc_curve_is_the_auc():
    random = np.random.default_rng(1)
    positive, score = random.random(300) < 0.3, np.round(random.random(300), 1)  # many ties
    false, true = metrics.roc_curve(positive, score)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(true, false) == pytest.approx(metrics.roc_auc(positive, score), abs=1e-12)


def test_classification_by_hand():
    positive, probability = np.array([True, True, False, False, False]), np.array([0.9, 0.2, 0.6, 0.1, 0.5])
    found = metrics.classification(positive, probability, training_share=0.3)
    assert found["accuracy"] == 2 / 5
    assert found["baseline_accuracy"] == 3 / 5
    cells = ("true_positive", "false_negative", "false_positive", "true_negative")
    assert [found[cell] for cell in cells] == [1, 1, 2, 1]


def test_reliability_by_hand():
    bins = metrics.reliability(np.array([True, False, True]), np.array([0.12, 0.18, 1.0]))
    assert bins == [
        {"predicted": pytest.approx(0.15), "observed": 0.5, "count": 2},
        {"predicted": 1.0, "observed": 1.0, "count": 1},
    ]


@pytest.mark.parametrize(
    ("number", "system"),
    [
        (1, "triclinic"),
        (2, "triclinic"),
        (3, "monoclinic"),
        (15, "monoclinic"),
        (16, "orthorhombic"),
        (74, "orthorhombic"),
        (75, "tetragonal"),
        (142, "tetragonal"),
        (143, "trigonal"),
        (167, "trigonal"),
        (168, "hexagonal"),
        (194, "hexagonal"),
        (195, "cubic"),
        (225, "cubic"),
        (230, "cubic"),
    ],
)
def test_crystal_systems_of_the_international_tables(number, system):
    assert crystal_system(number) == system


@pytest.mark.parametrize(
    ("symbol", "where"),
    [
        ("H", (1, 1)),
        ("He", (1, 18)),
        ("B", (2, 13)),
        ("Mg", (3, 2)),
        ("Sc", (4, 3)),
        ("Zn", (4, 12)),
        ("Ba", (6, 2)),
        ("La", (8, 3)),
        ("Lu", (8, 17)),
        ("Hf", (6, 4)),
        ("Rn", (6, 18)),
        ("Ac", (9, 3)),
        ("Lr", (9, 17)),
        ("Rf", (7, 4)),
        ("Og", (7, 18)),
    ],
)
def test_places_in_the_periodic_table(symbol, where):
    assert place(SYMBOLS.index(symbol) + 1) == where


def test_every_element_has_a_place_of_its_own():
    assert len({place(z) for z in range(1, 119)}) == len(SYMBOLS) == 118


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.031249, "0.0312"),
        (31.249, "31.2"),
        (9.999, "10.0"),
        (1234.5, "1,234"),
        (-0.5, "−0.500"),
        (0, "0"),
        (None, "–"),
        (math.nan, "–"),
        (3.21e-7, "3.21×10⁻⁷"),
    ],
)
def test_three_significant_digits(value, text):
    assert significant(value) == text


def test_small_electronvolts_are_shown_in_milli():
    assert error_scale("eV/atom", 0.031).with_unit(0.031) == "31.0 meV/atom"
    assert error_scale("eV/atom", 0.31).with_unit(0.31) == "0.310 eV/atom"
    assert error_scale("GPa", 0.01).with_unit(0.01) == "0.0100 GPa"


def test_names_and_durations():
    assert format_target("formation_energy_per_atom_ev") == "formation energy"
    assert format_target("k_vrh") == "k vrh"
    assert [format_target(name) for name in ("volume_per_atom", "bulk_k")] == ["volume", "bulk k"]
    assert [duration(s) for s in (4.2, 250, 7500)] == ["4.20 s", "4 min 10 s", "2 h 5 min"]


@pytest.mark.parametrize(
    ("error", "baseline", "sentence"),
    [
        (0.0312, 0.374, "Test MAE 31.2 meV/atom, 12× better than predicting the mean; 300 test structures."),
        (0.05, 0.1, "Test MAE 50.0 meV/atom, 2.0× better than predicting the mean; 300 test structures."),
        (0.09, 0.045, "Test MAE 90.0 meV/atom, 2.0× worse than predicting the mean; 300 test structures."),
        (0.05, 0.0, "Test MAE 50.0 meV/atom; 300 test structures."),
    ],
)
def test_the_verdict(error, baseline, sentence):
    found = {"task": "regression", "test": {"count": 300, "mae": error, "baseline_mae": baseline}}
    assert verdict(found, error_scale("eV/atom", error)) == sentence


@pytest.mark.parametrize("source", ["nomad2018", "nomad2018.parquet", "data/nomad2018.json.gz"])
def test_published_figures_are_shown_in_the_unit_of_the_target(source):
    (winners,) = published(source, "formation_energy_ev_natom", "eV/cation")
    assert (winners["mae"], winners["mae_high"]) == pytest.approx((0.013, 0.015))
    assert "Sutton" in str(winners["source"])


def test_nothing_published_for_other_data():
    assert published("my_nomad2018.parquet", "band_gap_ev", "eV") == []
    assert published("nomad2018.parquet", "volume", "") == []


def test_figures_of_another_unit_are_an_error():
    with pytest.raises(ValueError, match="no factor"):
        published("nomad2018", "band_gap_ev", "GPa")

"""The measures of an uncertainty against closed forms, and the section of the report."""

import json
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import norm, spearmanr

from evaluation import uncertainty
from evaluation.evaluate import EvaluateSpec
from evaluation.evaluate import build as evaluate
from evaluation.page import ReportSpec
from evaluation.page import build as report
from storage import schemas

RANDOM = np.random.default_rng(1)
ONES = np.ones(4000)
NORMAL = RANDOM.normal(size=len(ONES))
CARD = {"members": 3, "calibration": {"floor": 0.01, "factor": 2.0, "quantile": 1.7, "coverage": 0.9, "rows": 40}}


def measured(error: np.ndarray, deviation: np.ndarray, width: float = 1.645) -> dict:
    target = np.zeros_like(error)
    return uncertainty.measure(target, error, deviation, error - width * deviation, error + width * deviation, 1.0)


def test_normal_errors_with_their_own_deviation_are_calibrated():
    found = measured(NORMAL, ONES)
    for row in found["coverage"]:
        assert row["observed"] == pytest.approx(row["expected"], abs=0.02)
    assert found["miscalibration_area"] < 0.01
    assert found["interval"]["observed"] == pytest.approx(0.9, abs=0.02)
    assert found["interval"]["median_width"] == pytest.approx(2 * 1.645)
    assert found["negative_log_likelihood"] == pytest.approx(math.log(2 * math.pi * math.e) / 2, abs=0.03)


@pytest.mark.parametrize("deviation", [0.5, 2.0])
def test_a_deviation_that_is_too_small_or_too_large_shows_as_what_it_is(deviation):
    """Its central intervals have the shares of a normal distribution of deviation 1; it is less likely."""
    found = measured(NORMAL, ONES * deviation)
    for row in found["coverage"]:
        wanted = 2 * norm.cdf(norm.ppf((1 + row["expected"]) / 2) * deviation) - 1
        assert row["observed"] == pytest.approx(wanted, abs=0.02)
    assert found["miscalibration_area"] > 0.15
    assert found["negative_log_likelihood"] > found["constant_negative_log_likelihood"]


def test_errors_that_are_never_where_they_are_expected_have_the_largest_area():
    found = measured(ONES * 1e9, ONES)
    assert found["miscalibration_area"] == pytest.approx(0.5, abs=0.01)


def test_likelihood_is_that_of_scipy():
    error, deviation = RANDOM.normal(size=50), RANDOM.gamma(2, 1, 50)
    wanted = -norm.logpdf(error, 0, deviation).mean()
    assert uncertainty.negative_log_likelihood(error, deviation) == pytest.approx(wanted)


def test_rank_correlation_is_that_of_scipy_and_none_where_all_are_equally_uncertain():
    one, other = RANDOM.integers(0, 9, 60).astype(float), RANDOM.normal(size=60)
    assert uncertainty.rank_correlation(one, other) == pytest.approx(spearmanr(one, other).statistic)
    assert measured(NORMAL, ONES)["rank_correlation"] is None


def test_without_the_most_uncertain_the_mean_is_that_of_the_rest():
    size = np.arange(20.0)
    assert uncertainty.rejection(size, size).tolist() == pytest.approx([(20 - n - 1) / 2 for n in range(20)])
    assert uncertainty.rejection(size, -size)[-1] == 19.0  # the worst order leaves the largest error


@pytest.fixture(params=[{}])
def ensemble(request, table, tmp_path):
    """Paths of an ensemble's predictions and model.json, whose network is the fixture's parameter."""
    plain = table(400)
    deviation = np.full(len(plain), 0.05)
    predicted = plain["predicted"].to_numpy()
    columns = [deviation, predicted - 0.085, predicted + 0.085]
    made = pa.table([pa.chunked_array([column]) for column in columns], ["standard_deviation", "low", "high"])
    for name in plain.column_names[::-1]:
        made = made.add_column(0, name, plain[name])
    schemas.write_table(made.cast(schemas.CALIBRATED_PREDICTIONS), tmp_path / "predictions.parquet")
    learned = {"epoch": [1, 2], "learning_rate": [0.1, 0.1], "train_loss": [1.0, 0.5], "validation_mae": [1.0, 0.5]}
    schemas.write_table(pa.table(learned).cast(schemas.HISTORY), tmp_path / "history.parquet")
    (tmp_path / "model.json").write_text(json.dumps({**CARD, "model": request.param}))
    return tmp_path


@pytest.fixture
def evaluated(ensemble):
    """The folder of an ensemble's evaluation."""
    spec = {"predictions": ensemble / "predictions.parquet", "model": ensemble / "model.json", "source": "made-up"}
    spec |= {"history": ensemble / "history.parquet", "target": "e", "unit": "eV/atom", "task": "regression"}
    output = ensemble / "evaluate"
    output.mkdir()
    facts = evaluate(EvaluateSpec(output=output, scratch=ensemble, **spec))
    return output, facts


def test_metrics_tell_of_the_test_rows_how_often_the_interval_holds(evaluated, ensemble):
    found = json.loads((evaluated[0] / "metrics.json").read_text())["uncertainty"]
    rows = pq.read_table(ensemble / "predictions.parquet").to_pandas()
    test = rows[rows["split"] == "test"]
    held = ((test["low"] <= test["target"]) & (test["target"] <= test["high"])).mean()
    assert found["interval"] == {"observed": held, "median_width": pytest.approx(0.17), "promised": 0.9}
    assert (found["members"], found["calibration"]) == (3, CARD["calibration"])
    assert evaluated[1]["interval_coverage"] == held


def test_a_single_model_s_report_has_no_section(make_run, table):
    single = make_run(table(400))
    assert "uncertainty" not in json.loads((single.folder / "evaluate" / "metrics.json").read_text())
    assert "Uncertainty" not in single.page + single.summary


@pytest.mark.parametrize(
    ("ensemble", "interval"),
    [({}, "interval = predicted ± "), ({"head": "log"}, " × uncertainty / predicted) below and above the prediction.")],
    indirect=["ensemble"],
)
def test_the_report_has_the_section(evaluated, ensemble, interval):
    spec = {name: ensemble / f"{name}.parquet" for name in ("predictions", "history")}
    report(ReportSpec(output=ensemble, scratch=ensemble, evaluation=evaluated[0], about=ABOUT, **spec))
    page, summary = ((ensemble / name).read_text() for name in ("report.html", "summary.md"))
    assert "<h2>Uncertainty</h2>" in page
    assert interval in page
    for title in ("Calibration", "Rejection"):
        assert f"<h3>{title}</h3>" in page
    observed = f"{evaluated[1]['interval_coverage']:.1%}".replace("%", " %")
    for text in (page, summary):
        assert f"{observed}, promised 90.0 %" in text
    assert "30; 3 members, whose times add up" in page


ABOUT = {
    **{"run": "r", "source": "s", "title": "t", "note": "", "target": "e", "unit": "eV/atom", "task": "regression"},
    **{"date": "2026-01-31", "rows": 400, "accepted": 400, "rejected": 0, "by_rule": {}, "conflicts": 0},
    **{"split": {"train": 320, "test": 80}, "split_by": "hash", "configuration": {}, "parameters": 9, "epochs": 30},
    **{"kept_epoch": 0, "members": 3, "seconds": 1.0, "structures_per_second": 1.0, "edges_per_second": 1.0},
    **{"data_wait": 0.0, "peak_memory_mib": 9, "processes": 1, "data": "resident", "device": "cpu"},
    **{"graph_edges": 9, "orbits": 9, "atoms": 9},
}

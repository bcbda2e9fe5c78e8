"""Challenger and champion: who is better, how sure that is, and what is new in the data."""

import json
import re
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.comparison import CompareSpec, build, compare_errors, decide, drift, mean_interval
from evaluation.config import PromotionConfig
from storage import schemas


@pytest.fixture
def tables(table):
    """tables(rows, mine, theirs): two predictions of the same rows with normal errors of these widths."""

    def make(rows=2000, mine=0.05, theirs=0.05, seed=1):
        same = table(rows).to_pydict()
        chance = np.random.default_rng(seed)
        target = np.array(same["target"])
        made = [same | {"predicted": target + chance.normal(0, width, rows)} for width in (mine, theirs)]
        return tuple(pa.table(columns).cast(schemas.PREDICTIONS) for columns in made)

    return make


def test_the_difference_is_that_of_the_errors_on_common_test_rows(tables):
    mine, theirs = tables(mine=0.03, theirs=0.06)
    found = compare_errors(mine, theirs, PromotionConfig())
    frame = mine.to_pandas().merge(theirs.to_pandas(), on="material_id")
    frame = frame[(frame["split_x"] == "test") & (frame["split_y"] == "test")]
    errors = [(frame[f"predicted_{end}"] - frame["target_x"]).abs().mean() for end in "xy"]
    assert found["common"] == len(frame)
    assert (found["challenger_mae"], found["champion_mae"]) == pytest.approx(tuple(errors))
    assert found["worse"] == pytest.approx(errors[0] / errors[1] - 1)
    assert found["worse_low"] < found["worse"] < found["worse_high"] < 0


def test_the_interval_is_that_of_normal_theory_where_that_holds():
    """The mean of n normal numbers has a standard error of σ/√n."""
    values = np.random.default_rng(3).normal(0.0, 2.0, 900)
    low, high = mean_interval(values, PromotionConfig(draws=4000))
    error = values.std() / 30
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_a_higher_confidence_gives_a_wider_interval():
    values = np.random.default_rng(3).normal(0.0, 2.0, 900)
    (low, high), (lower, higher) = (mean_interval(values, PromotionConfig(confidence=c)) for c in (0.8, 0.99))
    error = values.std() / 30
    assert lower < low < high < higher
    assert (high - low, higher - lower) == pytest.approx((2 * 1.28 * error, 2 * 2.58 * error), rel=0.1)


def test_a_lone_material_has_no_spread():
    assert mean_interval(np.array([0.25]), PromotionConfig()) == (0.25, 0.25)


def test_the_interval_of_a_large_test_set_needs_little_memory():
    """200,000 materials and 100 draws are 320 MB of values and indices if they are all drawn at once."""
    values = np.random.default_rng(3).normal(0.0, 2.0, 200_000)
    tracemalloc.start()
    mean_interval(values, PromotionConfig(draws=100))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200e6


@pytest.mark.parametrize(
    ("mine", "theirs", "promoted"),
    [(0.03, 0.06, True), (0.06, 0.03, False), (0.05, 0.05, False)],
)
def test_a_better_model_is_promoted_and_one_that_may_be_worse_is_not(tables, mine, theirs, promoted):
    config = PromotionConfig()
    errors = compare_errors(*tables(mine=mine, theirs=theirs), config)
    assert decide(errors, config)["promoted"] is promoted


def test_the_margin_is_what_decides(tables):
    errors = compare_errors(*tables(20_000, mine=0.051), PromotionConfig())
    assert 0 < errors["worse_high"] < 0.1
    above, below = (PromotionConfig(margin=errors["worse_high"] + change) for change in (-1e-3, 1e-3))
    assert (decide(errors, above)["promoted"], decide(errors, below)["promoted"]) == (False, True)


def test_a_model_equal_to_the_champion_is_not_worse(tables):
    mine, _ = tables()
    found = compare_errors(mine, mine, PromotionConfig())
    assert (found["worse_low"], found["worse_high"]) == (0, 0)
    assert decide(found, PromotionConfig(margin=0))["promoted"]


def test_what_one_of_them_was_trained_on_does_not_count(tables):
    mine, theirs = tables()
    split = ["train"] * len(theirs)
    trained_on_all = theirs.set_column(2, schemas.PREDICTIONS.field("split"), [split])
    found = compare_errors(mine, trained_on_all, PromotionConfig())
    assert (found["common"], found["worse"]) == (0, None)
    verdict = decide(found, PromotionConfig())
    assert verdict["promoted"] is False
    assert "0 test materials in common, fewer than promotion.least_common=30" in verdict["reason"]


def test_a_row_of_the_same_number_is_not_the_same_material(tables):
    """Without ids rows are named by their number: in another table of the same name that is another material."""
    mine, theirs = tables()
    formulas = theirs["formula"].to_pylist()
    moved = theirs.set_column(1, schemas.PREDICTIONS.field("formula"), [[*formulas[1:], formulas[0]]])
    same = sum(a == b for a, b in zip(formulas, moved["formula"].to_pylist(), strict=True))
    assert drift(mine, moved)["new"] == len(mine) - same > 0
    found, all_of_them = (compare_errors(mine, other, PromotionConfig())["common"] for other in (moved, theirs))
    assert 0 < found < all_of_them


@given(st.permutations(range(40)))
def test_the_order_of_rows_decides_nothing(order):
    chance = np.random.default_rng(0)
    rows = {
        "material_id": [f"m{n}" for n in range(40)],
        "formula": ["NaCl"] * 40,
        "split": ["test"] * 40,
        "target": chance.normal(size=40),
        "predicted": chance.normal(size=40),
    }
    table = pa.table(rows)
    other = table.set_column(4, "predicted", [chance.normal(size=40)])
    config = PromotionConfig(draws=200)
    assert compare_errors(table.take(order), other, config) == compare_errors(table, other.take(order[::-1]), config)


def test_what_is_new_is_named(table):
    then = table(300)
    elements = [[92, 8]] + [[11, 17]] * 99
    now = pa.concat_tables(
        [then.slice(50), table(100, material_id=[f"new-{n}" for n in range(100)], atomic_numbers=elements)]
    )
    found = drift(now, then)
    assert (found["materials"], found["champion_materials"], found["new"], found["gone"]) == (350, 300, 100, 50)
    assert (found["new_elements"], found["gone_elements"]) == (["U"], [])
    assert 0 < found["distance"] < 0.2
    same = drift(then, then)
    assert (same["new"], same["gone"], same["distance"]) == (0, 0, 0)


def test_targets_without_overlap_are_as_far_apart_as_can_be(table):
    assert drift(table(50, target=np.full(50, 3.0)), table(50, target=np.full(50, -3.0)))["distance"] == 1


@pytest.mark.parametrize(("lost", "reason"), [(False, "there was no champion"), (True, "predictions are lost")])
def test_without_a_champion_the_model_is_promoted(tmp_path, table, lost, reason):
    schemas.write_table(table(50), tmp_path / "p.parquet")
    spec = CompareSpec(
        output=tmp_path, scratch=tmp_path, challenger=tmp_path / "p.parquet", config=PromotionConfig(), lost=lost
    )
    assert build(spec)["promoted"]
    assert reason in json.loads((tmp_path / "comparison.json").read_text())["reason"]


def test_the_page_and_the_summary_tell_the_decision(tmp_path, make_run, tables):
    mine, theirs = tables(mine=0.03, theirs=0.06)
    paths = [tmp_path / name for name in ("mine.parquet", "theirs.parquet")]
    for content, path in zip((mine, theirs), paths, strict=True):
        schemas.write_table(content, path)
    build(
        CompareSpec(output=tmp_path, scratch=tmp_path, challenger=paths[0], champion=paths[1], config=PromotionConfig())
    )
    run = make_run(mine, comparison=tmp_path / "comparison.json")
    text = re.sub(r"<[^>]+>", " ", run.page)
    assert "Beside the champion" in text
    assert re.search(r"Difference\s+−\d\d\.\d % \(−\d\d\.\d % to −\d\d\.\d %\)", text)
    assert "Promoted: its MAE differs from the champion" in run.summary
    assert "Beside the champion" not in make_run(mine).page

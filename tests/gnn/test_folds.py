"""Folds and shares of the training rows: a row is tested once, and a small share lies in a large one."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn.config import SplitConfig
from gnn.folds import choose, published_folds
from gnn.splits import NAMES, assign
from storage.errors import InputError

MANY = 600


def rows(count: int = MANY, **columns) -> pa.Table:
    formulas = [f"Na{n % 300 + 1}Cl" for n in range(count)]
    return pa.table({"material_id": [f"m-{n}" for n in range(count)], "formula": formulas, **columns})


def split(table: pa.Table, **settings) -> np.ndarray:
    return np.array(NAMES)[assign([table], SplitConfig(**{"validation": 0.1, **settings}))[0]]


@given(st.integers(2, 8), st.integers(0, 3), st.sampled_from(["material", "formula"]))
def test_each_row_is_a_test_row_of_exactly_one_drawn_fold(folds, seed, group):
    found = [split(rows(), folds=folds, fold=fold, seed=seed, group=group) for fold in range(folds)]
    assert (sum((each == "test").astype(int) for each in found) == 1).all()
    assert all(set(each) == {"train", "validation", "test"} for each in found)


def test_each_row_is_a_test_row_of_exactly_one_published_fold():
    table = rows(matbench_test_fold=[str(n % 5) for n in range(MANY)])
    found = [split(table, fold=fold) for fold in range(5)]
    assert (sum((each == "test").astype(int) for each in found) == 1).all()


def test_folds_are_about_as_large_as_each_other_and_each_has_its_share_of_validation_rows():
    for fold in range(5):
        found = split(rows(5000), folds=5, fold=fold)
        assert abs((found == "test").sum() - 1000) < 150
        assert abs((found == "validation").sum() - 400) < 100


def test_a_fold_of_formulas_holds_all_rows_of_a_formula():
    table = rows()
    found = split(table, folds=4, fold=1, group="formula")
    formula = np.array(table["formula"].to_pylist())
    assert not set(formula[found == "test"]) & set(formula[found != "test"])


@given(st.floats(0.1, 1), st.floats(0.1, 1), st.integers(0, 3))
def test_a_smaller_share_of_the_training_rows_is_a_part_of_a_larger_one(one, other, seed):
    small, large = (split(rows(), train_share=s, train_share_seed=seed) for s in sorted([one, other]))
    assert set(np.flatnonzero(small == "train")) <= set(np.flatnonzero(large == "train"))


def test_a_share_of_the_training_rows_leaves_validation_and_test_rows_as_they_are():
    whole, share = split(rows(), test=0.2), split(rows(), test=0.2, train_share=0.25)
    for name in ("validation", "test"):
        assert ((whole == name) == (share == name)).all()
    assert ((share == "unused") == ((whole == "train") & (share != "train"))).all()
    assert abs((share == "train").sum() - (whole == "train").sum() / 4) < 40


def test_another_seed_of_the_share_takes_other_rows():
    one, other = (split(rows(), train_share=0.5, train_share_seed=seed) for seed in (0, 1))
    assert (one != other).any()


def test_the_keys_of_the_store_are_those_from_before_folds_and_shares():
    """A default that were written into the key of every training would have every model trained again."""
    assert set(SplitConfig().model_dump()) == {"published", "column", "fold", "group", "validation", "test", "seed"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"folds": 3}, "split.folds 3: matbench_test_fold has 5 folds"),
        ({"fold": 7}, "split.fold 7: matbench_test_fold has 0, 1, 2, 3, 4"),
        ({"folds": 5, "column": "split"}, "split.folds 5: split has no folds"),
    ],
)
def test_folds_that_the_source_does_not_have_are_refused(settings, told):
    table = rows(matbench_test_fold=[str(n % 5) for n in range(MANY)], split=["train", "test"] * (MANY // 2))
    with pytest.raises(InputError, match=told):
        split(table, **{"column": "matbench_test_fold", **settings})


def test_published_folds_are_found_in_the_tables(tmp_path):
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for number, path in enumerate(files):
        pq.write_table(rows(10, test_fold=[str(n % 2 + 10 * number) for n in range(10)]), path)
    assert published_folds(files, SplitConfig()) == ("test_fold", [0, 1, 10, 11])
    assert published_folds(files, SplitConfig(published=False)) is None


@pytest.mark.parametrize(
    ("published", "folds", "wanted", "found"),
    [
        (None, None, None, [0, 1, 2, 3, 4]),
        (None, 3, None, [0, 1, 2]),
        (None, 3, [2], [2]),
        (("fold", [1, 2]), None, None, [1, 2]),
        (("fold", [1, 2]), 2, [2], [2]),
    ],
)
def test_all_folds_are_chosen_unless_some_are_named(published, folds, wanted, found):
    assert choose(published, SplitConfig(folds=folds), wanted).wanted == found


@pytest.mark.parametrize(
    ("published", "folds", "told"),
    [(None, None, "no fold 5; the folds are 0, 1, 2, 3, 4"), (("fold", [1, 2]), None, "no fold 5; fold has 1, 2")],
)
def test_a_fold_that_is_not_there_is_refused(published, folds, told):
    with pytest.raises(InputError, match=told):
        choose(published, SplitConfig(folds=folds), [5])


def test_a_column_without_folds_has_none_to_choose():
    with pytest.raises(InputError, match=r"split\.column split: has no folds"):
        choose(None, SplitConfig(column="split"), None)

"""Splits: a material stays where it is, groups stay together, published splits are kept."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnn.config import SplitConfig
from gnn.splits import NAMES
from gnn.splits import assign as assign_codes
from storage.errors import InputError

MANY = [f"m-{n}" for n in range(400)]


def table(ids: list[str], **columns) -> pa.Table:
    return pa.table({"material_id": ids, "formula": columns.pop("formula", ["NaCl"] * len(ids)), **columns})


def assign(rows: pa.Table, config: SplitConfig) -> tuple[list[str], str]:
    """The names of the splits; the rows come in three tables."""
    third = len(rows) // 3
    parts = [rows.slice(0, third), rows.slice(third, third), rows.slice(2 * third)]
    codes, split_by = assign_codes(parts, config)
    return [NAMES[code] for code in codes], split_by


@given(st.sets(st.text(max_size=5), max_size=40), st.integers(0, 5))
def test_new_materials_move_nobody(new, seed):
    config = SplitConfig(seed=seed)
    before, _ = assign(table(MANY), config)
    after, _ = assign(table(MANY + sorted(new - set(MANY))), config)
    assert after[: len(MANY)] == before


def test_shares_are_about_those_asked_for():
    splits, split_by = assign(table([f"m-{n}" for n in range(10_000)]), SplitConfig(validation=0.05, test=0.1))
    assert abs(splits.count("test") - 1000) < 100
    assert abs(splits.count("validation") - 500) < 80
    assert split_by == "hash of material, seed 0"


@pytest.mark.parametrize(
    ("group", "formulas"), [("formula", ["NaCl", "KCl"]), ("chemical_system", ["NaCl", "Na3Cl2", "Cl2Na"])]
)
def test_a_group_never_lies_on_both_sides(group, formulas):
    kinds = [f"{a}{b}" for a in ("Li", "Na", "K", "Rb", "Cs", "Mg") for b in ("F", "Cl", "Br", "I", "O", "S", "Se")]
    kinds += formulas
    rows = table([f"m-{n}" for n in range(10 * len(kinds))], formula=[k for k in kinds for _ in range(10)])
    splits, _ = assign(rows, SplitConfig(group=group, validation=0.2, test=0.2))
    by_kind: dict[object, set[str]] = {}
    for formula, split in zip(rows["formula"].to_pylist(), splits, strict=True):
        key = formula if group == "formula" else frozenset("".join(c for c in formula if not c.isdigit()))
        by_kind.setdefault(key, set()).add(split)
    assert all(len(found) == 1 for found in by_kind.values())


def test_a_published_split_is_kept_and_validation_cut_from_its_training_rows():
    published = ["test" if n % 5 == 0 else "train" for n in range(len(MANY))]
    splits, split_by = assign(table(MANY, split=published), SplitConfig())
    assert [s == "test" for s in splits] == [p == "test" for p in published]
    assert 0 < splits.count("validation") < 60
    assert "published split" in split_by


def test_published_validation_rows_are_reported_where_test_rows_are_held_back():
    published = ["validation" if n % 5 == 0 else "train" for n in range(len(MANY))]
    splits, split_by = assign(table(MANY, split=published), SplitConfig())
    assert [s == "test" for s in splits] == [p == "validation" for p in published]
    assert "reported as test" in split_by


def test_folds_and_rows_outside_of_a_split():
    folds = [str(n % 5) for n in range(len(MANY))]
    splits, _ = assign(table(MANY, some_fold=folds), SplitConfig(fold=3))
    assert [s == "test" for s in splits] == [f == "3" for f in folds]
    partly = ["train", "validation", "test", None] * 100
    assert assign(table(MANY, split=partly), SplitConfig())[0].count("unused") == 100


def test_published_splits_can_be_left_aside():
    splits, split_by = assign(table(MANY, split=["train"] * 400), SplitConfig(published=False))
    assert {"train", "validation", "test"} == set(splits)
    assert split_by.startswith("hash")


def test_a_fold_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"split\.fold 7: some_fold has 0, 1"):
        assign(table(MANY[:2], some_fold=["0", "1"]), SplitConfig(fold=7))


def test_a_published_split_in_other_words_is_told_with_what_it_says():
    with pytest.raises(InputError, match=r"no train rows .*; split says fit, hold; split\.published=false draws"):
        assign(table(MANY, split=["fit", "hold"] * 200), SplitConfig())

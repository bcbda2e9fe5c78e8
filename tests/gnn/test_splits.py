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


def test_folds_and_rows_outside_of_a_split(caplog):
    caplog.set_level("INFO")
    folds = [str(n % 5) for n in range(len(MANY))]
    splits, _ = assign(table(MANY, some_fold=folds), SplitConfig(fold=3))
    assert [s == "test" for s in splits] == [f == "3" for f in folds]
    partly = ["train", "validation", "test", None] * 100
    assert caplog.text == ""
    assert assign(table(MANY, split=partly), SplitConfig())[0].count("unused") == 100
    assert "100 of 400 rows are in no split, and not used: split says test, train, validation" in caplog.text


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


def crystals(count: int) -> pa.Table:
    """Rows with space groups and days."""
    numbers = [(167, 194, 225, None)[n % 4] for n in range(count)]
    days = [f"2024-{1 + n % 12:02}-01T00:00:00" for n in range(count)]
    return table(
        [f"m-{n}" for n in range(count)],
        formula=[("NaCl", "Al2O3", "SrTiO3")[n % 3] for n in range(count)],
        spacegroup_number=pa.array(numbers, pa.int16()),
        last_updated=days,
    )


def test_a_space_group_that_is_left_out_is_the_test_split():
    rows = crystals(300)
    splits, split_by = assign(rows, SplitConfig(group="space_group", leave_out=("167",)))
    assert {n for n, s in zip(rows["spacegroup_number"].to_pylist(), splits, strict=True) if s == "test"} == {167}
    assert splits.count("test") == 75
    assert split_by == "space group 167 left out, validation cut from the rest by hash of material"


def test_a_prototype_is_an_anonymous_formula_and_a_space_group():
    rows = crystals(300)
    splits, _ = assign(rows, SplitConfig(group="prototype", leave_out=("ABC3 225",)))
    left = [
        (formula, number)
        for formula, number, split in zip(
            rows["formula"].to_pylist(), rows["spacegroup_number"].to_pylist(), splits, strict=True
        )
        if split == "test"
    ]
    assert set(left) == {("SrTiO3", 225)}


def test_the_newest_rows_are_the_test_split_and_a_day_is_not_divided():
    rows = crystals(240)
    splits, split_by = assign(rows, SplitConfig(group="time", test=0.1))
    days = {day[:10] for day, split in zip(rows["last_updated"].to_pylist(), splits, strict=True) if split == "test"}
    assert days == {"2024-11-01", "2024-12-01"}
    assert "last changed on 2024-11-01 or later" in split_by


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"group": "space_group", "leave_out": ("9",)}, "no row has this space group; there are 167, 194, 225"),
        ({"group": "chemical_system", "leave_out": ("O-Al",)}, "there are Al-O, Cl-Na, O-Sr-Ti"),
    ],
)
def test_a_group_that_nobody_has_is_one_line(config, message):
    with pytest.raises(InputError, match=message):
        assign(crystals(60), SplitConfig(**config))


def test_a_source_without_times_cannot_be_split_by_them():
    with pytest.raises(InputError, match="the source has no column last_updated"):
        assign(table(MANY), SplitConfig(group="time"))


@given(st.permutations(["Na", "Cl", "O"]), st.integers(1, 4))
def test_an_anonymous_formula_depends_on_neither_elements_nor_multiples(elements, times):
    from gnn.groups import anonymous

    formula = "".join(f"{element}{times * count}" for element, count in zip(elements, (1, 1, 3), strict=True))
    assert anonymous(formula) == "ABC3"


def test_a_group_in_parentheses_counts_as_often_as_is_said():
    from gnn.groups import anonymous

    assert anonymous("Ca3(PO4)2") == anonymous("B3C8A2") == "A2B3C8"

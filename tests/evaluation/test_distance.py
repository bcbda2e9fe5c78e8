"""How far test structures lie from the training structures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation import distance
from evaluation.distance import errors_by_distance, nearest

formulas = st.lists(
    st.builds(
        lambda parts: "".join(f"{symbol}{count}" for symbol, count in parts.items()),
        st.dictionaries(st.sampled_from(["Na", "Cl", "O", "Fe", "Xe"]), st.integers(1, 5), min_size=1),
    ),
    min_size=1,
    max_size=8,
)


@pytest.mark.parametrize(
    ("test", "train", "expected"),
    [
        ("NaCl", ["NaCl", "KBr"], 0.0),
        ("Na2Cl2", ["NaCl"], 0.0),
        ("NaBr", ["NaCl"], 0.5),
        ("KBr", ["NaCl"], 1.0),
        ("Al2O3", ["Ga2O3"], 0.4),
        ("AlGaO3", ["Ga2O3", "Al2O3"], 0.2),
        ("Ca3(PO4)2", ["Ca3P2O8"], 0.0),
    ],
)
def test_the_share_of_atoms_that_would_have_to_be_others(test, train, expected):
    assert nearest([test], train)[0] == pytest.approx(expected)


@given(formulas, formulas)
def test_more_training_structures_never_lie_further_away(test, train):
    few, more = nearest(test, train[:1]), nearest(test, train)
    assert (more <= few + 1e-12).all()
    assert (nearest(test, [*train, *test]) < 1e-12).all()


def test_each_test_row_is_in_one_range():
    test = ["NaCl", "NaBr", "KBr", "Na9Cl11"]
    groups, numbers = errors_by_distance(test, ["NaCl"], np.array([1.0, 2.0, 3.0, 4.0]))
    found = {name: errors.tolist() for name, errors in groups if len(errors)}
    assert found == {"0, the same composition": [1.0], "0 to 0.1": [4.0], "0.5 to 1": [2.0, 3.0]}
    assert numbers == {"of": 4, "mean": pytest.approx(1.55 / 4), "median": pytest.approx(0.275)}


def test_of_many_pairs_a_part_of_the_rows_stands_for_all(monkeypatch):
    monkeypatch.setattr(distance, "PAIRS", 5)
    test = [f"NaCl{n}" for n in range(1, 30)]
    groups, numbers = errors_by_distance(test, ["NaCl"], np.arange(29.0))
    assert numbers["of"] == 5
    assert sum(len(errors) for _, errors in groups) == 5


def test_without_training_rows_nothing_is_said():
    assert errors_by_distance(["NaCl"], [], np.array([1.0])) == ([], None)

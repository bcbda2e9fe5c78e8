"""Formulas are read as pymatgen writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymatgen.core import Composition

from storage.formulas import atoms_of

ELEMENTS = st.sampled_from(["H", "O", "N", "P", "S", "C", "Ca", "Na", "Cl", "Fe", "U"])


@given(st.dictionaries(ELEMENTS, st.integers(1, 12), min_size=1, max_size=5))
def test_a_reduced_formula_gives_its_atoms_back(atoms):
    composition = Composition(atoms)
    expected = composition.reduced_composition.get_el_amt_dict()
    assert atoms_of(composition.reduced_formula) in (expected, {element: 2 * n for element, n in expected.items()})


@pytest.mark.parametrize(
    ("formula", "atoms"),
    [
        ("Ca3(PO4)2", {"Ca": 3, "P": 2, "O": 8}),
        ("K4(Fe(CN)6)2", {"K": 4, "Fe": 2, "C": 12, "N": 12}),
        ("NaCl", {"Na": 1, "Cl": 1}),
        ("", {}),
        (")(Na2", {"Na": 2}),
    ],
)
def test_groups_in_parentheses_count_as_often_as_is_said(formula, atoms):
    assert atoms_of(formula) == atoms

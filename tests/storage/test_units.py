"""Units that names say: those of our sources, of published tables, and none where a name could mean another."""

import pytest

from crystals.materials_project.targets import TARGETS
from storage.units import ending_of, unit_of

MATERIALS_PROJECT = {  # as in docs/materials_project.md
    **dict.fromkeys(("formation_energy_per_atom", "energy_above_hull", "energy_per_atom"), "eV/atom"),
    **dict.fromkeys(("band_gap", "efermi"), "eV"),
    **dict.fromkeys(("is_metal", "e_total", "e_ionic", "e_electronic", "n"), ""),
    **dict.fromkeys(("homogeneous_poisson", "universal_anisotropy"), ""),
    **{"e_ij_max": "C/m²", "k_vrh": "GPa", "g_vrh": "GPa", "density": "g/cm³"},
    **{"total_magnetization": "μB", "total_magnetization_normalized_vol": "μB/Å³"},
}
TABLES = {
    **dict.fromkeys(("formation_energy_per_atom_ev", "e_form_ev_per_atom", "E_form_per_atom"), "eV/atom"),
    **dict.fromkeys(("band_gap_ev", "dir_gap_ev", "heat_all_ev", "e_above_hull_ev"), "eV"),
    **{"exfoliation_energy_mev_per_atom": "meV/atom", "formation_energy_ev_natom": "eV/cation"},
    **{"bulk_modulus_gpa": "GPa", "thermal_conductivity_w_per_mk": "W/(m K)", "thermal_expansion_per_k": "1/K"},
    **{
        "debye_temperature_k": "K",
        "Tc_K": "K",
        "last_phdos_peak_per_cm": "cm⁻¹",
        "mixing_enthalpy_per_atom": "eV/atom",
    },
}


@pytest.mark.parametrize(("name", "unit"), [*MATERIALS_PROJECT.items(), *TABLES.items()])
def test_the_units_of_our_sources_and_of_published_tables(name, unit):
    assert unit_of(name) == unit
    assert set(MATERIALS_PROJECT) == set(TARGETS)


@pytest.mark.parametrize(
    ("name", "unit", "ending"),
    [
        ("volume_per_atom", "Å³/atom", "_per_atom"),
        ("total_magnetization_per_atom", "μB/atom", "_per_atom"),
        ("valence_electrons_per_atom", "", ""),
        ("bulk_k", "", ""),
        ("heat_capacity_j_per_k", "", ""),
        ("eform_per_atom", "eV/atom", "_per_atom"),
        ("t_melt_k", "K", "_k"),
        ("dielectric_k", "", ""),
        ("volume_per_atom_ev_per_atom", "eV/atom", "_ev_per_atom"),
    ],
)
def test_what_is_no_energy_is_not_in_ev_and_what_is_no_temperature_not_in_kelvin(name, unit, ending):
    assert (unit_of(name), ending_of(name)) == (unit, ending)

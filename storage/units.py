"""The unit of a column of numbers, from its name."""

# A column's unit is read off the end of its name, longest ending first, as published tables write it.
UNIT_OF_ENDING = {
    "_mev_per_atom": "meV/atom",
    "_ev_per_atom": "eV/atom",
    "_per_atom_ev": "eV/atom",
    "_ev_natom": "eV/cation",
    "_w_per_mk": "W/(m K)",
    "_per_atom": "eV/atom",
    "_per_cm": "cm⁻¹",
    "_per_k": "1/K",
    "_gpa": "GPa",
    "_mev": "meV",
    "_ev": "eV",
    "_k": "K",
}
UNIT_OF_NAME = {
    "band_gap": "eV",
    "efermi": "eV",
    "energy_above_hull": "eV/atom",
    "k_vrh": "GPa",
    "g_vrh": "GPa",
    "e_ij_max": "C/m²",
    "total_magnetization": "μB",
    "total_magnetization_normalized_vol": "μB/Å³",
    "density": "g/cm³",
}


def unit_of(target: str) -> str:
    """The unit of a target, from its name; "" if the name does not say."""
    if target in UNIT_OF_NAME:
        return UNIT_OF_NAME[target]
    ending = next((e for e in UNIT_OF_ENDING if target.lower().endswith(e)), None)
    return UNIT_OF_ENDING[ending] if ending else ""

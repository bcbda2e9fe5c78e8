"""The unit of a column of numbers, from its name."""

# A column's unit is read off the end of its name, longest ending first, as published tables write it.
UNIT_OF_ENDING = {
    "_mev_per_atom": "meV/atom",
    "_ev_per_atom": "eV/atom",
    "_per_atom_ev": "eV/atom",
    "_ev_natom": "eV/cation",
    "_w_per_mk": "W/(m K)",
    "_per_cm": "cm⁻¹",
    "_gpa": "GPa",
    "_mev": "meV",
    "_ev": "eV",
}
ENERGIES = ("energy", "enthalpy", "hull", "ehull", "eform", "hform", "formation", "cohesive", "e")
TEMPERATURES = ("temperature", "temp", "t", "tc", "tm", "theta", "debye", "curie", "neel", "melt", "melting", "boiling")
# These endings say a unit only of a name that has one of these words: `bulk_k` is no temperature.
UNIT_OF_WORD = {
    "_per_atom": {
        **dict.fromkeys(ENERGIES, "eV/atom"),
        "volume": "Å³/atom",
        **dict.fromkeys(("magnetization", "magmom"), "μB/atom"),
    },
    "_per_k": {"expansion": "1/K"},
    "_k": dict.fromkeys((*TEMPERATURES, "transition"), "K"),
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
    return UNIT_OF_NAME.get(target) or _ending_and_unit(target)[1]


def ending_of(target: str) -> str:
    """The end of the name that says the unit, "_ev_per_atom"; "" if none does."""
    return _ending_and_unit(target)[0]


def _ending_and_unit(target: str) -> tuple[str, str]:
    name = target.lower()
    for ending, unit in UNIT_OF_ENDING.items():
        if name.endswith(ending):
            return ending, unit
    for ending, units in UNIT_OF_WORD.items():
        for word in name.removesuffix(ending).split("_") if name.endswith(ending) else ():
            if word in units:
                return ending, units[word]
    return "", ""

"""The targets that a summary document offers, by name. Imports nothing heavy."""

from typing import Any, NamedTuple


class Target(NamedTuple):
    """Where a target's value is in a summary document: a field, or an entry of that field. Units: storage.schemas."""

    field: str
    entry: str | None = None

    def value_in(self, document: Any) -> float | None:
        """The value as a float (false is 0, true is 1); None if it was not computed."""
        value = getattr(document, self.field)
        if self.entry is not None and value is not None:
            value = value.get(self.entry)
        return None if value is None else float(value)


DEFAULT = "formation_energy_per_atom"
TARGETS = {
    "formation_energy_per_atom": Target("formation_energy_per_atom"),
    "energy_above_hull": Target("energy_above_hull"),
    "energy_per_atom": Target("energy_per_atom"),
    "band_gap": Target("band_gap"),
    "is_metal": Target("is_metal"),
    "efermi": Target("efermi"),
    "e_total": Target("e_total"),
    "e_ionic": Target("e_ionic"),
    "e_electronic": Target("e_electronic"),
    "n": Target("n"),
    "e_ij_max": Target("e_ij_max"),
    "k_vrh": Target("bulk_modulus", "vrh"),
    "g_vrh": Target("shear_modulus", "vrh"),
    "homogeneous_poisson": Target("homogeneous_poisson"),
    "universal_anisotropy": Target("universal_anisotropy"),
    "total_magnetization": Target("total_magnetization"),
    "total_magnetization_normalized_vol": Target("total_magnetization_normalized_vol"),
    "density": Target("density"),
}

"""Generated summary documents, valid under emmet's own models: simple crystals of two or three elements.

A document depends on its number and on the database version alone. Some are what a downloader should meet: without
structure, not as the model has it, deprecated, under a non-commercial licence, without some properties.
"""

import functools
import itertools
import random
import warnings
from dataclasses import dataclass
from typing import Any

from pymatgen.core import Element

CATIONS = [*("Li", "Na", "K", "Rb", "Cs", "Mg", "Ca", "Sr", "Ba", "Sc", "Y", "La", "Ti", "Zr", "Hf", "Al", "Ga", "In")]
ANIONS = [*("N", "P", "As", "O", "S", "Se", "Te", "F", "Cl", "Br", "I", "H", "C")]
CUBE, FCC = ((1, 0, 0), (0, 1, 0), (0, 0, 1)), ((0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0))
HALF, QUARTER = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
PEROVSKITE = (("A", (0, 0, 0)), ("B", HALF), ("X", (0.5, 0.5, 0)), ("X", (0.5, 0, 0.5)), ("X", (0, 0.5, 0.5)))
# name: cell vectors in units of the lattice parameter, sites, that parameter over the sum of radii, space group
PROTOTYPES = {
    "CsCl": (CUBE, (("A", (0, 0, 0)), ("X", HALF)), 1.2, (221, "Pm-3m", "Cubic", "m-3m")),
    "NaCl": (FCC, (("A", (0, 0, 0)), ("X", HALF)), 2.0, (225, "Fm-3m", "Cubic", "m-3m")),
    "ZnS": (FCC, (("A", (0, 0, 0)), ("X", QUARTER)), 2.3, (216, "F-43m", "Cubic", "-43m")),
    "CaF2": (FCC, (("A", (0, 0, 0)), ("X", QUARTER), ("X", (0.75, 0.75, 0.75))), 2.3, (225, "Fm-3m", "Cubic", "m-3m")),
    "CaTiO3": (CUBE, PEROVSKITE, 1.6, (221, "Pm-3m", "Cubic", "m-3m")),
}
STABLE_LICENCE, RESTRICTED = "BY-C", "BY-NC"
GNOME = "gnome_r2scan_statics"


@functools.cache
def _element(symbol: str) -> tuple[float, float, int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        element = Element(symbol)
        return float(element.atomic_radius or 1.5), float(element.X), element.Z


@dataclass(frozen=True)
class Entry:
    """What a server can filter by without making the whole document."""

    number: int
    material_id: str
    symbols: dict[str, str]  # place in the prototype → element
    prototype: str
    scale: float
    stamp: str
    values: dict[str, Any]
    batch: str | None
    fault: str | None

    @property
    def elements(self) -> list[str]:
        """Sorted, each once."""
        return sorted(set(self.symbols.values()))


def entry(number: int, versions: list[str], changed: float) -> Entry:
    """The entry of that number in the last of `versions`; each but the first touched a share `changed` of them."""
    chance = random.Random(number)
    touched = [v for v in versions[1:] if random.Random(f"{number} {v}").random() < changed]
    prototype = chance.choice(list(PROTOTYPES))
    symbols = {"A": chance.choice(CATIONS), "X": chance.choice(ANIONS)}
    if prototype == "CaTiO3":
        symbols["B"] = chance.choice([c for c in CATIONS if c != symbols["A"]])
    strain = chance.uniform(0.95, 1.06)
    scale = strain * PROTOTYPES[prototype][2] * (_element(symbols["A"])[0] + _element(symbols["X"])[0])
    polarity = _element(symbols["X"])[1] - _element(symbols["A"])[1]
    energy = -0.6 * polarity**2 + 40 * (strain - 1) ** 2 + 0.3 + 0.01 * len(touched)
    gap = max(0.0, 2.2 * polarity - 2.5)
    sites = len(PROTOTYPES[prototype][1])
    values: dict[str, Any] = {
        "formation_energy_per_atom": round(energy, 6),
        "energy_above_hull": round(max(0.0, 40 * (strain - 1) ** 2 - 0.01), 6),
        "band_gap": round(gap, 4),
        "is_metal": gap == 0,
        "nsites": sites,
        "nelements": len(set(symbols.values())),
        "theoretical": chance.random() < 0.7,
        "deprecated": number % 83 == 40,
        "spacegroup_number": PROTOTYPES[prototype][3][0],
        "homogeneous_poisson": round(chance.uniform(0.1, 0.4), 3) if number % 7 == 0 else None,
        "bulk_modulus": round(200 / scale, 3) if number % 7 == 0 else None,
        "e_total": round(chance.uniform(2, 20), 3) if number % 11 == 0 else None,
        "total_magnetization": round(chance.uniform(0, 1), 4) if number % 3 == 0 else None,
    }
    values["is_stable"] = values["energy_above_hull"] == 0
    fault = {13: "no structure", 57: "not as the model has it"}.get(number % 499)
    stamp = f"{(touched or [f'2023.{1 + number % 12:02}.{1 + number % 28:02}'])[-1].replace('.', '-')}T00:00:00+00:00"
    batch = GNOME if number % 61 == 5 else None
    return Entry(number, f"mp-{1000 + 3 * number}", symbols, prototype, scale, stamp, values, batch, fault)


def document(of: Entry, fields: list[str] | None) -> dict[str, Any]:
    """The summary document, or the asked fields of it."""
    if fields is not None and "structure" not in fields and of.fault is None:
        light = {"material_id": of.material_id, "last_updated": of.stamp, "elements": of.elements, **of.values}
        light["builder_meta"] = _meta(of)
        if set(fields) <= set(light):
            return {name: light[name] for name in fields}
    whole = _whole(of)
    return whole if fields is None else {name: whole[name] for name in fields if name in whole}


def functional(of: Entry) -> str:
    """The kind of calculation that the energy comes from."""
    return "R2SCAN" if of.batch == GNOME else ("GGA+U" if "O" in of.symbols.values() else "GGA")


def _meta(of: Entry) -> dict[str, Any]:
    return {
        "emmet_version": "0.87.3",
        "batch_id": of.batch,
        "license": RESTRICTED if of.batch else STABLE_LICENCE,
        "build_date": "2025-01-01T00:00:00+00:00",
    }


def _whole(of: Entry) -> dict[str, Any]:
    vectors, sites, _, (number, symbol, system, point_group) = PROTOTYPES[of.prototype]
    matrix = [[of.scale * x for x in row] for row in vectors]
    structure = {
        "@module": "pymatgen.core.structure",
        "@class": "Structure",
        "charge": 0,
        "lattice": {"matrix": matrix, "pbc": [True, True, True], **_cell(matrix)},
        "properties": {},
        "sites": [
            {
                "species": [{"element": of.symbols[place], "occu": 1}],
                "abc": list(abc),
                "xyz": [sum(abc[k] * matrix[k][i] for k in range(3)) for i in range(3)],
                "properties": {},
                "label": of.symbols[place],
            }
            for place, abc in sites
        ],
    }
    volume = structure["lattice"]["volume"]
    counts = {of.symbols[p]: sum(q == p for q, _ in sites) for p in dict.fromkeys(place for place, _ in sites)}
    known = {k: v for k, v in of.values.items() if k not in {"spacegroup_number", "bulk_modulus"}}
    return {
        **known,
        "property_name": "summary",
        "material_id": of.material_id,
        "structure": None if of.fault == "no structure" else structure,
        "last_updated": of.stamp,
        "builder_meta": _meta(of),
        "elements": of.elements,
        "composition": counts,
        "composition_reduced": counts,
        "formula_pretty": "".join(f"{s}{n if n > 1 else ''}" for s, n in counts.items()),
        "chemsys": "-".join(of.elements),
        "volume": volume,
        "density": 1.66 * sum(2 * _element(of.symbols[p])[2] for p, _ in sites) / volume,
        "density_atomic": volume / len(sites),
        "symmetry": {
            "number": number,
            "symbol": symbol,
            "crystal_system": system,
            "point_group": point_group,
            "symprec": 0.1,
            "version": "2.5",
        },
        "band_gap": {"not": "a number"} if of.fault == "not as the model has it" else of.values["band_gap"],
        "bulk_modulus": (m := of.values["bulk_modulus"]) and {"voigt": m + 1, "reuss": m - 1, "vrh": m},
        "origins": [{"name": "structure", "task_id": of.material_id, "last_updated": of.stamp}],
        "warnings": [],
        "task_ids": [of.material_id],
    }


def _cell(matrix: list[list[float]]) -> dict[str, float]:
    def dot(u: list[float], v: list[float]) -> float:
        return sum(x * y for x, y in zip(u, v, strict=True))

    lengths = [dot(v, v) ** 0.5 for v in matrix]
    a, b, c = matrix
    cross = [b[1] * c[2] - b[2] * c[1], b[2] * c[0] - b[0] * c[2], b[0] * c[1] - b[1] * c[0]]
    angle = 60.0 if matrix[0][0] == 0 else 90.0
    told = dict(zip(("a", "b", "c"), lengths, strict=True)) | dict.fromkeys(("alpha", "beta", "gamma"), angle)
    return {**told, "volume": abs(dot(a, cross))}


def entries(count: int, versions: list[str], changed: float, removed: int) -> list[Entry]:
    """All entries of a version; from the second version on, the first `removed` of them are no longer there."""
    gone = removed if len(versions) > 1 else 0
    return list(itertools.starmap(entry, ((number, versions, changed) for number in range(gone, count))))

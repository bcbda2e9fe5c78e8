"""Parses the crystal of one row of a source, or explains why it cannot be parsed."""

import functools
import json
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers as NUMBER_OF_SYMBOL
from pymatgen.core import Composition, DummySpecies, Element, Structure
from pymatgen.core.structure import StructureError

from crystals.crystal import Crystal

# What pymatgen's parsers, and emmet's models on top of them, are known to raise on what is no structure. RuntimeError
# stands for RecursionError too; ImportError comes from a `@module` in the data that is not installed.
PARSER_ERRORS = (
    *(ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, RuntimeError, MemoryError),
    *(ImportError, StructureError),
)
NUMBERS = {**NUMBER_OF_SYMBOL, "D": 1, "T": 1}
CHARGE = re.compile(r"(?<=[A-Za-z])[0-9.]*[+-]$")  # Na+, O2-: an oxidation state
STRUCTURE_COLUMNS = ("structure", "cif", "lattice")


class Unreadable(Exception):
    """A row has no readable crystal. `rule` is the rule that it breaks; the message says how."""

    def __init__(self, rule: str, message: str) -> None:
        super().__init__(message)
        self.rule = rule


Read = Crystal | Unreadable


@contextmanager
def parsing(what: str, *others: type[Exception]) -> Iterator[None]:
    """Translate PARSER_ERRORS that are raised in the block, and `others`, into Unreadable.

    The message begins with `what`.
    """
    try:
        yield
    except PARSER_ERRORS + others as error:
        raise Unreadable("unreadable", f"{what}: {one_line(error)}") from None


def crystal_of(row: Mapping[str, Any]) -> Crystal:
    """The crystal of a row.

    The row has one of: `structure` (a pymatgen dict), `cif` (text), or `lattice` with `species` or `atomic_numbers` and
    `frac_coords`. Raises Unreadable.
    """
    if row.get("structure"):
        return _from_dict(row["structure"])
    if row.get("cif"):
        cif = row["cif"]
        return from_cif(cif.decode("utf-8", errors="replace") if isinstance(cif, bytes) else cif)
    if row.get("lattice") is None or row["lattice"] == "":
        raise Unreadable("unreadable", f"has no {' or '.join(STRUCTURE_COLUMNS)}")
    return _from_arrays(row)


def from_cif(text: str) -> Crystal:
    """The first structure in the text of a CIF. Raises Unreadable."""
    from pymatgen.io.cif import CifParser  # loads much of scipy, and most sources have no CIF

    with parsing("CIF"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on rounded coordinates, which it mends; what it cannot mend it raises
        parser = CifParser.from_str(str(text))
        (structure, *_) = parser.parse_structures(primitive=False, on_error="raise")
        for block in parser.as_dict().values():
            if any(occupancy.startswith("-") for occupancy in block.get("_atom_site_occupancy", ())):
                raise ValueError("a site has a negative occupancy")  # pymatgen leaves such an atom out
        return from_pymatgen(structure)


def from_pymatgen(structure: Structure) -> Crystal:
    """The arrays of a pymatgen structure, which must be periodic in three directions.

    Raises Unreadable if it is not, or if a site is disordered or is not an element.
    """
    if not all(structure.lattice.pbc):
        flags = " ".join("FT"[periodic] for periodic in structure.lattice.pbc)
        raise Unreadable("lattice", f"is not periodic in three directions (pbc {flags})")
    for position, site in enumerate(structure):
        if not site.is_ordered:
            raise Unreadable("ordered", f"site {position} is occupied by {site.species_string}")
        if isinstance(site.specie, DummySpecies):  # its Z is a hash of its symbol
            raise Unreadable("elements", f"site {position} holds {site.specie.symbol}, which is no element")
    if not len(structure):
        raise Unreadable("unreadable", "has no atoms")
    numbers = [site.specie.Z for site in structure]
    return Crystal(structure.lattice.matrix, np.array(numbers, dtype=np.uint8), structure.frac_coords)


def from_atoms(atoms: Atoms) -> Crystal:
    """The arrays of an ASE Atoms object that is periodic in three directions and has one element on each site."""
    _check_occupancy(atoms.info.get("occupancy"))
    if not len(atoms):
        raise Unreadable("unreadable", "has no atoms")
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        periodic = " ".join("FT"[int(flag)] for flag in atoms.pbc)
        cell = "" if atoms.cell.rank == 3 else ", no cell"
        raise Unreadable("lattice", f"is not periodic in three directions (pbc {periodic}{cell})")
    numbers = atoms.numbers
    wrong = numbers[(numbers < 1) | (numbers > 118)]
    if len(wrong):
        raise Unreadable("elements", f"{wrong[0]} is no atomic number")
    # Not get_scaled_positions: it would move atoms into the cell, which the neighbour search does by itself.
    return Crystal(atoms.cell.array, numbers.astype(np.uint8), atoms.cell.scaled_positions(atoms.positions))


def _check_occupancy(occupancy: Any) -> None:
    """Raises Unreadable if elements share a site: `occupancy` has their shares by the kind of the site, as of a CIF."""
    # Such a site has the most frequent element as its symbol. What else is called so, in other files, is of no site.
    sites = occupancy if isinstance(occupancy, Mapping) else {}
    for kind, shares in sites.items():
        if isinstance(shares, Mapping) and any(share != 1 for share in shares.values()):
            text = ", ".join(f"{symbol}:{share}" for symbol, share in shares.items())
            raise Unreadable("ordered", f"sites of kind {kind} are occupied by {text}")


def _from_dict(value: Any) -> Crystal:
    with parsing("structure"):
        found = json.loads(value) if isinstance(value, str | bytes) else value
        # Lattice, species and positions alone: of a site's properties pymatgen imports the modules that they name.
        sites = [{name: site[name] for name in ("species", "abc")} for site in found["sites"]]
        return from_pymatgen(Structure.from_dict({"lattice": found["lattice"], "sites": sites}))


def _from_arrays(row: Mapping[str, Any]) -> Crystal:
    lattice = _numbers(row, "lattice")
    if lattice.size != 9:
        raise Unreadable("unreadable", f"lattice has {lattice.size} numbers instead of 9")
    coords = _numbers(row, "frac_coords")
    numbers = _atoms(row)
    if coords.size != 3 * len(numbers):
        raise Unreadable("unreadable", f"frac_coords has {coords.size} numbers for {len(numbers)} atoms")
    if not len(numbers):
        raise Unreadable("unreadable", "has no atoms")
    return Crystal(lattice.reshape(3, 3), numbers, coords.reshape(-1, 3))


def _atoms(row: Mapping[str, Any]) -> np.ndarray:
    species = _listed(row.get("species"))
    if species is not None:
        if not isinstance(species, list) or not all(isinstance(s, str) for s in species):
            raise Unreadable("unreadable", "species is not a list of element symbols")
        symbols = [CHARGE.sub("", s) for s in species]
        unknown = [s for s in symbols if s not in NUMBERS]
        if unknown:
            raise Unreadable("elements", f"{unknown[0]!r} is no element")
        return np.array([NUMBERS[s] for s in symbols], dtype=np.uint8)
    numbers = _numbers(row, "atomic_numbers")
    wrong = numbers[~((numbers >= 1) & (numbers <= 118) & (numbers % 1 == 0))]
    if wrong.size:
        raise Unreadable("elements", f"{wrong[0]:g} is no atomic number")
    return numbers.astype(np.uint8)


def _numbers(row: Mapping[str, Any], name: str) -> np.ndarray:
    value = _listed(row.get(name))
    if value is None:
        raise Unreadable("unreadable", f"has no {name}")
    try:
        return np.array(value, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        raise Unreadable("unreadable", f"{name} is not a list of numbers") from None


def _listed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    if not value.strip():
        return None
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        # As numpy and Python print lists: brackets, quotes and commas say nothing that the order does not.
        return re.sub(r"[\[\](),'\"]", " ", value).split()


def reduced_formula(numbers: np.ndarray) -> str:
    """The reduced formula of (N,) atomic numbers: `SrTiO3` for O3SrTi and for Sr2Ti2O6."""
    return _formula(tuple(sorted(Counter(numbers.tolist()).items())))


@functools.lru_cache(maxsize=100_000)
def _formula(counts: tuple[tuple[int, int], ...]) -> str:
    if any(not 1 <= number <= 118 for number, _ in counts):
        return ""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a noble gas it says that it has no electronegativity to sort by
        return str(Composition({Element.from_Z(number): count for number, count in counts}).reduced_formula)


def one_line(error: BaseException) -> str:
    """An exception's text on one line of at most 200 characters, with its type where the text alone is unclear."""
    text = " ".join(str(error).split())
    return (f"{type(error).__name__}: {text}" if isinstance(error, LookupError) else text or type(error).__name__)[:200]

"""The rules that decide whether a structure is accepted. A rule's name is the `rule` column of the rejected table.

A rule is a function of a candidate and the configured bounds. It returns a message if the candidate breaks it, else
None. Rules run in the order of RULES and the first message is reported, so a rule may rely on the ones before it.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from crystals.config import ChecksConfig
from crystals.crystal import Crystal
from crystals.neighbors import shortest_distance

LARGEST = 1e6  # Å, or cells: no crystal has such numbers, and their products overflow or lose the places that matter

SETTINGS = re.compile(r"\(checks\.[^)]*\)")  # in a message: the names of the bounds that are broken


@dataclass(frozen=True)
class Candidate:
    """A row being validated: its crystal, and the value of its target."""

    crystal: Crystal
    target: float | None


def elements(candidate: Candidate, _bounds: ChecksConfig) -> str | None:
    """Every atomic number lies between 1 and 118."""
    numbers = candidate.crystal.atomic_numbers
    wrong = numbers[(numbers < 1) | (numbers > 118)]
    return f"atomic number {wrong[0]} is of no element (1–118)" if len(wrong) else None


def lattice(candidate: Candidate, _bounds: ChecksConfig) -> str | None:
    """The lattice has three finite vectors that span a volume. Left-handed cells are accepted."""
    vectors = candidate.crystal.lattice
    if not np.isfinite(vectors).all():
        return "the lattice has a number that is not finite"
    if np.abs(vectors).max() > LARGEST:
        return f"a lattice vector has a component of {np.abs(vectors).max():.3g} Å"
    lengths = np.linalg.norm(vectors, axis=1)
    if lengths.min() < 0.1:
        return f"a lattice vector is {lengths.min():.3g} Å long"
    flatness = candidate.crystal.volume / lengths.prod()
    return f"the lattice vectors lie in a plane (volume over lengths {flatness:.1e})" if flatness < 1e-3 else None


def coordinates(candidate: Candidate, _bounds: ChecksConfig) -> str | None:
    """Every fractional coordinate is finite, and small enough that its digits within the cell are not lost."""
    largest = np.abs(candidate.crystal.frac_coords).max()
    if not np.isfinite(largest):
        return "an atom has a coordinate that is not finite"
    return f"an atom has the fractional coordinate {largest:.3g}" if largest > LARGEST else None


def volume(candidate: Candidate, bounds: ChecksConfig) -> str | None:
    """The volume per atom lies within the configured bounds (Å³)."""
    each = candidate.crystal.volume / len(candidate.crystal)
    if bounds.min_volume_per_atom <= each <= bounds.max_volume_per_atom:
        return None
    return (
        f"{each:.4g} Å³ an atom; allowed are {bounds.min_volume_per_atom:g} to {bounds.max_volume_per_atom:g} "
        "(checks.min_volume_per_atom, checks.max_volume_per_atom)"
    )


def min_distance(candidate: Candidate, bounds: ChecksConfig) -> str | None:
    """No two atoms, periodic images included, are closer than the configured minimum (Å)."""
    shortest = shortest_distance(candidate.crystal, bounds.min_distance)
    if shortest is None:
        return None
    return f"two atoms are {shortest:.3g} Å apart; allowed is {bounds.min_distance:g} (checks.min_distance)"


def target(candidate: Candidate, _bounds: ChecksConfig) -> str | None:
    """The target has a value, and the value is finite."""
    if candidate.target is None:
        return "has no value of the target"
    return None if np.isfinite(candidate.target) else f"the target is {candidate.target}"


Rule = Callable[[Candidate, ChecksConfig], str | None]
RULES: dict[str, Rule] = {
    rule.__name__: rule for rule in (target, elements, lattice, coordinates, volume, min_distance)
}


def fault_of(candidate: Candidate, bounds: ChecksConfig) -> tuple[str, str] | None:
    """Name and message of the first rule that the candidate breaks; None if it breaks none."""
    for name, rule in RULES.items():
        message = rule(candidate, bounds)
        if message is not None:
            return name, message
    return None


def fault_in_prediction(crystal: Crystal) -> tuple[str, str] | None:
    """`fault_of` a structure without a target, by the default bounds. A prediction has no settings that change them."""
    fault = fault_of(Candidate(crystal, 0.0), ChecksConfig())
    return fault and (fault[0], SETTINGS.sub("(fixed in predictions)", fault[1]))

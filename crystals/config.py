"""Configuration of checks, graphs and Materials Project queries.

Imports neither torch nor pymatgen, because forms and `--help` load it.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


class ChecksConfig(BaseModel):
    """The bounds outside of which a structure is rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_rejected: float = Field(
        0.05, ge=0, le=1, description="The step fails when more than this share of the rows is rejected."
    )
    min_distance: float = Field(
        0.5, ge=0, description="Shortest distance allowed between two atoms, periodic images included (Å)."
    )
    min_volume_per_atom: float = Field(2.0, gt=0, description="Smallest cell volume allowed per atom (Å³).")
    max_volume_per_atom: float = Field(250.0, gt=0, description="Largest cell volume allowed per atom (Å³).")


class GraphConfig(BaseModel):
    """Which neighbours an atom is joined to."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    cutoff: float | None = Field(
        8.0,
        gt=0,
        le=12,
        description="Neighbours are searched within this radius (Å); null grows it until max_neighbors are found.",
    )
    max_neighbors: int | None = Field(
        12,
        ge=1,
        le=200,
        description="The nearest so many, and all at the distance of the last; null keeps all within the cutoff.",
    )
    shell_tolerance: float | None = Field(
        1e-3,
        ge=0,
        le=0.1,
        description="Neighbours closer in distance than this are one shell (Å); null cuts at max_neighbors exactly.",
    )
    reduce_symmetry: bool = Field(
        True,
        description="One atom stands for all that symmetry makes equal, with their number: the same predictions from "
        "less than half the atoms and edges. Only for the built-in models.",
    )
    vectors: bool = Field(
        False,
        exclude_if=lambda vectors: not vectors,
        description="Keep the direction of each edge, which a model with angles (model.max_l) needs.",
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.cutoff is None and self.max_neighbors is None:
            raise ValueError("cutoff and max_neighbors cannot both be null")
        return self

    @model_validator(mode="after")
    def _whole_shells(self) -> Self:
        if self.vectors and self.reduce_symmetry and self.shell_tolerance is None:
            raise ValueError(
                "shell_tolerance cannot be null with vectors, unless reduce_symmetry is false: atoms of an orbit have "
                "other directions to what is left of a shell that is cut"
            )
        return self


def _ordered(bounds: tuple[float | None, float | None]) -> tuple[float | None, float | None]:
    low, high = bounds
    if low is not None and high is not None and low > high:
        raise ValueError(f"the lower bound {low:g} is above the upper bound {high:g}")
    return bounds


def _twice(value: object) -> object:
    return (value, value) if isinstance(value, int) else value


def _alone(value: object) -> object:
    return (value,) if isinstance(value, int) else value


Range = Annotated[tuple[float | None, float | None], AfterValidator(_ordered)]  # null: no bound on that side
Count = Annotated[int, Field(ge=1)]
Counts = Annotated[tuple[Count, Count], BeforeValidator(_twice), AfterValidator(_ordered)]
SpaceGroup = Annotated[int, Field(ge=1, le=230)]
Property = Literal["elasticity", "dielectric", "piezoelectric", "magnetism", "bandstructure", "dos", "phonon"]


class MaterialsProjectQuery(BaseModel):
    """Which materials `--source materials-project` takes. Filters are named as in mp-api's summary search.

    Deprecated materials never come in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    elements: tuple[str, ...] | None = Field(None, min_length=1, description="Elements that must all be there: [Li].")
    exclude_elements: tuple[str, ...] | None = Field(None, min_length=1, description="Elements that must not.")
    num_elements: Counts | None = Field(None, description="How many elements: 2, or [1, 4].")
    num_sites: Counts | None = Field(None, description="How many atoms in the cell: 2, or [1, 20].")
    formation_energy: Range | None = Field(None, description="Formation energy (eV/atom), as [-10, 0] or [null, 0].")
    energy_above_hull: Range | None = Field(None, description="Energy above the convex hull (eV/atom), as [0, 0.1].")
    band_gap: Range | None = Field(None, description="Band gap (eV), as [0.1, null].")
    is_stable: bool | None = Field(None, description="On the convex hull, or not.")
    theoretical: bool | None = Field(None, description="Never made, as far as the database knows; or made.")
    spacegroup_number: Annotated[tuple[SpaceGroup, ...], BeforeValidator(_alone)] | None = Field(
        None, min_length=1, description="Space group number, or a list of them."
    )
    has_props: tuple[Property, ...] | None = Field(
        None, min_length=1, description="Properties that must have been computed: [elasticity], [dielectric]."
    )
    material_ids: tuple[str, ...] | Path | None = Field(
        None, description="These materials alone: a list, or a file with one id a line."
    )
    include_gnome: bool = Field(
        False,
        description="GNoME's materials too. Off, for they are licensed for non-commercial use alone (CC BY-NC 4.0).",
    )
    limit: Count | None = Field(None, description="So many materials at the most, the first in the database's order.")

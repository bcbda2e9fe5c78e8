"""What a user may choose about checks and graphs. Imports neither torch nor pymatgen: forms and `--help` read it."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


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

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if self.cutoff is None and self.max_neighbors is None:
            raise ValueError("cutoff and max_neighbors cannot both be null")
        return self

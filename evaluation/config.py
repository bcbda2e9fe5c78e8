"""The settings of promotion. Imports nothing heavy, because forms and `--help` read it."""

from pydantic import BaseModel, ConfigDict, Field


class PromotionConfig(BaseModel):
    """When a newly trained model replaces the champion."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    margin: float = Field(
        0.02, ge=0, le=1, description="Promoted when, with confidence, its MAE is not above the champion's by more."
    )
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Share of the bootstrap draws that the interval holds.")
    draws: int = Field(2000, ge=100, le=100_000, description="Bootstrap draws.")
    least_common: int = Field(
        30, ge=2, description="Not compared, and not promoted, with fewer test materials in common."
    )

"""The parameters of the flow `ablate`."""

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from flows.config import RetrainConfig, nested, with_settings
from flows.study_config import SeedsConfig
from storage.errors import InputError

FULL = "full"
GROUPS = ("model", "train", "graphs")  # in which a variant may differ: the test rows are the same for all
OF_ATOMS_AND_EDGES: dict[str, dict[str, Any]] = {
    "no element properties": {"model.properties": False},
    "no element embedding": {"model.embedding": False},
    # Gaussians of width 0.01 Å at 0 and 0.01 Å are 0 at every distance of two atoms: who is near, but not how near.
    "no distances": {"model.gaussian_stop": 0.01, "model.gaussian_step": 0.01, "model.gaussian_sigma": 0.01},
    "coarse distances": {"model.gaussian_step": 1.6},
}
VARIANTS: dict[str, dict[str, dict[str, Any]]] = {  # by model
    "cgcnn": {
        "no gate": {"model.gate": False},
        **OF_ATOMS_AND_EDGES,
        "no normalisation": {"model.normalization": "none"},
        "normalisation in the gate": {"model.normalization": "gated"},
    },
    "cogn": OF_ATOMS_AND_EDGES,
}


class AblateConfig(SeedsConfig):
    """The parameters of the flow `ablate`: those of `retrain` for the full model, and what is changed in the others."""

    variants: dict[str, dict[str, Any]] | None = Field(
        None,
        min_length=1,
        max_length=40,
        description="Settings by variant, as {no gate: {model.gate: false}}; null: docs/studies.md lists them.",
    )

    def settings(self) -> dict[str, dict[str, Any]]:
        """The nested settings of each variant by its name, the full model's (none) first.

        Of the variants that nobody asked for, those that change nothing or cannot be are left out. Raises InputError,
        with its name, for such a one among those that were asked for.
        """
        found: dict[str, dict[str, Any]] = {FULL: {}}
        for name, dotted in self._wanted().items():
            settings = nested(dotted)
            try:
                self._check(name, settings)
            except InputError as error:
                if self.variants is not None:
                    raise InputError(f"variants: {name}: {error}") from None
            else:
                found[name] = settings
        return found

    def by_seed(self, variants: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """The settings of each variant with each seed, by `NAME, seed N`."""
        return {
            f"{name}, seed {seed}": {**settings, "train": {**settings.get("train", {}), "seed": seed}}
            for name, settings in variants.items()
            for seed in self.all_seeds
        }

    def _wanted(self) -> dict[str, dict[str, Any]]:
        wanted = VARIANTS.get(self.model.name, {}) if self.variants is None else self.variants
        if not wanted:
            raise InputError(f"variants: say what to change; only {' and '.join(VARIANTS)} have variants of their own")
        return wanted

    def _check(self, name: str, settings: dict[str, Any]) -> None:
        if name == FULL:
            raise InputError("that is the name of the model that the others are compared with")
        other = sorted(set(settings) - set(GROUPS))
        if other:
            raise InputError(f"{other[0]} is the same for all; a variant changes {', '.join(GROUPS)}")
        if with_settings(self, settings, RetrainConfig) == with_settings(self, {}, RetrainConfig):
            raise InputError("changes nothing")

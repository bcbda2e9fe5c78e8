"""The built-in source: generated alloys of seven fcc metals, labelled by an empirical potential."""

from collections.abc import Iterator

import pyarrow as pa

from storage.artefact import digest_of

COUNT = 2000
SEED = 2018
RECIPE = 1  # another way of making the alloys needs another number here


class Alloys:
    """Binary and ternary alloys of Al, Ni, Cu, Pd, Ag, Pt and Au, strained and displaced."""

    title = "alloys"
    note = "Labels by ASE's effective-medium theory (EMT), an empirical potential: not DFT, not experiment."

    def targets(self) -> list[str]:
        """The only target."""
        return ["formation_energy_per_atom"]

    def splits(self) -> list[str]:
        """There are none."""
        return []

    def contents(self) -> str:
        """A digest of the settings that the alloys are generated from."""
        return digest_of([COUNT, SEED, RECIPE])

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The structures table, batch by batch."""
        from crystals.alloy_generation import alloys  # loads ASE, which the check of a target does not need
        from crystals.sources.batches import batches_of

        return batches_of(alloys(COUNT, SEED), schema)

"""A table of structures in Parquet, CSV, JSON or JSON lines."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from crystals.sources.files import BROKEN_LINE, matbench_index, numeric_columns, rows_of, shortened
from crystals.sources.matbench import folds_of
from storage.artefact import digest_of, digest_of_file
from storage.errors import InputError
from storage.matbench import FOLD_COLUMN, FOLDS, ROWS, task_id
from storage.schemas import MATERIAL_ID, RESERVED, split_columns, splitting_columns

if TYPE_CHECKING:
    from crystals.sources.batches import Row

log = logging.getLogger(__name__)

STRUCTURAL = {MATERIAL_ID, "formula", "structure", "cif", "lattice", "species", "atomic_numbers", "frac_coords"}
STRUCTURAL |= {"spacegroup_number"}


def _can_be_target(name: str) -> bool:
    unnamed = not name.strip() or name.startswith(("Unnamed:", "__index_level_"))  # a data frame's index
    return not unnamed and name not in STRUCTURAL | RESERVED and not splitting_columns([name])


class Table:
    """The structures and targets of one table file."""

    note = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.title = path.name.removesuffix(".gz").rpartition(".")[0]

    @cached_property
    def _columns(self) -> tuple[list[str], list[str]]:
        names, numeric = numeric_columns(self._path)
        if not names:
            raise InputError(f"{self._path}: has no rows")
        if not {"structure", "cif", "lattice"} & set(names):
            raise InputError(f"{self._path}: no structure, cif or lattice column; it has {shortened(names)}")
        return names, numeric

    def targets(self) -> list[str]:
        """The numeric columns that are not part of the structure."""
        return [name for name in self._columns[1] if _can_be_target(name)]

    @cached_property
    def _task(self) -> str | None:
        """The Matbench task, where this is Matbench's own file of it: its rows, in its order, and no folds in it."""
        if self.title not in ROWS or split_columns(self._columns[0]):
            return None
        rows = range(ROWS[self.title])
        index = matbench_index(self._path, len(rows))
        named = [str(row) for row in rows], [task_id(self.title, row + 1) for row in rows]
        return self.title if index in named else None

    def splits(self) -> list[str]:
        """The columns with splits that the table publishes. The file of a Matbench task leaves its folds unsaid."""
        return [FOLD_COLUMN] if self._task else splitting_columns(self._columns[0])

    def split_values(self, column: str) -> set[str]:
        """All that a split column of the table says."""
        from crystals.sources.batches import split_name

        if self._task:
            return {str(fold) for fold in range(FOLDS)}
        said = {split_name(row.get(column)) for row in rows_of(self._path, {column})}
        return {value for value in said if value is not None}

    def contents(self) -> str:
        """sha256 of the file; of a Matbench task, with its folds."""
        digest = digest_of_file(self._path)
        return digest_of([digest, FOLD_COLUMN]) if self._task else digest

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The structures table, with one batch in memory at a time."""
        from crystals.sources.batches import batches_of  # loads pymatgen, which the check of a target does not need

        if MATERIAL_ID not in self._columns[0]:
            log.info("%s: no material_id column; rows are named by their number", self.title)
        rows: Iterable[dict[str, Any]] = rows_of(self._path, {*STRUCTURAL, *self.targets(), *self.splits()})
        if self._task:
            folds = itertools.chain(folds_of(self._task), itertools.repeat(None))
            rows = ({**row, FOLD_COLUMN: fold} for row, fold in zip(rows, folds, strict=False))
        return batches_of(itertools.starmap(row_of, enumerate(rows, start=1)), schema)


def row_of(number: int, values: Mapping[str, Any]) -> Row:
    """The row of a table from its columns by name. Without a material_id, its `number` from 1 names it."""
    from crystals.sources.batches import Row
    from crystals.sources.reading import Unreadable, crystal_of

    name = values.get(MATERIAL_ID)
    nested = isinstance(name, list | dict)

    def read() -> Any:
        if BROKEN_LINE in values:
            raise Unreadable("unreadable", str(values[BROKEN_LINE]))
        if nested:
            raise Unreadable("unreadable", f"material_id is a {type(name).__name__}, not a text")
        return crystal_of(values)

    text = f"row-{number:07}" if name is None or name == "" or nested else str(name)
    return Row(text.encode("utf-8", "replace").decode(), values, read)

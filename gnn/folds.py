"""The folds of a cross-validation: those that the source publishes, else drawn by hash. Imports no torch."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from gnn.config import SplitConfig
from gnn.splits import fold_column
from storage.errors import InputError
from storage.matbench import FOLDS


class Folds(BaseModel):
    """The folds that are run, of how many, and the published column that says them; None where they are drawn."""

    model_config = ConfigDict(frozen=True)

    wanted: list[int]
    count: int
    column: str | None

    def settings(self) -> dict[str, dict[str, Any]]:
        """What differs in the models' configurations, by the name of the fold."""
        drawn = None if self.column else self.count
        return {f"fold {fold}": {"split": {"fold": fold, "folds": drawn}} for fold in self.wanted}


def choose(published: tuple[str, list[int]] | None, split: SplitConfig, wanted: Sequence[int] | None) -> Folds:
    """The `wanted` folds, None for all: of the `published` column and its folds, else of `split.folds` drawn ones.

    Without `split.folds` there are five, as Matbench has.

    Raises InputError for a fold that is not there.
    """
    if published is None and split.column is not None:
        raise InputError(f"split.column {split.column}: has no folds; split.column=null draws them by hash")
    column, there = published or (None, list(range(split.folds or FOLDS)))
    missing = [fold for fold in wanted or [] if fold not in there]
    where = f"{column} has" if column else "the folds are"
    if missing:
        raise InputError(f"folds: there is no fold {missing[0]}; {where} {', '.join(map(str, there))}")
    if split.folds is not None and len(there) != split.folds:
        hint = "split.published=false draws folds by hash"
        raise InputError(f"split.folds {split.folds}: {column} has {len(there)} folds; {hint}")
    return Folds(wanted=list(wanted or there), count=len(there), column=column)


def published_folds(files: Sequence[Path], config: SplitConfig) -> tuple[str, list[int]] | None:
    """The column that `fold_column` chooses, and the numbers of its folds; None if the tables have no such column.

    `files` are Parquet tables with the same columns. Raises InputError if the column holds no numbers.
    """
    column = fold_column(pq.read_schema(files[0]).names, config)
    if column is None:
        return None
    said = {
        str(value) for path in files for value in pq.read_table(path, columns=[column])[column].unique().to_pylist()
    }
    return column, fold_numbers(column, said)


def fold_numbers(column: str, said: Iterable[str]) -> list[int]:
    """The numbers of the folds in a column that says this. Raises InputError if it says none."""
    folds = sorted({int(value) for value in said if value.isdecimal()})
    if not folds:
        raise InputError(f"{column}: says {', '.join(sorted(said)[:5])}; the name of a fold is a number")
    return folds

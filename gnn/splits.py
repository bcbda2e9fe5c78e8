"""Divides the structures into train, validation and test rows, by a published column or by a hash of their group.

What is drawn by hash depends on the row and the seed alone: rows stay where they are as the data grows.
"""

import re
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gnn.config import SplitConfig
from storage.errors import InputError
from storage.partition import stable_fraction
from storage.schemas import MATERIAL_ID, split_columns

UNUSED = "unused"
NAMES = ("train", "validation", "test", UNUSED)
TRAIN, VALIDATION, TEST, UNUSED_CODE = range(4)
Codes = NDArray[np.uint8]
FEWEST = 50  # rows; of fewer, hardly one is drawn for validation


def assign(tables: Iterable[pa.Table], config: SplitConfig) -> tuple[Codes, str]:
    """The split of every row of all tables, as an index of NAMES (M,), and a phrase that says how it was decided.

    The tables are looked at one after the other, twice. A row's split depends on its own group and the seed alone: it
    stays where it is as the data grows. Raises InputError if a split is left without rows, or a column or fold that
    `config` names is not there.
    """
    column = _published_column(next(iter(tables)).column_names, config)
    if column is None:
        said: set[str] = set()
        folds = f"fold {config.fold} of {config.folds} by " if config.folds else ""
        split_by = f"{folds}hash of {config.group.replace('_', ' ')}, seed {config.seed}"
    else:
        said = {value for table in tables for value in table[column].unique().to_pylist() if value is not None}
        split_by = _phrase(said, column, config)
    codes = np.concatenate([_codes(table, column, said, config) for table in tables])
    if config.train_share < 1:
        split_by += f", {config.train_share:g} of the training rows used"
    for code, name in enumerate(NAMES[:3]):
        if not (codes == code).any():
            hint = "choose another split.seed or larger shares"
            if len(codes) < FEWEST:
                hint = f"these are too few structures to learn from; {FEWEST} or more are needed"
            if column is not None:
                hint = f"{column} says {_examples(said)}; split.published=false draws a split by hash"
            raise InputError(f"split: no {name} rows among {len(codes):,} ({split_by}); {hint}")
    return codes, split_by


def _codes(table: pa.Table, column: str | None, said: set[str], config: SplitConfig) -> Codes:
    groups = _groups(table, config)
    if column is None:
        names = [_drawn(group, config) for group in groups]
    else:
        names = _published(table[column].to_pylist(), groups, said, column, config)
    codes = np.array([NAMES.index(name) for name in names], dtype=np.uint8)
    if config.train_share < 1:
        codes[(codes == TRAIN) & ~_kept(table, config)] = UNUSED_CODE
    return codes


def _kept(table: pa.Table, config: SplitConfig) -> NDArray[np.bool_]:
    """Whether `train_share` keeps the row, (M,). Not by the hash that splits: its training rows are all near 1."""
    ids = table[MATERIAL_ID].to_pylist()
    fractions = [stable_fraction(f"train share\0{name}", config.train_share_seed) for name in ids]
    return np.array(fractions) < config.train_share


def fold_column(names: list[str], config: SplitConfig) -> str | None:
    """The column of published folds that `config` chooses among the columns `names`; None if there is none.

    Raises InputError if it names a column that is not there.
    """
    column = _published_column(names, config)
    return column if column is not None and column.endswith("fold") else None


def _published_column(names: list[str], config: SplitConfig) -> str | None:
    known = split_columns(names)
    if config.column is not None:
        if config.column not in known:
            raise InputError(f"split.column {config.column}: no such column; it has {', '.join(known) or 'none'}")
        return config.column
    if not config.published:
        return None
    if "split" in known and config.folds is None:
        return "split"
    folds = [name for name in known if name.endswith("fold")]
    return folds[0] if len(folds) == 1 else None


def _phrase(said: set[str], column: str, config: SplitConfig) -> str:
    """How a published column that says this decides. Raises InputError for a fold that it does not have."""
    split_by = f"published {column}"
    if column.endswith("fold"):
        if str(config.fold) not in said:
            raise InputError(f"split.fold {config.fold}: {column} has {', '.join(sorted(said))}")
        if config.folds not in (None, len(said)):
            hint = "split.published=false draws folds by hash"
            raise InputError(f"split.folds {config.folds}: {column} has {len(said)} folds; {hint}")
        split_by += f", fold {config.fold}"
    elif config.folds is not None:
        raise InputError(f"split.folds {config.folds}: {column} has no folds; split.column=null draws them by hash")
    elif _reports_validation(said):
        split_by += ", its validation rows reported as test"
    if column.endswith("fold") or _cuts_validation(said):
        split_by += f", validation cut from train by hash of {config.group.replace('_', ' ')}"
    return split_by


def _reports_validation(said: set[str]) -> bool:
    """The rows that are reported must not choose the epoch: published validation rows are reported where the source
    keeps its test rows to itself.
    """
    return "test" not in said and "validation" in said


def _cuts_validation(said: set[str]) -> bool:
    return "validation" not in said or "test" not in said


def _published(
    values: list[str | None], groups: list[str], said: set[str], column: str, config: SplitConfig
) -> list[str]:
    if column.endswith("fold"):
        values = [value and ("test" if value == str(config.fold) else "train") for value in values]
    elif _reports_validation(said):
        values = ["test" if value == "validation" else value for value in values]
    if column.endswith("fold") or _cuts_validation(said):
        values = [
            "validation" if value == "train" and _fraction(group, config) < config.validation else value
            for value, group in zip(values, groups, strict=True)
        ]
    return [value if value in NAMES else UNUSED for value in values]


def _examples(said: set[str]) -> str:
    distinct = sorted(said)
    return ", ".join(distinct[:5]) + (", …" if len(distinct) > 5 else "")


def _drawn(group: str, config: SplitConfig) -> str:
    fraction = _fraction(group, config)
    if config.folds is not None:
        # By a second hash: the validation rows, cut by the first, are then drawn from all folds alike.
        place = int(stable_fraction(f"fold\0{group}", config.seed) * config.folds)
        return "test" if place == config.fold else "validation" if fraction < config.validation else "train"
    if fraction < config.validation:
        return "validation"
    return "test" if fraction < config.validation + config.test else "train"


def _fraction(group: str, config: SplitConfig) -> float:
    return stable_fraction(group, config.seed)


def _groups(table: pa.Table, config: SplitConfig) -> list[str]:
    if config.group == "material":
        return [str(value) for value in table[MATERIAL_ID].to_pylist()]
    formulas = [str(value) for value in table["formula"].to_pylist()]
    if config.group == "formula":
        return formulas
    return ["-".join(sorted(set(re.findall(r"[A-Z][a-z]?", formula)))) for formula in formulas]

"""Divides the structures into train, validation and test rows, by a published column or by a hash of their group."""

import re

import pyarrow as pa

from gnn.config import SplitConfig
from storage.errors import InputError
from storage.partition import stable_fraction
from storage.schemas import MATERIAL_ID, split_columns

NAMES = ("train", "validation", "test")
UNUSED = "unused"
FEWEST = 50  # rows; of fewer, hardly one is drawn for validation


def assign(table: pa.Table, config: SplitConfig) -> tuple[list[str], str]:
    """The split of every row (train, validation, test or unused), and a phrase that says how it was decided.

    A row's split depends on its own group and the seed alone: it stays where it is as the data grows. Raises InputError
    if a split is left without rows, or a column or fold that `config` names is not there.
    """
    groups = _groups(table, config)
    column = _published_column(table, config)
    if column is None:
        splits = [_drawn(group, config) for group in groups]
        split_by = f"hash of {config.group.replace('_', ' ')}, seed {config.seed}"
    else:
        splits, split_by = _published(table[column].to_pylist(), groups, column, config)
    for name in NAMES:
        if name not in splits:
            count = len(splits)
            hint = "choose another split.seed or larger shares"
            if count < FEWEST:
                hint = f"these are too few structures to learn from; {FEWEST} or more are needed"
            if column is not None:
                hint = (
                    f"{column} says {_examples(table[column].to_pylist())}; split.published=false draws a split by hash"
                )
            raise InputError(f"split: no {name} rows among {count:,} ({split_by}); {hint}")
    return splits, split_by


def _published_column(table: pa.Table, config: SplitConfig) -> str | None:
    known = split_columns(table.column_names)
    if config.column is not None:
        if config.column not in known:
            raise InputError(f"split.column {config.column}: no such column; it has {', '.join(known) or 'none'}")
        return config.column
    if not config.published:
        return None
    if "split" in known:
        return "split"
    folds = [name for name in known if name.endswith("fold")]
    return folds[0] if len(folds) == 1 else None


def _published(values: list[str | None], groups: list[str], column: str, config: SplitConfig) -> tuple[list[str], str]:
    if column.endswith("fold"):
        folds = sorted({value for value in values if value is not None})
        if str(config.fold) not in folds:
            raise InputError(f"split.fold {config.fold}: {column} has {', '.join(folds)}")
        values = [value and ("test" if value == str(config.fold) else "train") for value in values]
        split_by = f"published {column}, fold {config.fold}"
    else:
        split_by = f"published {column}"
    there = set(values)
    if "test" not in there and "validation" in there:
        # The rows that are reported must not choose the epoch: published validation rows are reported where the
        # source keeps its test rows to itself.
        values = ["test" if value == "validation" else value for value in values]
        split_by += ", its validation rows reported as test"
    if "validation" not in there or "test" not in there:
        values = [
            "validation" if value == "train" and _fraction(group, config) < config.validation else value
            for value, group in zip(values, groups, strict=True)
        ]
        split_by += f", validation cut from train by hash of {config.group.replace('_', ' ')}"
    return [value if value in NAMES else UNUSED for value in values], split_by


def _examples(values: list[str | None]) -> str:
    distinct = sorted({str(value) for value in values})
    return ", ".join(distinct[:5]) + (", …" if len(distinct) > 5 else "")


def _drawn(group: str, config: SplitConfig) -> str:
    fraction = _fraction(group, config)
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

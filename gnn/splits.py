"""Divides the structures into train, validation and test rows, by a published column or by a hash of their group.

What is drawn by hash depends on the row and the seed alone: rows stay where they are as the data grows.
"""

import logging
from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gnn.config import SplitConfig
from gnn.groups import groups_of, times_of
from storage.errors import InputError
from storage.partition import stable_fraction
from storage.schemas import MATERIAL_ID, split_columns

log = logging.getLogger(__name__)

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
    codes, split_by, hint = _decided(tables, config)
    if config.train_share < 1:
        split_by += f", {config.train_share:g} of the training rows used"
        kept = np.concatenate([_kept(table, config) for table in tables])
        codes[(codes == TRAIN) & ~kept] = UNUSED_CODE
    return _checked(codes, split_by, hint), split_by


def _decided(tables: Iterable[pa.Table], config: SplitConfig) -> tuple[Codes, str, str]:
    """The split of every row, how it was decided, and what to do where a split has no rows."""
    if config.leave_out:  # asked for by name, so it goes before a published split
        return _leave_out(tables, config)
    if config.group == "time":
        return _newest(tables, config)
    column = _published_column(next(iter(tables)).column_names, config)
    said: set[str] = set()
    if column is None:
        folds = f"fold {config.fold} of {config.folds} by " if config.folds else ""
        split_by = f"{folds}hash of {config.group.replace('_', ' ')}, seed {config.seed}"
        hint = "choose another split.seed or larger shares"
    else:
        said = {value for table in tables for value in table[column].unique().to_pylist() if value is not None}
        split_by = _phrase(said, column, config)
        hint = f"{column} says {_examples(said)}; split.published=false draws a split by hash"
    codes = np.concatenate([_codes(table, column, said, config) for table in tables])
    unused = int((codes == UNUSED_CODE).sum())
    if unused:
        rows = f"{unused:,} of {len(codes):,} rows"
        log.info("%s are in no split, and not used: %s says %s", rows, column, _examples(said))
    return codes, split_by, hint


def _checked(codes: Codes, split_by: str, hint: str) -> Codes:
    """The codes. Raises InputError if a split has no rows."""
    for code, name in enumerate(NAMES[:3]):
        if not (codes == code).any():
            if len(codes) < FEWEST:
                hint = f"these are too few structures to learn from; {FEWEST} or more are needed"
            raise InputError(f"split: no {name} rows among {len(codes):,} ({split_by}); {hint}")
    return codes


def _leave_out(tables: Iterable[pa.Table], config: SplitConfig) -> tuple[Codes, str, str]:
    """The rows of the groups that are left out are the test rows; of the rest some are drawn for validation."""
    kind, wanted = config.group.replace("_", " "), set(config.leave_out)
    names: list[str] = []
    seen: set[str] = set()
    for table in tables:
        groups = groups_of(table, config.group)
        seen.update(groups)
        names += ["test" if each in wanted else "" for each in groups]
    if wanted - seen:
        some = _examples({each for each in seen if not each.startswith("no ")})
        raise InputError(f"split.leave_out {sorted(wanted - seen)[0]}: no row has this {kind}; there are {some}")
    split_by = f"{kind} {', '.join(config.leave_out)} left out, validation cut from the rest by hash of material"
    return _with_validation(names, tables, config), split_by, "leave something to train on"


def _newest(tables: Iterable[pa.Table], config: SplitConfig) -> tuple[Codes, str, str]:
    """The rows that were changed last are the test rows; those of the day of the oldest of them, too."""
    days = [time[:10] for table in tables for time in times_of(table)]
    first = sorted(days)[max(0, len(days) - max(1, round(config.test * len(days))))]
    split_by = f"time: last changed on {first} or later, validation cut from the rest by hash of material"
    names = ["test" if day >= first else "" for day in days]
    return _with_validation(names, tables, config), split_by, "the rows may be of one day"


def _with_validation(names: list[str], tables: Iterable[pa.Table], config: SplitConfig) -> Codes:
    """Codes of the `names` (M,); rows without a name are drawn for validation, or are training rows."""
    materials = (material for table in tables for material in groups_of(table, "material"))
    drawn = (
        name or ("validation" if _fraction(material, config) < config.validation else "train")
        for name, material in zip(names, materials, strict=True)
    )
    return np.array([NAMES.index(name) for name in drawn], dtype=np.uint8)


def _codes(table: pa.Table, column: str | None, said: set[str], config: SplitConfig) -> Codes:
    groups = groups_of(table, config.group)
    if column is None:
        names = [_drawn(group, config) for group in groups]
    else:
        names = _published(table[column].to_pylist(), groups, said, column, config)
    return np.array([NAMES.index(name) for name in names], dtype=np.uint8)


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
            raise InputError(
                f"split.column {config.column}: no such column of splits, whose names are split, split_…, fold or "
                f"…_fold; it has {', '.join(known) or 'none'}"
            )
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

"""Finds the source that a user names. Does not load numpy or pymatgen by itself."""

import stat
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import pyarrow as pa

from crystals.config import MaterialsProjectQuery
from crystals.sources.alloys import Alloys
from crystals.sources.files import FORMATS, form_of, shortened
from crystals.sources.folder import Folder
from crystals.sources.materials_project import NAME as MATERIALS_PROJECT
from crystals.sources.materials_project import MaterialsProject
from crystals.sources.table import Table
from storage.errors import InputError


class Source(Protocol):
    """What every source offers. `note` is what a reader of its numbers must know, such as the origin of the labels."""

    title: str
    note: str

    def targets(self) -> list[str]:
        """The columns that can be the target."""

    def splits(self) -> list[str]:
        """The columns with splits that the source publishes."""

    def contents(self) -> str:
        """A digest of the source's contents at this moment."""

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The structures table, batch by batch."""


SOURCES: dict[str, Callable[[], Source]] = {"alloys": Alloys}  # by name; everything else is a path


class ResolvedSource(NamedTuple):
    """A source that exists and has the target. `contents` is the digest of its contents.

    For a database, `contents` and `version` are None until it has been queried.
    """

    source: str
    target: str
    contents: str | None
    query: MaterialsProjectQuery | None = None
    version: str | None = None


def open_source(source: str) -> Source:
    """The source with that name or path. Raises InputError if there is none."""
    if source in SOURCES:
        return SOURCES[source]()
    path = Path(source)
    known = ", ".join([*SOURCES, MATERIALS_PROJECT, f"a table ({', '.join(FORMATS)}, each also .gz)"])
    known += ", or a folder with id_prop.csv"
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):  # the latter of a name with a NUL in it
        raise InputError(f"source {source[:300]}: no such file or folder; allowed are {known}") from None
    if stat.S_ISDIR(mode):
        return Folder(path)
    # A pipe could be read once only, and a source is read several times.
    if not form_of(path) or not stat.S_ISREG(mode):
        raise InputError(f"source {source}: unknown kind of file; allowed are {known}")
    return Table(path)


def check_source(
    source: str,
    target: str | None,
    query: MaterialsProjectQuery = MaterialsProjectQuery(),
    auxiliary: Sequence[str] = (),
) -> ResolvedSource:
    """Check the source, its target, the auxiliary ones and the query, without any network request.

    Raises InputError if the source does not exist, cannot be read, or does not have a target.
    """
    if source == MATERIALS_PROJECT:
        MaterialsProject(query).check()
        resolved = ResolvedSource(source, target_of(source, target), None, query)
    elif query != MaterialsProjectQuery():
        raise InputError(f"materials_project.*: is for --source {MATERIALS_PROJECT}, this is {source}")
    else:
        name = source if source in SOURCES else str(Path(source).absolute())
        resolved = ResolvedSource(name, target_of(source, target), open_source(source).contents())
    targets = targets_of(source) if auxiliary else []
    for column in auxiliary:
        _chosen(source, column, targets)
        if column == resolved.target:
            raise InputError(f"auxiliary: {column} is the target itself")
    return resolved


def split_columns_of(source: str) -> list[str]:
    """The columns with splits that the source publishes."""
    return [] if source == MATERIALS_PROJECT else open_source(source).splits()


def split_values_of(source: str, column: str) -> set[str]:
    """All that a split column of the source says. Only tables have such columns."""
    return Table(Path(source)).split_values(column)


def target_of(source: str, target: str | None) -> str:
    """The target: the given one, the source's only one, or the default of the Materials Project.

    Raises InputError if the source does not have it, or has several and none is given.
    """
    known = targets_of(source)
    return _chosen(source, target or known[0] if source == MATERIALS_PROJECT else target, known)


def targets_of(source: str) -> list[str]:
    """The columns that can be the target; of the Materials Project with the default first."""
    if source == MATERIALS_PROJECT:
        return MaterialsProject(MaterialsProjectQuery()).targets()
    return open_source(source).targets()


def _chosen(source: str, target: str | None, targets: list[str]) -> str:
    if not targets:
        raise InputError(f"source {source}: has no column of numbers that could be a target")
    if target is None and len(targets) > 1:
        raise InputError(f"source {source}: say which --target to learn; it has {shortened(targets)}")
    if target is not None and target not in targets:
        raise InputError(f"source {source}: no target {target!r}; it has {shortened(targets)}")
    return target or targets[0]

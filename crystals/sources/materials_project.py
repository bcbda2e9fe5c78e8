"""The Materials Project as a source: its targets, and the checks of a query that need no network."""

import csv
from pathlib import Path

from crystals.config import MaterialsProjectQuery
from crystals.materials_project.targets import DEFAULT, TARGETS
from storage.artefact import digest_of
from storage.errors import InputError

NAME = "materials-project"


class MaterialsProject:
    """The materials that fit a query, in the database version at the start of a run."""

    title = NAME
    material_page = "https://next-gen.materialsproject.org/materials/{id}"

    def __init__(self, query: MaterialsProjectQuery) -> None:
        self._query = query

    def targets(self) -> list[str]:
        """The names of the targets, with the default first."""
        return [DEFAULT, *(name for name in TARGETS if name != DEFAULT)]

    def splits(self) -> list[str]:
        """There are none."""
        return []

    def note_of(self, version: str) -> str:
        """The note for readers of a report: database version, licence and functionals."""
        licences = "CC BY 4.0, GNoME's CC BY-NC 4.0" if self._query.include_gnome else "CC BY 4.0"
        return f"Materials Project database {version}, {licences}; energies mix GGA, GGA+U and r2SCAN."

    def check(self) -> None:
        """Raise InputError if the query names an unknown element or a malformed id. Needs no network."""
        from ase.data import chemical_symbols

        for name in ("elements", "exclude_elements"):
            unknown = [symbol for symbol in getattr(self._query, name) or () if symbol not in chemical_symbols[1:]]
            if unknown:
                raise InputError(f"materials_project.{name}: {unknown[0]!r} is no element")
        ids_of(self._query)

    def contents(self, version: str) -> str:
        """A digest of the database version and of everything in the query that decides which rows come in."""
        query = self._query.model_dump(mode="json", exclude={"material_ids"})
        return digest_of([version, query, ids_of(self._query)])


def ids_of(query: MaterialsProjectQuery) -> list[str] | None:
    """The query's material ids, sorted and without duplicates; None if it does not restrict them.

    A file has one id a line, or is CSV with the ids in its first column; a first line without an id is a header.
    Raises InputError if the file is missing, has no ids, or has something that is not an id.
    """
    given = query.material_ids
    if given is None:
        return None
    if isinstance(given, Path):
        given = tuple(_read(given))
    wrong = [name for name in given if not _is_id(name)]
    if wrong:
        raise InputError(f"materials_project.material_ids: {wrong[0]!r} is no id as mp-149 is")
    if not given:
        raise InputError("materials_project.material_ids: has no ids")
    return sorted(set(given))


def _is_id(name: str) -> bool:
    prefix, _, rest = name.partition("-")
    return prefix.isascii() and prefix.isalpha() and rest.isascii() and (rest.isdigit() or rest.isalpha())


def _read(path: Path) -> list[str]:
    if not path.is_file():
        raise InputError(f"materials_project.material_ids: there is no file {path}; give that, or a list of ids")
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        cells = [row[0].strip() for row in csv.reader(file) if row and row[0].strip()]
    return cells[1:] if cells and not _is_id(cells[0]) else cells

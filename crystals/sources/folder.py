"""A folder of CIF files with id_prop.csv, the format of the original CGCNN code."""

import csv
import functools
import itertools
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.artefact import digest_of, digest_of_file
from storage.errors import InputError
from storage.text import is_utf8

log = logging.getLogger(__name__)

TABLE = "id_prop.csv"
LEADS_OUT = "is a link that leads out of the folder; put a copy in its place (cp -rL copies a folder so)"


def _is_within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder.resolve())


def _fault(path: Path, folder: Path) -> str | None:
    """Why a file in the folder must not or cannot be read; None if it can."""
    # The folder may come from somebody else: its links must not choose which of the reader's own files are read.
    if path.is_symlink() and path.exists() and not _is_within(path, folder):
        return f"{path.name} {LEADS_OUT}"
    if not path.is_file():
        return f"{path.name} is no file" + (", but a link that leads nowhere" if path.is_symlink() else "")
    return None if os.access(path, os.R_OK) else f"{path.name} cannot be read: permission denied"


class Folder:
    """A folder whose `id_prop.csv` has lines `id,value`. The structure of an id is in `<id>.cif`."""

    note = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.title = path.resolve().name
        if not (path / TABLE).is_file():
            raise InputError(f"source {path}: a folder needs an {TABLE} with lines id,value")
        if not _is_within(path / TABLE, path):
            raise InputError(f"source {path}: {TABLE} {LEADS_OUT}")

    def targets(self) -> list[str]:
        """The only target. It is called `target`, because id_prop.csv has no header."""
        return ["target"]

    def splits(self) -> list[str]:
        """There are none."""
        return []

    def contents(self) -> str:
        """A digest of id_prop.csv and of every CIF, those that cannot be read included."""
        found = {name: _fault(path, self._path) or digest_of_file(path) for name, path in self._files().items()}
        return digest_of({TABLE: digest_of_file(self._path / TABLE), **found})

    def _files(self) -> dict[str, Path]:
        """By name. One that is no UTF-8 is no id of the table, and so not of the data."""
        found = sorted(path for path in self._path.iterdir() if path.suffix.lower() == ".cif" and is_utf8(path.name))
        # x.CIF is that of the id x, too, unless there is x.cif
        return {f"{path.stem}.cif": path for path in sorted(found, key=lambda path: path.suffix == ".cif")}

    def _lines(self) -> Iterator[tuple[str, str]]:
        path = self._path / TABLE
        csv.field_size_limit(sys.maxsize)  # a quote that never ends makes one long cell, which is its row's fault
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for number, cells in enumerate(csv.reader(file), start=1):
                if len(cells) > 2:
                    raise InputError(f"{path}: line {number} has {len(cells)} cells, expected id,value")
                if any(cell.strip() for cell in cells):
                    yield cells[0].strip(), cells[1].strip() if len(cells) == 2 else ""

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The structures table, with one batch in memory at a time.

        Raises InputError if id_prop.csv is empty or malformed.
        """
        from crystals.sources.batches import Row, batches_of  # loads pymatgen
        from crystals.sources.reading import Unreadable, from_cif

        files = self._files()

        def read(material_id: str) -> Any:
            path = files.get(f"{material_id}.cif")
            if path is None:
                raise Unreadable("unreadable", f"there is no {material_id[:100]}.cif in the folder")
            fault = _fault(path, self._path)
            if fault:
                raise Unreadable("unreadable", fault)
            return from_cif(path.read_text(encoding="utf-8", errors="replace"))

        if (self._path / "atom_init.json").exists():
            log.info("%s: atom_init.json is not used; the model has its own table of elements", self.title)
        rows = (Row(name, {"target": value}, functools.partial(read, name)) for name, value in self._lines())
        first = next(rows, None)
        if first is None:
            raise InputError(f"{self._path / TABLE}: has no lines")
        return batches_of(itertools.chain([first], rows), schema)

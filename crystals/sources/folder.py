"""A folder of CIF files with id_prop.csv, as the original CGCNN takes it."""

import csv
import functools
import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from storage.artefact import digest_of, digest_of_file
from storage.errors import InputError

log = logging.getLogger(__name__)

TABLE = "id_prop.csv"


class Folder:
    """`id_prop.csv` has lines `id,value`; the structure of an id is in `<id>.cif`."""

    note = ""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.title = path.resolve().name
        if not (path / TABLE).is_file():
            raise InputError(f"source {path}: a folder needs an {TABLE} with lines id,value")

    def targets(self) -> list[str]:
        """One, called `target`: the file has no header."""
        return ["target"]

    def splits(self) -> list[str]:
        """None."""
        return []

    def contents(self) -> str:
        """A digest of the table and of every CIF."""
        files = [self._path / TABLE, *sorted(self._path.glob("*.cif"))]
        return digest_of({file.name: digest_of_file(file) for file in files})

    def _lines(self) -> Iterator[tuple[str, str]]:
        with (self._path / TABLE).open(encoding="utf-8-sig", errors="replace", newline="") as file:
            for number, cells in enumerate(csv.reader(file), start=1):
                if len(cells) > 2:
                    raise InputError(f"{self._path / TABLE}: line {number} has {len(cells)} cells, expected id,value")
                if any(cell.strip() for cell in cells):
                    yield cells[0].strip(), cells[1].strip() if len(cells) == 2 else ""

    def batches(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """The structures table, a batch in memory at a time."""
        from crystals.sources.batches import Row, batches_of  # loads pymatgen
        from crystals.sources.reading import Unreadable, from_cif

        def read(material_id: str) -> Any:
            if Path(material_id).name != material_id or len(material_id) > 200 or "\0" in material_id:
                raise Unreadable("unreadable", "the id is no name of a file in the folder")
            path = self._path / f"{material_id}.cif"
            if not path.is_file():
                raise Unreadable("unreadable", f"there is no {path.name}")
            return from_cif(path.read_text(encoding="utf-8", errors="replace"))

        if (self._path / "atom_init.json").exists():
            log.info("%s: atom_init.json is not used; the model has its own table of elements", self.title)
        rows = (Row(name, {"target": value}, functools.partial(read, name)) for name, value in self._lines())
        first = next(rows, None)
        if first is None:
            raise InputError(f"{self._path / TABLE}: has no lines")
        return batches_of(itertools.chain([first], rows), schema)

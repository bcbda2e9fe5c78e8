"""Files of structures → rows: CIF and POSCAR by pymatgen, JSON of structures, and some of the formats that ASE reads.

The files come from anywhere. So the formats are a list of those that hold data and nothing else: none that is unpickled
(`.pckl`), run (`.py`), or that names other files to be read.
"""

import itertools
import os
import re
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import ijson
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Structure

from crystals.crystal import Crystal
from crystals.input_files import ASE_FORMATS, ASE_JSON, IN_FOLDERS, opened, structure_names
from crystals.sources.batches import Row
from crystals.sources.files import form_of, rows_of
from crystals.sources.json_depth import DepthLimited
from crystals.sources.reading import (
    Read,
    Unreadable,
    crystal_of,
    from_cif,
    from_pymatgen,
    one_line,
    parsing,
)
from crystals.sources.table import STRUCTURAL, row_of
from storage.errors import InputError
from storage.schemas import MATERIAL_ID

FORMATS = ", ".join(["CIF (.cif)", "POSCAR, CONTCAR (.vasp, .poscar)", *ASE_FORMATS.values()])
ToRead = Callable[[], Crystal]  # raises Unreadable
TABLES = "tables and structures in .parquet, .csv, .jsonl, .json"


def rows_in(path: Path) -> Iterator[Row]:
    """The structures of a file or folder, each a row whose id is the path.

    Where a file has several they are `path#0`, `path#1`, …; rows of a table keep their material_id. What cannot be read
    is a row that says why, and never an exception.
    """
    if path.is_dir():
        names = structure_names(path)
        if not names:
            yield _refused(path, f"the folder has no file that is read in folders: {', '.join(IN_FOLDERS)}, POSCAR*, …")
        for file in map(path.joinpath, names):
            if file.is_file():
                yield from rows_in(file)
            else:
                yield _refused(file, "is no file")  # a folder, a link that leads nowhere, a pipe
    elif form_of(path) == ".json":
        yield from _json(path)
    elif form_of(path):
        yield from _table(path)
    elif _plain_name(path).endswith(".cif"):
        yield from _numbered(path, _cif(path))
    elif _plain_name(path).startswith("xdatcar"):
        # As POSCAR its first frame would be taken for the whole; ASE's reader does not end on a damaged file.
        yield _refused(path, _not_read())
    elif _is_poscar_name(path):
        yield _row(path, partial(_poscar, path))
    else:
        yield from _ase(path)


def count_in(files: Iterable[Path]) -> int:
    """How many structures the files and folders have, as far as names and Parquet's metadata tell; 0 if they do not."""
    total = 0
    for path in files:
        count = _count(path)
        if not count:
            return 0
        total += count
    return total


def _count(path: Path) -> int:
    if path.is_dir():
        names = structure_names(path)
        return count_in(map(path.joinpath, names)) if names else 1
    if path.suffix.lower() == ".parquet":
        try:
            return int(pq.read_metadata(path).num_rows)
        except (pa.ArrowException, OSError):
            return 1
    several = form_of(path) or _plain_name(path).endswith(("xyz", ".traj"))
    return 0 if several else 1


def _plain_name(path: Path) -> str:
    return path.name.lower().removesuffix(".gz")


def _is_poscar_name(path: Path) -> bool:
    plain = _plain_name(path)
    return plain.endswith((".vasp", ".poscar")) or plain.startswith(("poscar", "contcar"))


def _numbered(path: Path, found: Iterator[Read | ToRead]) -> Iterator[Row]:
    """Rows of what was found, numbered only if it is more than one."""
    first, second = next(found, Unreadable("unreadable", "has no structure")), next(found, None)
    if second is None:
        yield _row(path, first)
        return
    for number, one in enumerate(itertools.chain((first, second), found)):
        yield _row(path, one, number)


def _name(path: Path, number: int | None = None) -> str:
    """The id of a structure of this file. A byte of its name that is no UTF-8 is shown as �."""
    plain = os.fsencode(path).decode("utf-8", "replace")
    return plain if number is None else f"{plain}#{number}"


def _row(path: Path, found: Read | ToRead, number: int | None = None) -> Row:
    def read() -> Crystal:
        if isinstance(found, Unreadable):
            raise found
        return found if isinstance(found, Crystal) else found()

    return Row(_name(path, number), {}, read)


def _refused(path: Path, message: str) -> Row:
    return _row(path, Unreadable("unreadable", message))


def _text(path: Path) -> str:
    try:
        with opened(path) as file:
            return str(file.read().decode("utf-8", "replace"))
    except (OSError, EOFError, zlib.error) as error:
        raise Unreadable("unreadable", f"cannot be read: {one_line(error)}") from None


def _cif(path: Path) -> Iterator[Unreadable | ToRead]:
    """The structure of each block that has atoms; the whole file's where at most one has. They are parsed later."""
    try:
        text = _text(path)
    except Unreadable as fault:
        yield fault
        return
    # Divided as pymatgen does it; but that keeps the last of several blocks of one name.
    blocks = [f"data_{block}" for block in re.split(r"^\s*data_", f"x\n{text}", flags=re.MULTILINE)[1:]]
    blocks = [block for block in blocks if "_atom_site_" in block]
    for block in blocks if len(blocks) > 1 else [text]:
        yield partial(from_cif, block)


def _ase(path: Path) -> Iterator[Row]:
    """A file whose contents tell ASE its format, or else what may be a POSCAR of another name."""
    from crystals.ase_files import ase_format, frames_of  # loads scipy

    kind = ase_format(path)
    return _numbered(path, frames_of(path, kind)) if kind else iter([_row(path, partial(_poscar, path))])


def _check_poscar_counts(text: str) -> None:
    """Raises Unreadable where more atoms are claimed than there are lines: pymatgen would make room for all of them."""
    lines = text.splitlines()
    counts = next((line.split() for line in lines[5:7] if line.split() and line.split()[0].lstrip("+").isdigit()), [])
    atoms = sum(int(count[:20]) for count in counts if count.lstrip("+").isdigit())
    if atoms > len(lines):
        raise Unreadable("unreadable", f"is no POSCAR: it claims {atoms:,} atoms, and has {len(lines):,} lines")


def _poscar(path: Path) -> Crystal:
    from pymatgen.io.vasp.inputs import BadPoscarWarning  # loads most of scipy

    text = _text(path)
    try:
        _check_poscar_counts(text)
        with parsing("is no POSCAR", BadPoscarWarning), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Without symbols pymatgen makes elements up, and only warns: a prediction for them would be worth nothing.
            warnings.simplefilter("error", BadPoscarWarning)
            return from_pymatgen(Structure.from_str(text, fmt="poscar"))
    except Unreadable as fault:
        if _is_poscar_name(path) or fault.rule != "unreadable":
            raise
        raise Unreadable("unreadable", _not_read()) from None


def _not_read() -> str:
    return f"is in no format that is read here: {FORMATS}; {TABLES}"


def _table(path: Path) -> Iterator[Row]:
    number, message = 0, "has no rows"
    try:
        for number, values in enumerate(rows_of(path, STRUCTURAL), start=1):
            yield row_of(number, values)
    except InputError as error:
        number, message = 0, str(error)
    if not number:
        yield _refused(path, message)


def _json(path: Path) -> Iterator[Row]:
    """A table, a structure as pymatgen writes it or a list of them, or an ASE database."""
    key = _first_key(path)
    if key in {"ids", "nextid"} or key.isdigit():
        from crystals.ase_files import frames_of  # loads scipy

        yield from _numbered(path, frames_of(path, ASE_JSON))
    elif key in {"lattice", "sites"}:
        yield Row(_name(path), {}, lambda: crystal_of({"structure": _text(path)}))
    else:
        yield from _json_rows(path)


def _json_rows(path: Path) -> Iterator[Row]:
    try:
        for number, values in enumerate(rows_of(path, STRUCTURAL)):
            if isinstance(values.get("lattice"), dict) and "sites" in values:
                name = values.get(MATERIAL_ID) or _name(path, number)
                yield Row(str(name), {}, partial(crystal_of, {"structure": values}))
            else:
                yield row_of(number + 1, values)
    except InputError as error:
        yield _refused(path, str(error))


def _first_key(path: Path) -> str:
    """The first key of a JSON object that tells what it is; "" for a list, and where none does."""
    try:
        with opened(path) as file:
            for prefix, event, value in ijson.parse(DepthLimited(file)):
                if not prefix and event == "start_array":
                    return ""
                known = {"lattice", "sites", "ids", "nextid", "columns", "data", "index"}
                if not prefix and event == "map_key" and (value in known or value.isdigit()):
                    return str(value)
    except (ijson.JSONError, OSError, EOFError, zlib.error, ValueError):  # as a table it is refused with the reason
        return ""
    return ""

"""Structures in some of the formats that ASE reads: those that hold data and nothing else.

None is unpickled (`.pckl`) or run (`.py`), and none names other files to be read.
"""

import io
import itertools
import re
import shutil
import struct
import tempfile
import warnings
import zlib
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import ase.io
import ase.io.aims
import ase.io.trajectory
from ase import Atoms
from ase.io.formats import UnknownFileTypeError, filetype, ioformats

from crystals.input_files import ASE_FORMATS, opened
from crystals.sources.reading import PARSER_ERRORS, Read, Unreadable, from_atoms, one_line

PIECE = 1_000_000  # characters of an extended XYZ file that are in memory at a time
MOST_COLUMNS = 1000  # of a line of an atom in extended XYZ
SHELX_INSTRUCTIONS = {"FVAR", "HKLF", "PLAN", "REM", "SIZE", "TEMP", "UNIT", "WGHT", "ZERR"}  # that numbers follow
# What ASE takes for an atom in SHELX: label, number in SFAC, three coordinates, and an occupancy that it passes over.
SHELX_ATOM = re.compile(r"(\w+)\s+[0-9]+(?:\s+[0-9\-.]+){3}\s+([0-9\-.]\S*)")

# What ASE's parsers raise on a file that is not of their format, besides what pymatgen's do.
ASE_ERRORS = (
    *(*PARSER_ERRORS, OSError, EOFError, StopIteration, SyntaxError, struct.error, zlib.error),
    *(ase.io.ParseError, ase.io.aims.AimsParseError, ase.io.trajectory.VersionTooOldError),
)


def ase_format(path: Path) -> str | None:
    """The file's format, if it is one of ASE_FORMATS."""
    try:
        kind = filetype(str(path.absolute()))
    except (UnknownFileTypeError, OSError, EOFError, zlib.error):
        return None
    return kind if kind in ASE_FORMATS else None


def frames_of(path: Path, kind: str) -> Iterator[Read]:
    """Each frame; where one cannot be read, the reason in its place, and nothing after it."""
    try:
        with _named_plainly(path, kind) as file:
            if kind == "extxyz":
                _check_counts(file)
            if kind == "res":
                _check_shelx(file)
            frames = _frames_of_xyz(file) if kind == "extxyz" else _iread(file, kind)
            while found := _next_quietly(frames):
                yield _converted(*found)
    except Unreadable as fault:
        yield fault
    except ASE_ERRORS as error:
        yield Unreadable("unreadable", f"{ASE_FORMATS.get(kind, 'ASE database')}: {one_line(error)}")


def _iread(file: Path | IO[str], kind: str) -> Iterator[Atoms]:
    return ase.io.iread(file, index=":", format=kind, do_not_split_by_at_sign=True)


def _frames_of_xyz(path: Path) -> Iterator[Atoms]:
    """The frames as ASE reads them, which keeps a list of where each begins: it gets a piece of the file at a time."""
    try:
        deque(_pieces_of_xyz(path), maxlen=0)
    except ValueError:
        yield from _iread(path, "extxyz")  # it says what is wrong
        return
    for piece in _pieces_of_xyz(path):
        yield from _iread(io.StringIO(piece), "extxyz")


def _pieces_of_xyz(path: Path) -> Iterator[str]:
    """The text of some frames at a time. Raises ValueError where ASE finds no frame in the file's text."""
    with path.open(encoding="utf-8") as file:
        lines: list[str] = []
        size = 0
        header = file.readline()
        while header.strip():
            frame = [header, *itertools.islice(file, 1 + max(0, int(header)))]
            vectors = 0
            while (header := file.readline()).lstrip().startswith("VEC"):
                frame.append(header)
                vectors += 1
            if vectors > 3:
                raise ValueError("more than three lines VEC")
            lines += frame
            size += sum(map(len, frame))
            if size > PIECE:
                yield "".join(lines)
                lines, size = [], 0
        yield "".join(lines)


def _check_counts(path: Path) -> None:
    """Raises Unreadable where a frame claims more than its file holds: ASE would read on, or allocate, for as much.

    Frames are read as ASE reads them: a line with the number of atoms, a comment, the atoms, at most three lines VEC.
    """
    with path.open("rb") as file:
        lines = sum(1 for _ in file)
        file.seek(0)
        header = file.readline()
        while header.strip():
            try:
                atoms = int(header[:100].decode("utf-8", "replace"))
            except ValueError:
                return  # ASE says what is wrong with it
            if atoms > lines:
                raise Unreadable("unreadable", f"a frame claims {atoms:,} atoms, the file has {lines:,} lines")
            widths = [int(width[:20]) for width in re.findall(rb":[A-Z]:(\d+)", file.readline())]
            if sum(widths) > MOST_COLUMNS:
                raise Unreadable("unreadable", f"a frame claims {sum(widths):,} columns; {MOST_COLUMNS:,} are read")
            for _ in range(atoms):
                file.readline()
            header = file.readline()
            while header.lstrip().startswith(b"VEC"):
                header = file.readline()


def _check_shelx(path: Path) -> None:
    """Raises Unreadable where not every atom of the cell is listed, or one is there in part: ASE would not notice.

    AIRSS, pymatgen and ASE write LATT -1 and occupancies of 1.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    values = {words[0].upper(): words[1:2] for words in map(str.split, lines) if words}
    if "SYMM" in values:
        fault = "has symmetry operations (SYMM)"
    elif not values.get("LATT"):
        fault = "has no LATT, which means LATT 1"  # a centre of inversion
    else:
        fault = "" if values["LATT"] == ["-1"] else f"has LATT {values['LATT'][0]}"
    if fault:
        only = "only files that list every atom of the cell are read, with LATT -1"
        raise Unreadable("unreadable", f"SHELX: {fault}; {only}")
    elements: list[str] = []
    for line in itertools.dropwhile(lambda line: line.split()[:1] != ["SFAC"], lines):
        words, atom = line.split(), SHELX_ATOM.search(line)
        if words and words[0].upper() in SHELX_INSTRUCTIONS:
            continue
        elements = words[1:] if words[:1] == ["SFAC"] else elements
        if atom is None:
            if _names_an_atom(words, elements):
                raise Unreadable(
                    "unreadable", f"SHELX: {' '.join(words)[:80]}: an atom needs three plain numbers and 1"
                )
            continue
        label, occupancy = atom.groups()
        if not re.fullmatch(r"1?1(\.0*)?", occupancy):
            only = "only 1 is read, or 11, a fixed 1"
            raise Unreadable("ordered", f"SHELX: an atom of {label} has the occupancy {occupancy}; {only}")


def _names_an_atom(words: list[str], elements: list[str]) -> bool:
    """Does a line begin with the symbol of an element and its number in SFAC, as that of an atom does?"""
    if len(words) < 3 or not words[1].isdecimal() or not 0 < int(words[1][:4]) <= len(elements):
        return False
    return words[0].upper().startswith(elements[int(words[1][:4]) - 1].upper())


def _next_quietly(frames: Iterator[Atoms]) -> tuple[Atoms] | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for atoms in frames:
            return (atoms,)  # an Atoms object without atoms counts as false
    return None


def _converted(atoms: Atoms) -> Read:
    try:
        return from_atoms(atoms)
    except Unreadable as fault:
        return fault


@contextmanager
def _named_plainly(path: Path, kind: str) -> Iterator[Path]:
    """The file, or an unpacked copy where ASE wants a name: some readers take `*` and `[` in it as a pattern."""
    if ioformats[kind].acceptsfd and path.suffix.lower() != ".gz":
        yield path.absolute()
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"structure.{kind}"
        with opened(path) as packed, copy.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
        yield copy

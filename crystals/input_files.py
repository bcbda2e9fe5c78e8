"""Which files hold structures, how they are opened, and what the inputs of a prediction contain, as one digest.

Imports neither pymatgen nor ASE: whether the inputs are those of an earlier run is known before a program is started.
"""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from storage.artefact import digest_of_file

IN_FOLDERS = (".cif", ".vasp", ".poscar", ".xyz", ".extxyz", ".traj", ".pwi", ".gen", ".res", ".xsf", "geometry.in")
# ASE's name of a format → ours. Each is text or arrays alone, and names no other file.
ASE_FORMATS = {
    "extxyz": "extended XYZ (.xyz, .extxyz)",
    "traj": "ASE trajectory (.traj)",
    "aims": "FHI-aims (geometry.in)",
    "espresso-in": "Quantum ESPRESSO input (.pwi)",
    "gen": "DFTB+ (.gen)",
    "res": "SHELX (.res)",
    "xsf": "XCrySDen (.xsf)",
}
ASE_JSON = "json"  # an ASE database in one JSON file


def opened(path: Path) -> IO[bytes]:
    """The file's bytes, unpacked if its name ends in .gz."""
    return gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb")  # type: ignore[return-value]


def is_structure_name(name: str) -> bool:
    """Whether a file of this name is taken from a folder."""
    plain = name.lower().removesuffix(".gz")
    return plain.endswith(IN_FOLDERS) or plain.startswith(("poscar", "contcar"))


def structure_names(folder: Path) -> list[str]:
    """The names of the files that are taken from a folder, sorted."""
    with os.scandir(folder) as found:
        return sorted(entry.name for entry in found if is_structure_name(entry.name))


def digest_of_inputs(files: Iterable[str]) -> str:
    """sha256 over the names, as they were given, and the bytes of files, folders and tables, in their order.

    What is read once and gone, as a pipe is, has another digest each time.
    """
    found = hashlib.sha256()
    for name in files:
        for entry in _entries(Path(name)):
            found.update(json.dumps([name, *entry]).encode() + b"\n")
    return found.hexdigest()


def _entries(path: Path) -> Iterator[tuple[str, str | None]]:
    if path.is_dir():
        yield "a folder", None
        for name in structure_names(path):
            inside = path / name
            yield name, _digest(inside) if inside.is_file() else None
    else:
        yield "a file", _digest(path) if path.is_file() else os.urandom(16).hex()


def _digest(path: Path) -> str | None:
    try:
        return digest_of_file(path)
    except OSError:
        return None  # it will be refused as one that cannot be read

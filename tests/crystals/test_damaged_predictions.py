"""Damaged inputs of a prediction: each is refused with a reason, and none of them stops the others."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

from crystals import predict_inputs
from crystals.config import GraphConfig
from storage.exchange import taken

CIF = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]]).to(fmt="cif")
POSCAR = "salt\n1.0\n5.64 0 0\n0 5.64 0\n0 0 5.64\nNa Cl\n1 1\nDirect\n0 0 0\n0.5 0.5 0.5\n"
DEEP = "[" * 100_000

Made = bytes | str | Callable[[Path], None]


def of_table(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def make(path: Path, content: Made) -> None:
    """What `content` says, at that path."""
    if callable(content):
        content(path)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


INPUTS: dict[str, tuple[str, Made, str | None]] = {
    "a POSCAR": ("POSCAR", POSCAR, None),
    "a POSCAR without symbols": ("POSCAR", POSCAR.replace("Na Cl\n", ""), "Elements in POSCAR cannot be determined"),
    "a POSCAR cut short": ("POSCAR", POSCAR[:30], "is no POSCAR"),
    "an empty POSCAR": ("POSCAR", "", "Empty POSCAR"),
    "a POSCAR with more atoms than lines": ("POSCAR", POSCAR.replace("1 1", "1 9"), "IndexError: list index"),
    "a POSCAR with 1e12 atoms": ("POSCAR", POSCAR.replace("1 1", "999999999999 1"), "is no POSCAR"),
    "a POSCAR with no atoms": ("POSCAR", POSCAR.replace("1 1", "0 0"), "at least 1 site"),
    "a POSCAR with -1 atoms": ("POSCAR", POSCAR.replace("1 1", "-1 1"), "is no POSCAR"),
    "a POSCAR of scale 0": ("POSCAR", POSCAR.replace("1.0", "0"), "a lattice vector is 0 Å long"),
    "a POSCAR of scale NaN": ("POSCAR", POSCAR.replace("1.0", "nan"), "not finite"),
    "a POSCAR of infinity": ("POSCAR", POSCAR.replace("5.64 0 0", "inf 0 0"), "not finite"),
    "a POSCAR of 1e300 Å": ("POSCAR", POSCAR.replace("5.64 0 0", "1e300 0 0"), "a component of 1e+300 Å"),
    "a POSCAR with NaN": ("POSCAR", POSCAR.replace("0.5 0.5 0.5", "nan 0 0"), "a coordinate that is not finite"),
    "a POSCAR of no element": ("POSCAR", POSCAR.replace("Na", "Xx"), "site 0 holds Xx, which is no element"),
    "a POSCAR in UTF-16": ("POSCAR", POSCAR.encode("utf-16"), "is no POSCAR"),
    "an image": ("x.png", b"\x89PNG\r\n\x1a\n", "is in no format that is read here"),
    "an empty CIF": ("x.cif", "", "CIF: "),
    "a CIF of NULs": ("x.cif", "\0", "CIF: "),
    "a packed CIF without its name": ("x.cif", gzip.compress(CIF.encode()), "CIF: "),
    "a packed CIF, truncated": ("x.cif.gz", gzip.compress(CIF.encode())[:-9], "cannot be read: Compressed file ended"),
    "a table without structures": ("x.csv", "a,b\n1,2\n", "has no structure or cif or lattice"),
    "a table without rows": ("x.csv", "cif\n", "has no rows"),
    "a Parquet table without rows": ("x.parquet", of_table(pa.table({"cif": ["x"]})[:0]), "has no rows"),
    "a table with one name twice": ("x.parquet", of_table(pa.table([["a"], ["b"]], names=["cif", "cif"])), "same name"),
    "a table of 100,000 levels": ("x.json", DEEP, "nests deeper than 200 levels"),
    "an object of 100,000 levels": ("x.json", '{"a": ' + DEEP, "nests deeper than 200 levels"),
    "a table that is none": ("x.parquet", b"x", "is not what its name says"),
    "a table with a broken line": ("x.jsonl", "{x\n", "line 1 is not JSON"),
    "a folder with a link that leads nowhere": ("f/x.cif", lambda path: path.symlink_to("no"), "is no file"),
    "a folder with a folder": ("f/x.cif", lambda path: path.mkdir(), "is no file"),
    "a folder with a pipe": ("f/x.cif", os.mkfifo, "is no file"),
    "a folder with nothing": ("f/readme.txt", "", "the folder has no file that is read in folders"),
}


@pytest.mark.parametrize("name", INPUTS)
def test_a_damaged_input_of_a_prediction(name, tmp_path):
    file, content, message = INPUTS[name]
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    make(path, content)
    (tmp_path / "out").mkdir()
    given = path.parent if "/" in file else path
    spec = predict_inputs.InputsSpec(output=tmp_path / "out", scratch=tmp_path, files=[given], config=GraphConfig())
    assert predict_inputs.build(spec) == {"rows": 1, "refused": int(message is not None)}
    (batch,) = taken(tmp_path / "out")
    (found,) = batch["inputs"].to_pylist()
    assert (found["error"] is None) == (message is None)
    assert message is None or message in found["error"]

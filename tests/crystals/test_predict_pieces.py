"""Inputs in pieces: the same structures, in whatever files they lie and wherever an earlier run has stopped."""

import json
import threading
import tracemalloc
from pathlib import Path

import ase.io
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ase import Atoms
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crystals import ase_files
from crystals.config import GraphConfig
from crystals.predict_inputs import InputsSpec, build
from crystals.sources import batches, files
from crystals.structure_files import rows_in
from storage.exchange import taken

COUNT = 40
BATCH = 8
PAGE = 10_000  # bytes


def values(number: int) -> dict[str, object]:
    """A crystal of one atom; every tenth cannot be predicted."""
    edge = 0.0 if number % 10 == 9 else 2.5 + 0.01 * number
    lattice = [edge, 0.0, 0.0, 0.0, edge, 0.0, 0.0, 0.0, edge]
    return {"material_id": f"s-{number}", "lattice": lattice, "atomic_numbers": [11], "frac_coords": [0.0, 0.0, 0.0]}


ROWS = [values(number) for number in range(COUNT)]


def write_rows(rows: list[dict[str, object]], path: Path) -> None:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, data_page_size=PAGE, use_dictionary=False, compression="none")
    elif path.suffix == ".csv":
        lines = [",".join(json.dumps(json.dumps(v)) if isinstance(v, list) else v for v in r.values()) for r in rows]
        path.write_text("\n".join([",".join(ROWS[0]), *lines]))
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows))
    else:
        path.write_text("\n".join(map(json.dumps, rows)))


def offered(paths: list[Path], folder: Path, skip: int = 0) -> list[tuple[pa.Table, pa.Table]]:
    """The batches of the program that reads the files."""
    folder.mkdir()
    spec = InputsSpec(output=folder, scratch=folder, files=paths, config=GraphConfig(), skip=skip)
    thread = threading.Thread(target=build, args=[spec], daemon=True)
    thread.start()
    found = [(tables["inputs"], tables["graphs"]) for tables in taken(folder)]
    thread.join()
    return found


@pytest.fixture(scope="module", autouse=True)
def small_batches():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "BATCH", BATCH)
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The batches of one table with all rows."""
    folder = tmp_path_factory.mktemp("whole")
    write_rows(ROWS, folder / "all.jsonl")
    found = offered([folder / "all.jsonl"], folder / "out")
    assert [len(inputs) for inputs, _ in found] == [BATCH] * (COUNT // BATCH)
    assert sum(len(graphs) for _, graphs in found) == COUNT - COUNT // 10
    return found


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(
        st.tuples(st.integers(1, COUNT), st.sampled_from([".parquet", ".csv", ".json", ".jsonl"])), min_size=1
    )
)
def test_however_the_rows_are_divided_into_files_the_batches_are_the_same(whole, tmp_path_factory, pieces):
    folder, paths, first = tmp_path_factory.mktemp("pieces"), [], 0
    for length, suffix in [*pieces, (COUNT, ".jsonl")]:
        if rows := ROWS[first : first + length]:
            paths.append(folder / f"piece-{len(paths)}{suffix}")
            write_rows(rows, paths[-1])
            first += length
    assert offered(paths, folder / "out") == whole


@pytest.mark.parametrize("done", range(COUNT // BATCH + 1))
def test_after_the_structures_that_are_passed_over_the_batches_are_the_same(whole, tmp_path, done):
    write_rows(ROWS, tmp_path / "all.jsonl")
    assert offered([tmp_path / "all.jsonl"], tmp_path / "out", skip=done * BATCH) == whole[done:]


def test_structures_that_are_passed_over_are_not_parsed(tmp_path, monkeypatch):
    """A file of one structure is opened, to count its structures, and no more."""
    atoms = Atoms("Na", cell=[3, 3, 3], pbc=True)
    (tmp_path / "cifs").mkdir()
    for number in range(2 * BATCH):
        ase.io.write(tmp_path / "cifs" / f"{number:02}.cif", atoms)
    parsed = []
    monkeypatch.setattr("crystals.structure_files.from_cif", lambda text: parsed.append(text) or values)
    for row in rows_in(tmp_path / "cifs"):
        assert not parsed
        assert row.material_id.endswith(".cif")


def test_extended_xyz_is_read_in_pieces_as_ase_reads_it_whole(tmp_path, monkeypatch):
    """Frames of different sizes, cell vectors in lines of their own, one that is no crystal, and a torn last one."""
    frames = [Atoms("Na" * n, positions=[[0, 0, i] for i in range(n)], cell=[3, 3, 20], pbc=True) for n in (1, 4, 2, 7)]
    frames[1].pbc = False
    path = tmp_path / "frames.extxyz"
    ase.io.write(path, frames)
    plain = "1\nplain\nNa 0 0 0\nVEC1 3 0 0\nVEC2 0 3 0\nVEC3 0 0 3\n"
    path.write_text(path.read_text() + plain + "2\ntorn\nNa 0 0 0\n")

    def read() -> list[object]:
        return [
            found if isinstance(found, tuple) else str(found)
            for found in map(_plain, ase_files.frames_of(path, "extxyz"))
        ]

    at_once = read()
    monkeypatch.setattr(ase_files, "PIECE", 1)
    assert len(list(ase_files._pieces_of_xyz(path))) == 7
    assert read() == at_once
    assert len(at_once) == 6


def _plain(found):
    return found if isinstance(found, Exception) else tuple(array.tolist() for array in found.__dict__.values())


def peak(path: Path) -> int:
    """The largest number of bytes, Python's and Arrow's, while the file's rows are read one after another."""
    before = pa.total_allocated_bytes()
    arrow = 0
    tracemalloc.start()
    for _ in rows_in(path):
        arrow = max(arrow, pa.total_allocated_bytes() - before)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most + arrow


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".json", ".jsonl", ".extxyz"])
def test_a_file_with_four_times_the_structures_needs_no_more_memory(tmp_path, monkeypatch, suffix):
    """The Parquet files have one row group."""
    monkeypatch.setattr(ase_files, "PIECE", PAGE)
    monkeypatch.setattr(files, "BUFFER", PAGE)
    first = {".extxyz": 500, ".parquet": 6000}.get(suffix, 2500)
    paths = [tmp_path / f"{count}{suffix}" for count in (first, 4 * first)]
    for count, path in zip((first, 4 * first), paths, strict=True):
        if suffix == ".extxyz":
            path.write_text('1\nLattice="3 0 0 0 3 0 0 0 3" pbc="T T T"\nNa 0 0 0\n' * count)
        else:
            write_rows([values(number) for number in range(count)], path)
    list(rows_in(paths[0]))  # what is imported and compiled at the first use
    small, large = map(peak, paths)
    assert large < 2 * small, (small, large)

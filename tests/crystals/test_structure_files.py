"""Files of structures: what is read, under which id, and that a bad file is a row with a reason."""

import gzip
import json
import os
import pickle
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from crystals.crystal import Crystal
from crystals.sources.batches import batches_of
from crystals.sources.reading import Unreadable
from crystals.structure_files import ASE_FORMATS, count_in, rows_in
from storage import schemas

SALT = bulk("NaCl", "rocksalt", a=5.64) * (1, 1, 2)
COPPER = bulk("Cu")
NAMES = {
    "extxyz": "salt.extxyz",
    "traj": "salt.traj",
    "aims": "geometry.in",
    "espresso-in": "salt.pwi",
    "gen": "salt.gen",
    "res": "salt.res",
    "xsf": "salt.xsf",
    "vasp": "POSCAR",
    "cif": "salt.cif",
    "json": "salt.json",  # an ASE database
}
SEVERAL = ("extxyz", "traj", "xsf", "cif", "json")


def written(folder: Path, kind: str, atoms: list[Atoms]) -> Path:
    path = folder / NAMES[kind]
    extra = {"pseudopotentials": {"Na": "na.upf", "Cl": "cl.upf"}} if kind == "espresso-in" else {}
    frames = [image.copy() for image in atoms]
    if kind == "res":
        frames = frames[0]  # one a file
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="FHI-aims IO is moving", category=FutureWarning)
        ase.io.write(path, frames, format=kind, **extra)
    return path


def read(path: Path) -> dict[str, Crystal | str]:
    """What is found, by the ends of the ids after the file's name: crystals, or why there is none."""
    found: dict[str, Crystal | str] = {}
    for row in rows_in(path):
        try:
            found[row.material_id.removeprefix(str(path))] = row.read()
        except Unreadable as reason:
            found[row.material_id.removeprefix(str(path))] = str(reason)
    return found


def assert_same(crystal: Crystal, atoms: Atoms) -> None:
    """The same elements, volume and distances; files round differently and may turn the cell."""
    assert isinstance(crystal, Crystal), crystal
    again = Atoms(
        numbers=crystal.atomic_numbers, cell=crystal.lattice, scaled_positions=crystal.frac_coords % 1, pbc=True
    )
    assert sorted(again.numbers) == sorted(atoms.numbers)
    assert again.get_volume() == pytest.approx(atoms.get_volume(), rel=1e-4)
    distances = [np.sort(a.get_all_distances(mic=True).ravel()) for a in (again, atoms)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-3)


def test_the_formats_of_ase_are_all_tried_here():
    assert set(ASE_FORMATS) < set(NAMES)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", NAMES)
def test_a_file_of_one_structure_has_its_path_as_id(kind, packed, tmp_path):
    path = written(tmp_path, kind, [SALT])
    if packed:
        plain, path = path, path.with_name(path.name + ".gz")
        path.write_bytes(gzip.compress(plain.read_bytes()))
    found = read(path)
    assert list(found) == [""]
    assert_same(found[""], SALT)


@pytest.mark.parametrize("kind", SEVERAL)
def test_each_structure_of_a_file_is_a_row(kind, tmp_path):
    images = [SALT, SALT * (2, 1, 1), SALT]
    if kind == "xsf":
        images = [SALT, SALT]
    found = read(written(tmp_path, kind, images))
    assert list(found) == [f"#{n}" for n in range(len(images))]
    for crystal, atoms in zip(found.values(), images, strict=True):
        assert_same(crystal, atoms)


def test_blocks_of_a_cif_with_one_name_and_one_without_atoms(tmp_path):
    path = tmp_path / "two.cif"
    ase.io.write(path, [SALT, COPPER], format="cif")
    text = path.read_text().replace("data_image1", "data_image0")
    path.write_text("data_global\n_journal_year 1999\n" + text + "data_broken\n_atom_site_label X\n")
    found = read(path)
    assert list(found) == ["#0", "#1", "#2"]
    assert_same(found["#0"], SALT)
    assert_same(found["#1"], COPPER)
    assert "CIF" in found["#2"]


def test_structures_as_pymatgen_writes_them(tmp_path):
    structure = Structure(Lattice.cubic(3.6), ["Cu"], [[0, 0, 0]])
    one, several = tmp_path / "one.json", tmp_path / "several.json"
    one.write_text(json.dumps(structure.as_dict()))
    several.write_text(json.dumps([structure.as_dict(), {"lattice": {}, "sites": []}, structure.as_dict()]))
    assert_same(read(one)[""], Atoms("Cu", cell=[3.6] * 3, pbc=True))
    found = read(several)
    assert list(found) == ["#0", "#1", "#2"]
    assert isinstance(found["#1"], str)
    assert_same(found["#2"], Atoms("Cu", cell=[3.6] * 3, pbc=True))


def test_a_slab_as_pymatgen_writes_it_is_refused(tmp_path):
    """Alone, in a list, and in the rows of a table, as a dict or as text."""
    slab = Structure(Lattice.cubic(3.6, pbc=(True, True, False)), ["Cu"], [[0, 0, 0]]).as_dict()
    lengths = {name: value for name, value in slab["lattice"].items() if name != "matrix"}
    files = {
        "one.json": json.dumps(slab),
        "lengths.json": json.dumps({"lattice": lengths, "sites": slab["sites"]}),
        "several.json": json.dumps([slab]),
        "table.jsonl": json.dumps({"material_id": "a", "structure": slab}),
        "text.jsonl": json.dumps({"material_id": "a", "structure": json.dumps(slab)}),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (reason,) = read(tmp_path / name).values()
        assert reason == "is not periodic in three directions (pbc T T F)", name


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (Atoms("H2", [[0, 0, 0], [0, 0, 0.7]]), "is not periodic in three directions (pbc F F F, no cell)"),
        (Atoms("Cu", cell=[3, 3, 20], pbc=(True, True, False)), "is not periodic in three directions (pbc T T F)"),
        (Atoms("X", cell=[3, 3, 3], pbc=True), "0 is no atomic number"),
    ],
)
def test_what_is_no_crystal_is_refused_and_its_neighbours_are_not(atoms, reason, tmp_path):
    path = written(tmp_path, "extxyz", [COPPER, atoms, COPPER])
    found = read(path)
    assert found["#1"] == reason
    assert_same(found["#0"], COPPER)
    assert_same(found["#2"], COPPER)


@pytest.mark.parametrize("kind", ["extxyz", "traj"])
def test_a_site_that_elements_share_is_refused_as_in_a_cif(kind, tmp_path):
    """As ASE reads it from a CIF: the symbol is the most frequent element's, the shares are in `info`."""
    shared = COPPER.copy()
    shared.info["occupancy"] = {"0": {"Cu": 0.6, "Au": 0.4}}
    whole = COPPER.copy()
    whole.info["occupancy"] = {"0": {"Cu": 1.0}}
    found = read(written(tmp_path, kind, [shared, whole]))
    assert found["#0"] == "sites of kind 0 are occupied by Cu:0.6, Au:0.4"
    assert_same(found["#1"], COPPER)


@pytest.mark.parametrize("said", [0.5, "half", [1, 2], {"0": 0.5}])
def test_an_occupancy_that_is_not_of_sites_says_nothing(said, tmp_path):
    """`occupancy=0.5` in extended XYZ may be of anything: of the pores, of a band."""
    loaded = COPPER.copy()
    loaded.info["occupancy"] = said
    assert_same(read(written(tmp_path, "extxyz", [loaded]))[""], COPPER)


CELL = "TITL x\nCELL 0.71073 4.59 4.59 2.96 90 90 90\nZERR 2 0 0 0 0 0 0\n"
RUTILE = "SFAC Ti O\nUNIT 2 4\nTi 1 0 0 0 {}\nO 2 0.305 0.305 0 {}\nHKLF 4\nEND\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (CELL + "LATT 1\nSYMM -X+0.5, Y+0.5, -Z+0.5\n" + RUTILE, "SHELX: has symmetry operations (SYMM)"),
        (CELL + "latt -1\nsymm -X, -Y, Z\n" + RUTILE, "SHELX: has symmetry operations (SYMM)"),
        (CELL + "LATT 1\n" + RUTILE, "SHELX: has LATT 1"),
        (CELL + "LATT -2\n" + RUTILE, "SHELX: has LATT -2"),
        (CELL + RUTILE, "SHELX: has no LATT, which means LATT 1"),
        (CELL + "LATT\n" + RUTILE, "SHELX: has no LATT, which means LATT 1"),
    ],
)
def test_a_file_of_shelx_whose_symmetry_makes_further_atoms_is_refused(text, reason, tmp_path):
    """ASE reads the atoms that are listed: TiO from rutile."""
    path = tmp_path / "rutile.res"
    path.write_text(text.format("1.0", "1.0"))
    found = read(path)[""]
    assert found == f"{reason}; only files that list every atom of the cell are read, with LATT -1"


@pytest.mark.parametrize("occupancy", ["0.5", "10.5", "21.0", "-21.0", "5e-1", "1.0(1)"])
def test_an_atom_in_a_file_of_shelx_that_is_there_in_part_is_refused(occupancy, tmp_path):
    path = tmp_path / "titanium_oxide.res"
    path.write_text(CELL + "LATT -1\n" + RUTILE.format("11.00000", occupancy))
    assert read(path)[""] == f"SHELX: an atom of O has the occupancy {occupancy}; only 1 is read, or 11, a fixed 1"


@pytest.mark.parametrize("atom", ["O 2 0.305 0.305 0", "O1 2 3.05e-01 0.305 0 1.0", "O 2 0.305 0.305 0 ="])
def test_an_atom_in_a_file_of_shelx_that_ase_would_pass_over_is_refused(atom, tmp_path):
    path = tmp_path / "titanium_oxide.res"
    path.write_text(CELL + "LATT -1\n" + RUTILE.format(1, 1).replace("HKLF 4", atom))
    assert read(path)[""] == f"SHELX: {atom}: an atom needs three plain numbers and 1"


@pytest.mark.parametrize("occupancy", ["1", "1.0", "11.0", "11.00000 0.05"])
def test_a_file_of_shelx_that_lists_every_atom_is_read(occupancy, tmp_path):
    """1.0 is written by AIRSS, pymatgen and ASE; 11 is SHELX's 1 that is not refined."""
    path = tmp_path / "titanium_oxide.res"
    path.write_text(CELL + "LATT -1\n" + RUTILE.format(occupancy, occupancy))
    assert_same(read(path)[""], Atoms("TiO", scaled_positions=[[0, 0, 0], [0.305, 0.305, 0]], cell=[4.59, 4.59, 2.96]))


def test_the_frames_before_a_broken_one_are_kept(tmp_path):
    path = written(tmp_path, "extxyz", [COPPER, COPPER])
    path.write_text(path.read_text() + "2\n\nCu 0 0 0\n")
    found = read(path)
    assert_same(found["#0"], COPPER)
    assert_same(found["#1"], COPPER)
    assert "extended XYZ (.xyz, .extxyz)" in found["#2"]


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (Path.touch, (self.mark,))


@pytest.mark.parametrize("name", ["x.py", "x.pckl", "x.traj", "x.db", "x.json", "x.bundle", "PickleTrajectory.traj"])
def test_no_file_is_run_or_unpickled(name, tmp_path):
    mark, path = tmp_path / "mark", tmp_path / name
    path.write_bytes(pickle.dumps(Bomb(mark)))
    if name == "x.py":
        path.write_text(f"open({str(mark)!r}, 'w')\natoms = None\n")
    (reason,) = read(path).values()
    assert isinstance(reason, str)
    assert not mark.exists()
    if name in {"x.py", "x.pckl", "x.db"}:
        assert "extended XYZ" in reason
        assert "POSCAR" in reason


def test_the_first_frame_of_an_xdatcar_is_not_taken_for_a_poscar(tmp_path):
    path = tmp_path / "XDATCAR"
    ase.io.write(path, [SALT, SALT], format="vasp-xdatcar")
    assert "is in no format that is read here" in read(path)[""]


@pytest.mark.parametrize("name", ["a*.res", "[a].res", "a@1.extxyz", "postgres.extxyz", "a b.res"])
def test_a_name_is_a_name_and_no_pattern(name, tmp_path):
    kind = "res" if name.endswith("res") else "extxyz"
    written(tmp_path, kind, [COPPER]).rename(tmp_path / f"abc.{kind}")
    path = written(tmp_path, kind, [SALT]).rename(tmp_path / name)
    (crystal,) = read(path).values()
    assert_same(crystal, SALT)


def test_a_name_that_is_no_utf8_spoils_its_own_letter(tmp_path):
    path = written(tmp_path, "cif", [SALT])
    path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/latin\xe9.cif"))
    schema = schemas.structures([], [])
    (batch,) = batches_of(rows_in(tmp_path), schema)
    assert [Path(name).name for name in batch["material_id"].to_pylist()] == ["latin�.cif"]
    assert batch["fault_rule"].null_count == 1


def test_a_folder_gives_the_files_whose_names_say_that_they_are_structures(tmp_path):
    for kind in ("cif", "vasp", "extxyz", "res"):
        written(tmp_path, kind, [SALT])
    (tmp_path / "README.txt").write_text("hello")
    (tmp_path / "INCAR").write_text("ENCUT = 500")
    found = [Path(row.material_id).name for row in rows_in(tmp_path)]
    assert found == sorted(NAMES[kind] for kind in ("cif", "vasp", "extxyz", "res"))
    assert count_in([tmp_path / "salt.cif", tmp_path / "POSCAR"]) == 2
    assert count_in([tmp_path]) == 0  # an extxyz may have any number
    (tmp_path / "empty").mkdir()
    assert "no file" in read(tmp_path / "empty")[""]


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("samples")
    return {kind: written(folder, kind, [SALT, SALT][: 1 + (kind in SEVERAL)]).read_bytes() for kind in NAMES}


@pytest.mark.parametrize("count", [b"10000000000", b"99999999999999999999999999"])
def test_a_frame_that_claims_more_atoms_than_there_are_lines_is_refused_at_once(samples, tmp_path, count):
    path = tmp_path / "x.extxyz"
    path.write_bytes(samples["extxyz"].replace(samples["extxyz"].splitlines()[0], count, 1))
    (reason,) = read(path).values()
    assert "atoms, the file has" in reason


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(kind=st.sampled_from(sorted(NAMES)), data=st.data())
def test_a_damaged_file_is_rows_with_reasons_and_never_an_exception(samples, tmp_path, kind, data):
    content = bytearray(samples[kind])
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["cut", "byte", "line", "number"]))
        if how == "cut":
            del content[where:]
        elif how == "byte":
            content[where] = data.draw(st.integers(0, 255))
        elif how == "line":
            del content[where : content.find(b"\n", where) + 1]
        else:
            content[where:where] = data.draw(st.sampled_from([b"nan", b"1e400", b"-1", b"99999999999999999999", b"\0"]))
        if not content:
            break
    path = tmp_path / NAMES[kind]
    path.write_bytes(bytes(content))
    found = read(path)
    assert found
    assert all(isinstance(one, Crystal) or one for one in found.values())

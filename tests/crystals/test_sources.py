"""Sources: one crystal, however it is written down; and what is said where it cannot be read."""

import gzip
import json
import math
import os
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from pymatgen.core import Lattice, Structure

from crystals import download
from crystals.config import MaterialsProjectQuery
from crystals.sources.materials_project import MaterialsProject
from crystals.sources.registry import SOURCES, check_source, open_source
from storage.errors import InputError
from storage.schemas import structures

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
DISORDERED = Structure(Lattice.cubic(3.6), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]])
ARRAYS = {
    "lattice": SALT.lattice.matrix.ravel().tolist(),
    "species": [str(s) for s in SALT.species],
    "frac_coords": SALT.frac_coords.ravel().tolist(),
}


def read(path) -> list[dict]:
    """The rows of the structures table that a source gives."""
    source = open_source(str(path))
    schema = structures(source.targets(), source.splits())
    return [row for batch in source.batches(schema) for row in batch.to_pylist()]


def is_salt(row: dict) -> bool:
    return (
        row["formula"] == "NaCl"
        and sorted(row["atomic_numbers"]) == [11] * 4 + [17] * 4
        and row["lattice"] == pytest.approx(ARRAYS["lattice"])
        and row["fault_rule"] is None
    )


def written(folder, form: str):
    """The same one-row table in each of the layouts that a source takes."""
    row = {"material_id": "a", "gap": 5.0, **ARRAYS}
    path = folder / f"table.{form.rpartition(' ')[2]}"
    if form == "arrays .parquet":
        pq.write_table(pa.Table.from_pylist([row]), path)
    elif form == "arrays .csv":
        cells = [json.dumps(value) if isinstance(value, list) else str(value) for value in row.values()]
        quoted = ['"' + cell.replace('"', '""') + '"' for cell in cells]
        path.write_text(",".join(row) + "\n" + ",".join(quoted) + "\n")
    elif form == "arrays .jsonl":
        path.write_text(json.dumps(row) + "\n")
    elif form == "3×3 lists .json":
        nested = {"lattice": SALT.lattice.matrix.tolist(), "frac_coords": SALT.frac_coords.tolist()}
        path.write_text(json.dumps([row | nested]))
    elif form == "cif .jsonl":
        path.write_text(json.dumps({"material_id": "a", "gap": 5.0, "cif": SALT.to(fmt="cif")}))
    elif form == "structure .jsonl":
        path.write_text(json.dumps({"material_id": "a", "gap": 5.0, "structure": SALT.as_dict()}))
    elif form == "Matbench .json":
        matbench = {"index": ["a"], "columns": ["structure", "gap"], "data": [[SALT.as_dict(), 5.0]]}
        path.write_text(json.dumps(matbench))
    return path


FORMS = (
    "arrays .parquet",
    "arrays .csv",
    "arrays .jsonl",
    "3×3 lists .json",
    "cif .jsonl",
    "structure .jsonl",
    "Matbench .json",
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("packed", [False, True])
def test_every_layout_gives_the_same_crystal(tmp_path, form, packed):
    path = written(tmp_path, form)
    if packed:
        plain, path = path, path.with_name(path.name + ".gz")
        path.write_bytes(gzip.compress(plain.read_bytes()))
    (row,) = read(path)
    assert is_salt(row)
    assert row["material_id"] == "a"
    assert row["gap"] == 5.0


def test_a_folder_of_cifs_as_the_original_takes_it(tmp_path):
    (tmp_path / "salt.cif").write_text(SALT.to(fmt="cif"))
    (tmp_path / "alloy.cif").write_text(DISORDERED.to(fmt="cif"))
    (tmp_path / "id_prop.csv").write_text("salt,5.0\nalloy,1.0\ngone,2.0\n")
    (tmp_path / "atom_init.json").write_text("{}")
    (tmp_path / "alloy.cif").rename(tmp_path / "alloy.CIF")
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/latin\xe9.cif")).write_text("of another archive")
    salt, alloy, gone = read(tmp_path)
    assert is_salt(salt)
    assert salt["target"] == 5.0
    assert (alloy["fault_rule"], gone["fault_rule"]) == ("ordered", "unreadable")
    assert "gone.cif" in gone["fault_message"]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ({"structure": DISORDERED.as_dict()}, "ordered"),
        ({"structure": {"sites": "none"}}, "unreadable"),
        ({"structure": None}, "unreadable"),
        ({"cif": "data_x\n_cell_length_a nonsense"}, "unreadable"),
        ({**ARRAYS, "species": ["Xx"] * 8}, "elements"),
    ],
)
def test_a_row_that_cannot_be_read_is_a_row_with_a_fault(tmp_path, row, rule):
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps({"material_id": "ok", "gap": 1.0, **ARRAYS, "structure": None, "cif": None}) + "\n")
    with path.open("a") as file:
        file.write(json.dumps({"material_id": "bad", "gap": 1.0, **row}) + "\n")
    bad = read(path)[1]
    assert bad["fault_rule"] == rule
    assert bad["fault_message"]
    assert bad["lattice"] is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.parquet", b"not parquet", "x.parquet: is not what its name says"),
        ("x.csv.gz", b"not gzip", "x.csv.gz: is not what its name says"),
        ("x.csv", b"", "has no rows"),
        ("x.csv", b"lattice,gap\n", "has no rows"),
        ("x.json", b'{"a": 1}', "expected a list"),
        ("x.json", b"[1, 2", "is not what its name says"),
        ("x.jsonl", b'{"gap": 1.0}', "no structure, cif or lattice column; it has gap"),
        ("x.txt", b"", "unknown kind of file"),
    ],
)
def test_a_file_that_is_no_table_is_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as fault:
        check_source(str(tmp_path / name), None)
    assert message in str(fault.value)
    assert "\n" not in str(fault.value)


def test_a_target_that_is_not_there_is_told_with_those_that_are(tmp_path):
    path = written(tmp_path, "arrays .jsonl")
    with pytest.raises(InputError, match="no target 'bandgap'; it has gap"):
        check_source(str(path), "bandgap")
    assert check_source(str(path), None).target == "gap"


def test_a_target_whose_first_values_are_missing_is_found(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [{"gap": None if n < 300 else 1.0, "note": "none", **ARRAYS} for n in range(302)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert open_source(str(path)).targets() == ["gap"]


def test_nan_as_python_writes_it_is_a_value_that_is_not_finite(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps([{"gap": value, **ARRAYS} for value in (1.0, math.nan, 3.0)]))
    assert [row["gap"] for row in read(path)] == [1.0, pytest.approx(math.nan, nan_ok=True), 3.0]


def test_a_byte_that_is_no_utf8_spoils_no_other_row(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [{"material_id": name, "gap": 1.0, **ARRAYS} for name in ("a", "Br?hler", "c")]
    path.write_bytes("\n".join(map(json.dumps, rows)).encode().replace(b"?", b"\xf6"))
    found = read(path)
    assert all(map(is_salt, found))
    assert [row["material_id"] for row in found] == ["a", "Br\ufffdhler", "c"]


def test_published_splits_speak_one_language(tmp_path):
    path = tmp_path / "t.jsonl"
    rows = [{"gap": 1.0, **ARRAYS, "split": s, "test_fold": n} for n, s in enumerate(["train", "val", "Test", None])]
    path.write_text("\n".join(map(json.dumps, rows)))
    found = read(path)
    assert [row["split"] for row in found] == ["train", "validation", "test", None]
    assert [row["test_fold"] for row in found] == ["0", "1", "2", "3"]
    assert open_source(str(path)).targets() == ["gap"]


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_by_name_gives_the_same_bytes_twice(tmp_path, name, monkeypatch):
    monkeypatch.setattr("crystals.sources.alloys.COUNT", 24)
    made = []
    for attempt in ("one", "two"):
        (tmp_path / attempt).mkdir()
        contents = open_source(name).contents()
        spec = download.DownloadSpec(output=tmp_path / attempt, scratch=tmp_path, source=name, contents=contents)
        facts = download.build(spec)
        assert facts["note"]
        made.append((tmp_path / attempt / "structures.parquet").read_bytes())
    assert made[0] == made[1]


def test_a_file_that_changed_since_the_run_began_is_refused(tmp_path):
    path = written(tmp_path, "arrays .csv")
    spec = download.DownloadSpec(output=tmp_path, scratch=tmp_path, source=str(path), contents="what it was")
    with pytest.raises(InputError, match="changed while it was read"):
        download.build(spec)


def test_alloys_of_one_element_in_its_own_crystal_have_no_formation_energy():
    """The reference is the relaxed fcc element: strained and displaced ones lie above it, never below."""
    from crystals.alloy_generation import alloys

    pure = [row for row in alloys(25, 3) if len(set(row.read().atomic_numbers.tolist())) == 1]
    assert len(pure) >= 4
    assert all(row.values["formation_energy_per_atom"] > -1e-6 for row in pure)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"elements": ["Xx"]}, "elements: 'Xx' is no element"),
        ({"exclude_elements": ["O", "water"]}, "exclude_elements: 'water' is no element"),
        ({"material_ids": ["mp-1", "149"]}, "'149' is no id as mp-149 is"),
        ({"material_ids": "nowhere.csv"}, "there is no file nowhere.csv"),
        ({"material_ids": []}, "has no ids"),
    ],
)
def test_a_query_that_cannot_be_asked_is_refused_before_the_network_is_touched(query, message):
    with pytest.raises(InputError, match=re.escape(message)):
        check_source("materials-project", None, MaterialsProjectQuery(**query))


def test_a_database_has_a_default_target_and_refuses_unknown_ones():
    assert check_source("materials-project", None).target == "formation_energy_per_atom"
    with pytest.raises(InputError, match=r"no target 'gap'; it has .*band_gap"):
        check_source("materials-project", "gap")


def test_a_query_is_for_its_own_source():
    with pytest.raises(InputError, match=r"is for --source materials-project, this is alloys"):
        check_source("alloys", None, MaterialsProjectQuery(limit=3))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"nelements": 2}, "nelements"),
        ({"num_elements": [4, 1]}, "lower bound 4 is above"),
        ({"band_gap": [0.5, 0.1]}, "lower bound 0.5 is above"),
        ({"spacegroup_number": 231}, "less than or equal to 230"),
        ({"limit": 0}, "greater than or equal to 1"),
        ({"has_props": ["colour"]}, "elasticity"),
    ],
)
def test_a_filter_that_the_client_does_not_know_or_take_is_refused(query, message):
    with pytest.raises(ValidationError, match=message):
        MaterialsProjectQuery(**query)


def test_the_contents_of_a_query_are_its_version_its_filters_and_its_ids(tmp_path):
    def digest(version="2025.09.25", **query):
        return MaterialsProject(MaterialsProjectQuery(**query)).contents(version)

    (tmp_path / "ids.csv").write_text("mp-2\nmp-1\nmp-2\n")
    assert digest(material_ids=["mp-1", "mp-2"]) == digest(material_ids=str(tmp_path / "ids.csv"))
    assert digest(num_elements=2) == digest(num_elements=[2, 2])
    different = [
        digest(),
        digest("2025.11.01"),
        digest(limit=5),
        digest(include_gnome=True),
        digest(material_ids=["mp-1"]),
    ]
    assert len(set(different)) == len(different)

"""Inputs of a prediction: in their order, with a reason for each that is refused."""

import gzip

import pytest
from ase import Atoms
from ase.build import bulk
from ase.io import write

from crystals.config import GraphConfig
from crystals.predict_inputs import InputsSpec, build
from crystals.structures import crystals_with_edges
from storage.exchange import taken


def test_packed_files_are_read_and_a_table_that_cannot_be_is_refused_alone(tmp_path):
    write(tmp_path / "plain.cif", bulk("Cu"))
    (tmp_path / "a.cif.gz").write_bytes(gzip.compress((tmp_path / "plain.cif").read_bytes()))
    (tmp_path / "torn.cif.gz").write_bytes(b"no gzip")
    (tmp_path / "t.parquet").write_bytes(b"no parquet")
    out = tmp_path / "out"
    out.mkdir()
    files = [tmp_path / name for name in ("t.parquet", "a.cif.gz", "torn.cif.gz")]
    assert build(InputsSpec(output=out, scratch=tmp_path, files=files, config=GraphConfig())) == {
        "rows": 3,
        "refused": 2,
    }
    (batch,) = taken(out)
    assert batch["inputs"]["formula"].to_pylist() == ["", "Cu", ""]


def test_files_folders_and_tables_in_the_order_given(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    write(folder / "b.cif", bulk("Cu"))
    write(folder / "a.cif", bulk("NaCl", "rocksalt", a=5.64))
    write(tmp_path / "POSCAR", bulk("Si"), format="vasp")
    (tmp_path / "broken.cif").write_text("data_\n")
    (tmp_path / "t.jsonl").write_text('{"lattice": [3,0,0,0,3,0,0,0,3], "species": ["Fe"], "frac_coords": [0,0,0]}\n')
    lonely = bulk("He", "fcc", a=60.0)
    write(tmp_path / "lonely.cif", lonely)
    names = ["POSCAR", "broken.cif", "folder", "lonely.cif", "t.jsonl"]
    out = tmp_path / "out"
    out.mkdir()
    spec = InputsSpec(output=out, scratch=tmp_path, files=[tmp_path / n for n in names], config=GraphConfig())
    assert build(spec) == {"rows": 6, "refused": 2}
    (batch,) = taken(out)
    rows = batch["inputs"].to_pylist()
    assert [row["formula"] for row in rows] == ["Si", "", "NaCl", "Cu", "He", "Fe"]
    assert [row["error"] is None for row in rows] == [True, False, True, True, False, True]
    assert batch["graphs"]["material_id"].to_pylist() == ["0", "2", "3", "5"]


@pytest.mark.parametrize(
    ("atoms", "reason"),
    [
        (bulk("Cu", a=12.0), "432 Å³ an atom; allowed are 2 to 250 (fixed in predictions)"),
        (
            Atoms("NaCu", [[0, 0, 0], [0, 0, 0.3]], cell=[4.0] * 3, pbc=True),
            "two atoms are 0.3 Å apart; allowed is 0.5 (fixed in predictions)",
        ),
    ],
)
def test_a_refusal_names_no_setting_that_a_prediction_does_not_have(atoms, reason, tmp_path):
    """Of a file, and of an object in memory."""
    write(tmp_path / "POSCAR", atoms, format="vasp")
    out = tmp_path / "out"
    out.mkdir()
    build(InputsSpec(output=out, scratch=tmp_path, files=[tmp_path / "POSCAR"], config=GraphConfig()))
    (batch,) = taken(out)
    assert batch["inputs"]["error"].to_pylist() == [reason]
    reasons: list[str] = []
    assert list(crystals_with_edges([atoms], GraphConfig(), lambda _, said: reasons.append(said))) == []
    assert reasons == [reason]

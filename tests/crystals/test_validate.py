"""Validation: every row that comes in is accepted or rejected, under the right rule, and the step stops at too many."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystals import download, validate
from crystals.config import ChecksConfig
from storage.artefact import digest_of_file
from storage.errors import InputError

GOOD = {
    "lattice": [4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0],
    "atomic_numbers": [11, 17],
    "frac_coords": [0, 0, 0, 0.5, 0.5, 0.5],
    "energy_ev": 1.0,
}
NAN = float("nan")

BAD = {
    "no target": ({"energy_ev": None}, "target"),
    "target not finite": ({"energy_ev": float("inf")}, "target"),
    "NaN in the lattice": ({"lattice": [NAN, 0, 0, 0, 4, 0, 0, 0, 4]}, "lattice"),
    "a vector of length zero": ({"lattice": [0, 0, 0, 0, 4, 0, 0, 0, 4]}, "lattice"),
    "a flat cell": ({"lattice": [4, 0, 0, 8, 0, 0, 0, 0, 4]}, "lattice"),
    "no lattice": ({"lattice": None}, "unreadable"),
    "eight numbers": ({"lattice": [4, 0, 0, 0, 4, 0, 0, 0]}, "unreadable"),
    "a text as lattice": ({"lattice": "cubic"}, "unreadable"),
    "a coordinate too few": ({"frac_coords": [0, 0, 0, 0.5, 0.5]}, "unreadable"),
    "NaN in the coordinates": ({"frac_coords": [0, 0, 0, 0.5, 0.5, NAN]}, "coordinates"),
    "element 0": ({"atomic_numbers": [0, 17]}, "elements"),
    "element 119": ({"atomic_numbers": [119, 17]}, "elements"),
    "element 300": ({"atomic_numbers": [300, 17]}, "elements"),
    "no atoms": ({"atomic_numbers": [], "frac_coords": []}, "unreadable"),
    "atoms on each other": ({"frac_coords": [0, 0, 0, 0, 0, 0]}, "min_distance"),
    "an image too near": ({"lattice": [0.4, 0, 0, 0, 20, 0, 0, 0, 20]}, "min_distance"),
    "too dense": ({"lattice": [1.2, 0, 0, 0, 1.2, 0, 0, 0, 1.2]}, "volume"),
    "too thin": ({"lattice": [20, 0, 0, 0, 20, 0, 0, 0, 20]}, "volume"),
}


def run(rows: list[dict], folder, checks: ChecksConfig) -> tuple[dict, pa.Table, list[str]]:
    """Facts, the rejected table and the accepted ids of these rows, through the two programs' own functions."""
    folder.mkdir(exist_ok=True)
    table = folder / "rows.jsonl"
    table.write_text("\n".join(json.dumps(row) for row in rows))
    down = download.DownloadSpec(
        output=folder / "down", scratch=folder / "scratch", source=str(table), contents=digest_of_file(table)
    )
    for made in (down.output, down.scratch, folder / "out"):
        made.mkdir(exist_ok=True)
    download.build(down)
    spec = validate.ValidateSpec(
        output=folder / "out",
        scratch=down.scratch,
        structures=down.output / "structures.parquet",
        target="energy_ev",
        checks=checks,
    )
    facts = validate.build(spec)
    shards = sorted(spec.output.glob("structures-*.parquet"))
    accepted = [name for shard in shards for name in pq.read_table(shard)["material_id"].to_pylist()]
    return facts, pq.read_table(spec.output / "rejected.parquet"), accepted


def named(rows: list[dict]) -> list[dict]:
    return [{"material_id": f"m-{number}", **row} for number, row in enumerate(rows)]


@pytest.mark.parametrize("fault", BAD)
def test_each_fault_has_its_rule_and_a_message(tmp_path, fault):
    change, rule = BAD[fault]
    facts, rejected, accepted = run(named([GOOD, GOOD | change]), tmp_path / "x", ChecksConfig(max_rejected=0.5))
    assert facts["by_rule"] == {rule: 1}
    assert accepted == ["m-0"]
    assert rejected["material_id"].to_pylist() == ["m-1"]
    assert len(rejected["message"][0].as_py()) > 10


@settings(max_examples=15)
@given(st.lists(st.sampled_from([None, *BAD]), min_size=1, max_size=30))
def test_rows_in_are_accepted_plus_rejected(tmp_path_factory, faults):
    good = (GOOD | {"energy_ev": float(n)} for n in range(len(faults) + 1))
    rows = named([next(good), *(next(good) | (BAD[fault][0] if fault else {}) for fault in faults)])
    facts, rejected, accepted = run(rows, tmp_path_factory.mktemp("any"), ChecksConfig(max_rejected=1.0))
    assert facts["rows"] == len(rows)
    assert sorted(accepted + rejected["material_id"].to_pylist()) == sorted(row["material_id"] for row in rows)
    assert sum(facts["by_rule"].values()) == facts["rejected"] == len(rejected)


def test_the_first_of_two_rows_with_one_id_is_kept(tmp_path):
    rows = [{"material_id": "a", **GOOD}, {"material_id": "a", **GOOD, "energy_ev": 2.0}]
    _, rejected, accepted = run(rows, tmp_path / "x", ChecksConfig(max_rejected=0.5))
    assert accepted == ["a"]
    assert rejected["rule"].to_pylist() == ["unique"]


def test_a_left_handed_cell_is_no_fault(tmp_path):
    left = GOOD | {"lattice": [0, 4.0, 0, 4.0, 0, 0, 0, 0, 4.0]}
    assert run(named([left]), tmp_path / "x", ChecksConfig())[0]["rejected"] == 0


def test_a_line_that_is_no_json_is_a_rejection(tmp_path):
    folder = tmp_path / "x"
    folder.mkdir()
    good = "\n".join(json.dumps(row) for row in named([GOOD]))
    (folder / "rows.jsonl").write_text(good + "\n{broken\n")
    table = folder / "rows.jsonl"
    spec = download.DownloadSpec(output=folder, scratch=folder, source=str(table), contents=digest_of_file(table))
    assert download.build(spec)["unreadable"] == 1


def test_more_rejected_rows_than_allowed_stop_the_step_with_counts(tmp_path):
    rows = named([GOOD] * 9 + [GOOD | {"energy_ev": None}])
    with pytest.raises(InputError, match=r"1 of 10 rows .* checks\.max_rejected=0\.05 .*target 1"):
        run(rows, tmp_path / "x", ChecksConfig())


def test_one_structure_with_two_labels_is_reported_whatever_its_cell(tmp_path):
    doubled = GOOD | {
        "lattice": [4.0, 0, 0, 0, 4.0, 0, 0, 0, 8.0],
        "atomic_numbers": [11, 17, 11, 17],
        "frac_coords": [0, 0, 0, 0.5, 0.5, 0.25, 0, 0, 0.5, 0.5, 0.5, 0.75],
        "energy_ev": 3.0,
    }
    swapped = GOOD | {"atomic_numbers": [12, 8], "energy_ev": 9.0}
    facts, _, accepted = run(named([GOOD, doubled, swapped]), tmp_path / "x", ChecksConfig())
    assert len(accepted) == 3
    assert facts["conflicts"] == 1
    pair = pq.read_table(tmp_path / "x/out/conflicts.parquet").to_pylist()[0]
    assert {pair["material_id"], pair["other_id"]} == {"m-0", "m-1"}


def test_shards_are_the_same_bytes_whatever_the_order_of_rows(tmp_path):
    rows = named([GOOD | {"energy_ev": float(n)} for n in range(40)])
    run(rows, tmp_path / "one", ChecksConfig())
    run(rows[::-1], tmp_path / "two", ChecksConfig())
    one, two = (sorted((tmp_path / n / "out").glob("structures-*")) for n in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
    assert np.all([path.stat().st_size > 0 for path in one])

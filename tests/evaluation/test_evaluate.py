import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evaluation.evaluate import EvaluateSpec, build
from storage import schemas
from storage.errors import InputError

ROWS = [  # id, formula, split, target, predicted, atomic numbers, space group
    ("a", "NaCl", "test", 1.0, 1.5, [11, 17], 225),
    ("b", "Cu", "test", 2.0, 1.0, [29, 29], 225),
    ("c", "Na", "test", 0.0, 0.25, [11], None),
    ("d", "Na", "train", 4.0, 4.0, [11], 229),
    ("e", "Na", "unused", 9.0, 0.0, [11], 229),
]


def hand_made() -> pa.Table:
    return pa.Table.from_pylist([dict(zip(schemas.PREDICTIONS.names, row, strict=True)) for row in ROWS]).cast(
        schemas.PREDICTIONS
    )


def evaluated(tmp_path, table, task="regression", name="out"):
    out = tmp_path / name
    out.mkdir()
    schemas.write_table(table, tmp_path / "predictions.parquet")
    names = {"target": "band_gap_ev", "unit": "eV", "task": task, "source": "mine"}
    history = tmp_path / "history.parquet"
    facts = build(
        EvaluateSpec(
            output=out, scratch=tmp_path, predictions=tmp_path / "predictions.parquet", history=history, **names
        )
    )
    return out, facts


def test_numbers_by_hand(tmp_path):
    out, facts = evaluated(tmp_path, hand_made())
    found = json.loads((out / "metrics.json").read_text())
    assert found["test"]["count"] == 3
    assert found["test"]["mae"] == facts["test_mae"] == (0.5 + 1 + 0.25) / 3
    assert found["test"]["baseline_mae"] == (3 + 2 + 4) / 3
    assert found["validation"]["count"] == 0
    assert (found["metric"], found["train"]["mae"]) == ("mae", 0)


def test_errors_by_group_by_hand(tmp_path):
    out, _ = evaluated(tmp_path, hand_made())
    rows = {(r["kind"], r["key"]): (r["count"], r["mae"]) for r in pq.read_table(out / "errors.parquet").to_pylist()}
    assert rows == {
        ("elements", "1"): (2, 0.625),
        ("elements", "2"): (1, 0.5),
        ("crystal_system", "cubic"): (2, 0.75),
        ("space_group", "225"): (2, 0.75),
        ("element", "Na"): (2, 0.375),
        ("element", "Cl"): (1, 0.5),
        ("element", "Cu"): (1, 1.0),
        ("distance", "0, the same composition"): (1, 0.25),
        ("distance", "0.5 to 1"): (2, 0.75),
    }


def test_the_worst_come_first_with_their_signed_error(tmp_path):
    out, _ = evaluated(tmp_path, hand_made())
    worst = pq.read_table(out / "worst.parquet")
    assert worst.schema.equals(schemas.WORST)
    assert worst.select(["material_id", "error"]).to_pydict() == {
        "material_id": ["b", "a", "c"],
        "error": [-1.0, 0.5, 0.25],
    }


def test_order_of_rows_does_not_change_a_byte(tmp_path, table):
    rows = table(500)
    shuffled = rows.take(np.random.default_rng(3).permutation(len(rows)))
    one, _ = evaluated(tmp_path, rows, name="one")
    two, _ = evaluated(tmp_path, shuffled, name="two")
    names = sorted(p.name for p in one.iterdir())
    assert names == ["errors.parquet", "metrics.json", "worst.parquet"]
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)


def test_a_classification_counts_wrong_classes(tmp_path):
    rows = hand_made().to_pandas().assign(target=[1.0, 0.0, 0.0, 1.0, 1.0], predicted=[0.7, 0.8, 0.1, 0.9, 0.1])
    out, _ = evaluated(tmp_path, pa.Table.from_pandas(rows).cast(schemas.PREDICTIONS), task="classification")
    found = json.loads((out / "metrics.json").read_text())
    assert (found["metric"], found["test"]["accuracy"]) == ("roc_auc", 2 / 3)
    assert found["test"]["baseline_roc_auc"] == 0.5
    errors = pq.read_table(out / "errors.parquet").to_pylist()
    assert {r["key"]: r["mae"] for r in errors if r["kind"] == "element"} == {"Na": 0, "Cl": 0, "Cu": 1}


def test_a_diverged_training_are_shown_in_one_line(tmp_path, table):
    with pytest.raises(InputError, match=r"10 of 10 predicted values are not finite.*learning_rate"):
        evaluated(tmp_path, table(10, predicted=[float("nan")] * 10))


def test_runs_as_a_program(tmp_path):
    schemas.write_table(hand_made(), tmp_path / "p.parquet")
    spec = {"predictions": "p.parquet", "history": "h.parquet", "target": "x", "unit": "", "task": "regression"}
    paths = {"output": str(tmp_path / "out"), "scratch": str(tmp_path / "scratch")}
    found = {**spec, **paths, "predictions": str(tmp_path / "p.parquet"), "source": "mine"}
    (tmp_path / "spec.json").write_text(json.dumps(found))
    command = [sys.executable, "-m", "evaluation.evaluate", str(tmp_path / "spec.json")]
    subprocess.run(command, check=True, capture_output=True)
    assert json.loads((tmp_path / "scratch" / "facts.json").read_text())["test_count"] == 3
    assert (tmp_path / "out" / "metrics.json").exists()


def test_the_ten_space_groups_that_most_rows_have(tmp_path):
    """Of 225 there are two rows, of eleven others one: the last two of these are left out."""
    numbers = (1, 2, 15, 62, 63, 139, 141, 194, 216, 221, 229)
    others = [(f"m-{number:03}", "Na", "test", 1.0, 2.0, [11], number) for number in numbers]
    rows = [dict(zip(schemas.PREDICTIONS.names, row, strict=True)) for row in [*ROWS, *others]]
    out, _ = evaluated(tmp_path, pa.Table.from_pylist(rows).cast(schemas.PREDICTIONS))
    errors = pq.read_table(out / "errors.parquet").to_pylist()
    found = [row["key"] for row in errors if row["kind"] == "space_group"]
    assert found == ["1", "2", "15", "62", "63", "139", "141", "194", "216", "225"]

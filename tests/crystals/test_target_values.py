"""What validation says about the values of a target: one value for all is an error, huge ones are a warning."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from crystals import download, validate
from crystals.config import ChecksConfig
from crystals.sources.registry import check_source
from storage.errors import InputError


def validated(values: list[Any], folder: Path, others: list[Any] | None = None) -> dict[str, Any]:
    """The facts of validation, for crystals with these targets, and these values of an auxiliary column."""
    source = folder / "t.jsonl"
    crystal = {"lattice": [4, 0, 0, 0, 4, 0, 0, 0, 4], "species": ["Po"], "frac_coords": [0, 0, 0]}
    rows = [{**crystal, "gap": value} for value in values]
    if others is not None:
        rows = [{**row, "energy": other} for row, other in zip(rows, others, strict=True)]
    source.write_text("\n".join(json.dumps(row) for row in rows))
    (folder / "out").mkdir()
    contents = str(check_source(str(source), "gap").contents)
    download.build(download.DownloadSpec(output=folder, scratch=folder, source=str(source), contents=contents))
    spec = validate.ValidateSpec(
        output=folder / "out",
        scratch=folder,
        structures=folder / "structures.parquet",
        target="gap",
        checks=ChecksConfig(max_rejected=0.5),
        auxiliary=() if others is None else ("energy",),
    )
    return validate.build(spec)


@pytest.mark.parametrize("values", [[2.5, 2.5], [0, 0.0, -0.0], [1, 1, None], [True, 1, 1.0]])
def test_one_value_for_all_is_an_error(values, tmp_path):
    with pytest.raises(InputError, match=r"^target gap: all [23] accepted rows have the value .*; nothing to learn$"):
        validated(values, tmp_path)
    assert not list((tmp_path / "out").glob("structures-*"))


@pytest.mark.parametrize("values", [[2.5], [2.5, 2.5000001], [0, 1, 1]])
def test_one_row_or_two_values_are_none(values, tmp_path, caplog):
    assert validated(values, tmp_path)["accepted"] == len(values)
    assert "missing value" not in caplog.text


@pytest.mark.parametrize(
    ("values", "said"), [([1, 2, 1e20, -3e17], "2 of 4"), ([1e17, 5, 6], "1 of 3"), ([9e16, 1], "")]
)
def test_huge_values_are_a_warning_that_names_the_column(values, said, tmp_path, caplog):
    validated(values, tmp_path)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == bool(said)
    assert not said or f"target gap: {said} values are 1e+17 or beyond" in warnings[0]


def test_a_row_may_lack_an_auxiliary_value_and_one_that_is_not_finite_is_none(tmp_path, caplog):
    caplog.set_level("INFO")
    facts = validated([1, 2, 3, 4], tmp_path, [None, float("inf"), -1.5, float("nan")])
    assert facts["accepted"] == 4
    assert facts["auxiliary"] == {"energy": 1}
    assert "auxiliary energy: 1 of them have a value; 2 are left out, for they are no finite numbers" in caplog.text
    tables = [pq.read_table(path) for path in (tmp_path / "out").glob("structures-*")]
    found = {row["gap"]: row["energy"] for table in tables for row in table.to_pylist()}
    assert found == {1: None, 2: None, 3: -1.5, 4: None}


@pytest.mark.parametrize(
    ("others", "said"), [([5, 5, None], "all 2 accepted rows have the value 5"), ([None, 1, None], "")]
)
def test_an_auxiliary_column_of_one_value_is_an_error(others, said, tmp_path):
    if said:
        with pytest.raises(InputError, match=f"^auxiliary energy: {said}; nothing to learn$"):
            validated([1, 2, 3], tmp_path, others)
        assert not list((tmp_path / "out").glob("structures-*"))
    else:
        assert validated([1, 2, 3], tmp_path, others)["accepted"] == 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (["gap"], "^auxiliary: gap is the target itself$"),
        (["energy", "enrgy"], r"^source .*: no target 'enrgy'; it has gap, energy$"),
    ],
)
def test_an_auxiliary_column_that_there_is_not_is_an_error(columns, message, tmp_path):
    validated([1, 2], tmp_path, [3, 4])
    with pytest.raises(InputError, match=message):
        check_source(str(tmp_path / "t.jsonl"), "gap", auxiliary=columns)

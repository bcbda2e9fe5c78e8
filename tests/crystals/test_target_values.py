"""What validation says about the values of a target: one value for all is an error, huge ones are a warning."""

import json
from pathlib import Path
from typing import Any

import pytest

from crystals import download, validate
from crystals.config import ChecksConfig
from crystals.sources.registry import check_source
from storage.errors import InputError


def validated(values: list[Any], folder: Path) -> dict[str, Any]:
    """The facts of validation, for crystals with these targets."""
    source = folder / "t.jsonl"
    crystal = {"lattice": [4, 0, 0, 0, 4, 0, 0, 0, 4], "species": ["Po"], "frac_coords": [0, 0, 0]}
    source.write_text("\n".join(json.dumps({**crystal, "gap": value}) for value in values))
    (folder / "out").mkdir()
    contents = str(check_source(str(source), "gap").contents)
    download.build(download.DownloadSpec(output=folder, scratch=folder, source=str(source), contents=contents))
    spec = validate.ValidateSpec(
        output=folder / "out",
        scratch=folder,
        structures=folder / "structures.parquet",
        target="gap",
        checks=ChecksConfig(max_rejected=0.5),
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

"""The command line: quick answers without Prefect."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from flows import cli, config
from flows.sweep_config import SweepConfig
from gnn.config import MODELS
from storage.errors import InputError

ROOT = Path(__file__).parents[2]
HEAVY = ("mp_api", "prefect", "torch", "pymatgen", "ase", "pandas", "torch_geometric")


def python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "from flows.cli import parser; parser().format_help()",
        "from flows.show import shown",
        "from tasks.prediction import predict",
        "from flows.config import RetrainConfig; RetrainConfig.model_json_schema()",
        "from crystals.sources.registry import check_source; check_source('alloys', None)",
        "from crystals.sources.materials_project import MaterialsProject",
    ],
)
def test_what_must_answer_at_once_loads_nothing_heavy(code):
    found = python(f"import sys; {code}; print([m for m in {HEAVY} if m in sys.modules])")
    assert found.strip() == "[]"


@pytest.mark.parametrize("preset", sorted(path.stem for path in config.PRESETS.glob("*.yaml")))
def test_each_preset_is_a_valid_configuration(preset):
    settings = config.preset_or_file(preset)
    kind = SweepConfig if "search" in settings else config.RetrainConfig
    assert config.configured_as(kind, [settings]).model.name in MODELS


def test_later_layers_win_key_by_key():
    made = config.configured(
        [config.preset_or_file("chapter"), {"source": "x.csv"}, config.assignment("train.epochs=7")]
    )
    assert (made.source, made.train.epochs, made.train.loss, made.model.gaussian_stop) == ("x.csv", 7, "mse", 6.0)


@pytest.mark.parametrize(
    ("text", "value"),
    [("graphs.cutoff=null", None), ("graphs.cutoff=7", 7.0), ("graphs.cutoff=6.5e0", 6.5)],
)
def test_values_are_yaml(text, value):
    assert config.configured([config.assignment(text)]).graphs.cutoff == value


def test_a_configuration_file_that_is_none_is_one_line(tmp_path):
    for content in ("- a\n- b\n", "a: [", "train: 5\n"):
        path = tmp_path / "c.yaml"
        path.write_text(content)
        with pytest.raises(InputError) as fault:
            config.configured([config.preset_or_file(str(path))])
        assert "\n" not in " ".join(str(fault.value).split())


def test_version_and_empty_store(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--version"])
    assert end.value.code == 0
    cli.main(["show", "--store", str(tmp_path)])
    assert "no runs" in capsys.readouterr().out
    cli.main(["show", "--store", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "--store", "nowhere"], "nowhere: no such folder"),
        (["predict", "nowhere.cif"], "nowhere.cif: no such file"),
        (["predict", "pyproject.toml", "--output", "x.txt"], "ends in .csv or .parquet"),
        (["predict", "pyproject.toml", "--store", "nowhere"], "nowhere has no champion; is it the right one?"),
        (["retrian"], "invalid choice"),
        ([], "COMMAND"),
    ],
)
def test_a_wrong_command_is_one_line_and_exit_code_2(arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        cli.main(arguments)
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1

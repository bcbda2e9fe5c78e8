"""Settings that are none end as one line on stderr with exit code 2, before Prefect starts."""

import itertools

import pytest

from flows import cli

SETTINGS = {
    **{
        "train.epochs": "KEY=VALUE",
        "train.seed=": "got None",
        "train.epochs=many": "got 'many'",
        "=5": "no such key",
    },
    **{"train.epochs=[1]": "got [1]", "train.epochs={a: 1}": "valid integer", "train.epochs=1e400": "valid integer"},
    **{"train.epochs=.nan": "finite", "train.epochs=99999999999999999999": "less than", "train=5": "valid dictionary"},
    **{
        "train.epochs='": "YAML",
        "train.epochs=\x07": "YAML",
        "train.epochs=2024-02-30": "YAML",
        "train.epochs=<<": "YAML",
    },
    **{f"train.epochs={'[' * 500}": "YAML", f"train.epochs={'1' * 5000}": "YAML", "train.epochs=!!int x": "YAML"},
    **{"train.epochs=!!python/object/apply:os.system [id]": "YAML", "train.epochs=!!timestamp x": "YAML"},
    **{
        "train.epochs={[1]: 2}": "YAML",
        "train.epochs=&a [*a]": "valid integer",
        "train={1: 2}": "Keys should be strings",
    },
    **{"materials_project.elements=O": "a list", "materials_project.num_elements=[4, 1]": "is above the upper bound"},
    **{
        "materials_project.band_gap=[x, y]": "valid number",
        "graphs.cutoff=inf": "finite",
        "source=[1]": "valid string",
    },
    **{
        "auxiliary=band_gap_ev": "valid list",
        "auxiliary=[a, a]": "a column is named twice",
        "auxiliary=[energy_ev, b]": "no target",
        "model.max_l=2": "max_l is for cogn alone; allowed for cgcnn is 0",
        "model.name=a.b:C": "reduce_symmetry has to be false for a.b:C",
        "model={name: cogn, max_l: 2}": "cgcnn: graphs: vectors has to be true for model.max_l above 0, whose angles "
        "are between vectors of edges\n",
        "graphs={vectors: true, shell_tolerance: null}": "shell_tolerance cannot be null with vectors",
        "auxiliary=['']": "at least 1 character",
    },
    **{f"source={'x' * 5000}": "no such file", f"store={'x' * 300}": "File name too long", "source=a\x1bb": "YAML"},
}
CONFIGS = {
    **{b"\xff\xfe\0": "not YAML", b"- a": "keys and values", b"a: [": "not YAML", b"'x'": "keys and values"},
    **{b"\0": "not YAML", b"[1]: 2": "not YAML", b"train:\n\tepochs: 5": "not YAML", b"1: 2": "Keys should be strings"},
    **{b"--- a\n--- b": "not YAML", b"[" * 500: "not YAML", b"train: {epochs: 2024-13-45}": "not YAML"},
    **{
        b"x: !!float z": "not YAML",
        b"x: !!timestamp z": "not YAML",
        b"x: !!binary z": "not YAML",
        b"train: null": "valid",
    },
    **{b"train: &a {epochs: *a}": "valid integer", b"train: !!set {a, b}": "valid dictionary", b"\xf6: 1": "not YAML"},
}


@pytest.mark.parametrize("number", range(len(SETTINGS) + len(CONFIGS)))
def test_a_damaged_setting(number, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given, message = next(itertools.islice([*SETTINGS.items(), *CONFIGS.items()], number, None))
    (tmp_path / "c.yaml").write_bytes(given if isinstance(given, bytes) else b"")
    options = ["--config=c.yaml"] if isinstance(given, bytes) else [f"--set={given}"]
    with pytest.raises(SystemExit) as end:
        cli.main(["retrain", *options])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "store").exists()

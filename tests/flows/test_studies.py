"""`cgcnn crossvalidate`, `ablate` and `curve` as their users run them, and what is refused before anything starts."""

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from flows import cli
from flows.ablate import ablate
from flows.ablate_config import FULL, AblateConfig
from flows.config import RetrainConfig, with_settings
from flows.crossvalidate import crossvalidate
from flows.crossvalidate_config import CrossvalidateConfig
from flows.curve import curve
from flows.curve_config import CurveConfig
from flows.study import common_of, configs_of

FLOWS = {"crossvalidate": crossvalidate, "ablate": ablate, "curve": curve}
CONFIGS = {"crossvalidate": CrossvalidateConfig, "ablate": AblateConfig, "curve": CurveConfig}


@pytest.fixture(scope="module")
def studied(environment, crystals, small, tmp_path_factory):
    """A store with one study of each kind, and what was printed. One process runs all three: it imports Prefect once.

    The full model of the ablation is that of all rows in the curve: it is trained once.
    """
    store = tmp_path_factory.mktemp("studies") / "store"
    common = [f"--source={crystals}", f"--store={store}", *small, "--set=train.epochs=1"]
    runs = [
        ["crossvalidate", *common, "--set=split.folds=3", "--set=folds=[2]"],
        ["ablate", *common, "--set=seeds=1", "--set=variants={no gate: {model.gate: false}}"],
        ["curve", *common, "--set=seeds=1", "--set=shares=[0.5, 1]", "--set=goal=0.1"],
    ]
    program = "import json, sys\nfrom flows.cli import main\nfor run in json.loads(sys.argv[1]): main(run)"
    command = [sys.executable, "-c", program, json.dumps(runs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return store, [line for line in done.stdout.splitlines() if not line.startswith("{")]


@pytest.mark.parametrize(
    ("kind", "tables"),
    [
        ("crossvalidate", {"predictions.parquet", "folds.parquet", "record.json"}),
        ("ablate", {"ablation.parquet"}),
        ("curve", {"curve.parquet", "fit.json"}),
    ],
)
def test_a_study_is_a_page_its_tables_and_a_headline(studied, kind, tables):
    store, printed = studied
    (folder,) = store.glob(f"{kind}/*")
    assert {path.name for path in folder.iterdir()} == {
        "report.html",
        "summary.md",
        "study.json",
        "manifest.json",
    } | tables
    card = json.loads((folder / "study.json").read_text())
    assert card["models"] == (1 if kind == "crossvalidate" else 2)
    assert printed[printed.index(card["run"]) + 1] == card["headline"]
    assert f"report: {folder / 'report.html'}" in printed


def test_only_the_folds_that_were_asked_for_are_run(studied):
    (table,) = studied[0].glob("crossvalidate/*/predictions.parquet")
    assert set(pq.read_table(table)["fold"].to_pylist()) == {2}


def test_studies_share_their_models_and_all_steps_before_them(studied):
    """A fold, the full model, the one without a gate, and that of half of the rows."""
    store, _ = studied
    assert len(list(store.glob("train-model/*"))) == 4
    assert len(list(store.glob("graphs/*"))) == 1


def test_the_curve_has_half_of_the_rows_and_all(studied):
    (table,) = studied[0].glob("curve/*/curve.parquet")
    half, whole = pq.read_table(table).sort_by("share")["train"].to_pylist()
    assert 0.25 < half / whole < 0.75


def test_show_lists_the_studies_and_the_index_leads_to_their_pages(cgcnn, studied, tmp_path):
    store, _ = studied
    listed = json.loads(cgcnn("show", "--store", store, "--json").stdout)
    assert [each["kind"] for each in listed] == ["curve", "ablate", "crossvalidate"]
    cgcnn("show", "--store", store, "--html", tmp_path / "index.html")
    page = (tmp_path / "index.html").read_text()
    assert all(f'href="{(store / each["report"]).as_uri()}"' in page for each in listed)


@pytest.mark.parametrize("name", FLOWS)
def test_each_is_a_deployment_whose_form_has_every_key(name):
    text = (Path(__file__).parents[2] / "deployments" / "prefect.yaml").read_text()
    deployed = {each["name"]: each["entrypoint"] for each in yaml.safe_load(text)["deployments"]}
    assert deployed[name] == f"flows.{name}.{name}"
    schema = FLOWS[name].parameters.model_dump_for_openapi()
    assert set(schema["properties"]) == set(CONFIGS[name].model_fields)
    assert all(field.get("description") or "$ref" in field for field in schema["properties"].values())
    assert set(inspect.signature(FLOWS[name].fn).parameters) == set(CONFIGS[name].model_fields)


@pytest.mark.parametrize(
    ("command", "settings", "told"),
    [
        ("crossvalidate", ["folds=[5]"], "folds: there is no fold 5; the folds are 0, 1, 2, 3, 4"),
        ("crossvalidate", ["folds=[1]", "split.folds=1"], "split.folds: "),
        ("crossvalidate", ["folds=[]"], "folds: "),
        ("crossvalidate", ["folds=[0, 0]"], "folds: a fold is named twice"),
        ("crossvalidate", ["folds=[-1]"], "folds.0: "),
        ("crossvalidate", ["split.folds=3", "split.fold=3"], "split.folds: of 3 folds there is no fold 3"),
        ("crossvalidate", ["at_once=0"], "at_once: "),
        ("crossvalidate", ["fold=[0]"], "fold: no such key; did you mean"),
        ("ablate", ["seeds=0"], "seeds: "),
        ("ablate", ["variants={}"], "variants: "),
        ("ablate", ["variants={full: {model.gate: false}}"], "variants: full: that is the name"),
        ("ablate", ["variants={a: {model.gates: false}}"], "variants: a: model.gates: no such key"),
        ("ablate", ["variants={a: {model.gate: true}}"], "variants: a: changes nothing"),
        ("ablate", ["variants={a: {split.seed: 3}}"], "variants: a: split is the same for all"),
        ("ablate", ["train.task=classification"], "train: task has to be regression"),
        ("curve", ["shares=[]"], "shares: "),
        ("curve", ["shares=[1]"], "shares: "),
        ("curve", ["shares=[0, 1]"], "shares.0: "),
        ("curve", ["shares=[0.5, 2]"], "shares.1: "),
        ("curve", ["shares=[0.5, 0.5]"], "shares: a share is named twice"),
        ("curve", ["goal=0"], "goal: "),
        ("curve", ["members=0"], "members: no such key"),
    ],
)
def test_what_cannot_be_is_one_line_before_anything_starts(command, settings, told, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        cli.main([command, "--store", str(tmp_path / "store"), *(f"--set={each}" for each in settings)])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert said.startswith(f"cgcnn: {told}")
    assert said.count("\n") == 1
    assert not (tmp_path / "store").exists()


def test_a_published_fold_that_does_not_exist_is_one_line(crystals, capsys, tmp_path):
    rows = [json.loads(line) for line in crystals.read_text().splitlines()]
    table = tmp_path / "table.jsonl"
    table.write_text("\n".join(json.dumps({**row, "test_fold": n % 4}) for n, row in enumerate(rows)))
    with pytest.raises(SystemExit):
        cli.main(["crossvalidate", "--source", str(table), "--set=folds=[1, 4]"])
    assert capsys.readouterr().err == "cgcnn: folds: there is no fold 4; test_fold has 0, 1, 2, 3\n"


def test_what_the_models_have_in_common_has_no_setting_in_which_they_differ():
    configs = configs_of(CrossvalidateConfig(), {f"fold {n}": {"split": {"fold": n, "folds": 3}} for n in range(3)})
    common = common_of(configs)
    assert "fold" not in common["split"]
    assert common["split"]["folds"] == 3
    assert common["train"]["epochs"] == CrossvalidateConfig().train.epochs
    alone = with_settings(CrossvalidateConfig(), {"split": {"fold": 1, "folds": 3}}, type(configs["fold 1"]))
    assert configs["fold 1"] == alone


def test_variants_that_the_settings_already_are_or_that_cannot_be_are_left_out():
    plain = AblateConfig().settings()
    assert next(iter(plain)) == FULL
    assert "no gate" in plain
    fewer = with_settings(AblateConfig(), {"model": {"properties": False, "gate": False}}, AblateConfig).settings()
    assert {"no gate", "no element properties", "no element embedding"}.isdisjoint(fewer)
    assert "no gate" not in with_settings(AblateConfig(), {"model": {"name": "cogn"}}, AblateConfig).settings()


def test_the_model_of_all_rows_is_the_one_that_retrain_trains():
    settings = CurveConfig(seeds=2).settings()
    configs = configs_of(CurveConfig(), settings)
    whole = [config for config in configs.values() if config.split.train_share == 1]
    assert whole == [RetrainConfig(), with_settings(RetrainConfig(), {"train": {"seed": 1}}, RetrainConfig)]


def test_equal_steps_train_a_share_for_as_many_more_epochs():
    settings = CurveConfig(shares=(0.3, 1), equal_steps=True, seeds=1, train={"epochs": 100}).settings()
    assert [each["train"]["epochs"] for each in settings.values()] == [334, 100]
    with pytest.raises(ValueError, match=r"equal_steps needs train\.epochs"):
        CurveConfig(equal_steps=True)
    with pytest.raises(ValueError, match=r"equal_steps needs train\.minutes to be null"):
        CurveConfig(equal_steps=True, train={"epochs": 100, "minutes": 1})

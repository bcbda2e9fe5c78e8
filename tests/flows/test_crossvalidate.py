"""`cgcnn crossvalidate` as its users run it, and what is refused before anything starts."""

import json

import pyarrow.parquet as pq
import pytest

from flows import cli
from flows.config import with_settings
from flows.crossvalidate_config import CrossvalidateConfig
from flows.study import common_of, configs_of


def test_a_model_a_fold_and_one_report(cgcnn, crystals, small, tmp_path):
    """The folds of a formula that are run are trained as `retrain` trains them, and a second run trains none."""
    arguments = ["crossvalidate", f"--source={crystals}", f"--store={tmp_path}", *small]
    arguments += ["--set=train.epochs=1", "--set=split.folds=3", "--set=folds=[0, 2]"]
    done = cgcnn(*arguments)
    assert done.returncode == 0, done.stderr
    headline = done.stdout.splitlines()[-2]
    assert "over 2 of 3 folds" in headline
    (folder,) = tmp_path.glob("crossvalidate/*")
    assert {path.name for path in folder.iterdir()} >= {"report.html", "predictions.parquet", "record.json"}
    assert set(pq.read_table(folder / "predictions.parquet")["fold"].to_pylist()) == {0, 2}
    assert len(list(tmp_path.glob("train-model/*"))) == 2
    told = cgcnn("show", "--store", tmp_path, "--json")
    (study,) = json.loads(told.stdout)
    assert (study["kind"], study["headline"]) == ("crossvalidate", headline)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["folds=[5]"], "folds: there is no fold 5; the folds are 0, 1, 2, 3, 4"),
        (["folds=[1]", "split.folds=1"], "split.folds: "),
        (["folds=[]"], "folds: "),
        (["folds=[0, 0]"], "folds: a fold is named twice"),
        (["folds=[-1]"], "folds.0: "),
        (["split.folds=3", "split.fold=3"], "split.folds: of 3 folds there is no fold 3"),
        (["at_once=0"], "at_once: "),
        (["fold=[0]"], "fold: no such key; did you mean"),
    ],
)
def test_a_fold_that_does_not_exist_is_one_line(settings, told, capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        cli.main(["crossvalidate", "--store", str(tmp_path / "store"), *(f"--set={each}" for each in settings)])
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

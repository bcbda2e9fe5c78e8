"""What a sweep may search: faults are one line before anything starts; a finer space lies around the best point."""

import subprocess
import sys
from pathlib import Path

import pytest

from flows import cli, config
from flows.search_space import checked, grid, middle, refined, searchable, settings_of, trials_of
from flows.sweep_config import Range, SweepConfig
from storage.errors import InputError

ROOT = Path(__file__).parents[2]
HEAVY = ("prefect", "optuna", "torch", "pymatgen", "ase", "pandas")


def swept(**settings: object) -> SweepConfig:
    return config.configured_as(SweepConfig, [settings])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ([], "search: is empty"),
        (
            ["search.train.lerning_rate=[0.1]"],
            "search.train.lerning_rate: no such key; did you mean train.learning_rate",
        ),
        (["search.n_conv=[1]"], "search.n_conv: no such key; did you mean model.n_conv?"),
        (["search.split.seed=[1, 2]"], "search.split.seed: cannot be searched, because errors would not compare"),
        (["search.train.threshold=[1, 2]"], "search.train.threshold: cannot be searched"),
        (["search.model.n_conv=[]"], "search.model.n_conv: has no values"),
        (["search.train.epochs=[5,9]", "train.minutes=1"], "search.train.epochs: changes nothing"),
        (["search.model.n_conv=[2, 2]"], "search.model.n_conv: names a value twice"),
        (["search.model.n_conv=[1, 99]"], "search.model.n_conv: Input should be less than or equal to 20, got 99"),
        (["search.train.optimizer=[adamw, adm]"], "search.train.optimizer: Input should be 'adamw', 'adam' or 'sgd'"),
        (["search.model.n_conv=3"], "search: model.n_conv needs a list of values, or low and high"),
        (["search.model.n_conv={low: 1}"], "search: model.n_conv needs both low and high"),
        (["search.model.n_conv={low: 3, high: 2}"], "search.model.n_conv: low has to be below high, got 3 and 2"),
        (["search.model.n_conv={low: 1, high: 2.5}"], "search.model.n_conv: takes whole numbers"),
        (["search.model.gate={low: 0, high: 1}"], "search.model.gate: takes no numbers"),
        (["search.train.ema={low: 0, high: 0.9, log: true}"], "search.train.ema: with log, low has to be above 0"),
        (["search.train.ema={low: 0, high: 0.9, step: 2}"], "search.train.ema: step is larger than the range"),
        (["search.train.ema={low: 0, high: 0.9}", "sampler=grid"], "search.train.ema: a grid needs a list of values"),
        (["search.model.n_conv=[1]", "sampler=gird"], "sampler: Input should be 'tpe', 'grid' or 'random', got 'gird'"),
        (["search.model.n_conv=[1]", "trials=0"], "trials: Input should be greater than or equal to 1, got 0"),
        (["search.model.n_conv=[1]", "storage=here"], "storage: is no URL of a database"),
        (["search.model.n_conv=[1]", "store=s3://bucket/store"], "storage: is needed"),
    ],
)
def test_a_fault_is_one_line_and_exit_code_2_before_anything_starts(settings, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(["sweep", *(f"--set={text}" for text in settings)])
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert message in error
    assert len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ann:secret@host/sweeps",
        "postgresql+psycopg2://ann:se/cret@host/sweeps",
        "postgresql://ann:secret@with-at@host/sweeps",
        "postgresql://ann/x:secret@host/sweeps",
        "postgresql+psycopg2://host/sweeps?user=ann&password=secret",
        "postgresql+psycopg2://host/sweeps?sslkey=k&sslpassword=secret",
        "mysql+pymysql://host/sweeps?passwd=secret",
        "mssql+pyodbc:///?odbc_connect=UID%3Dann%3BPWD%3Dsecret",
    ],
)
def test_a_password_is_refused_without_being_repeated(url):
    with pytest.raises(InputError, match="set CGCNN_SWEEP_STORAGE instead") as fault:
        checked(swept(search={"model.n_conv": [1]}, storage=url))
    assert "secret" not in str(fault.value)


@pytest.mark.parametrize(
    "url", ["nonsense", "postgresql://host:secret/sweeps", "postgresql:/host/sweeps", "", "://h/d"]
)
def test_what_is_no_url_of_a_database_is_refused_without_being_repeated(url):
    with pytest.raises(InputError, match="storage: is no URL of a database") as fault:
        checked(swept(search={"model.n_conv": [1]}, storage=url))
    assert "secret" not in str(fault.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql+psycopg2://ann@host:5432/sweeps?sslmode=require&passfile=/home/ann/.pgpass",
        "postgresql://[::1]/sweeps",
        "sqlite:////data/a:b@c.db",
    ],
)
def test_a_url_without_a_password_is_taken(url):
    assert checked(swept(search={"model.n_conv": [1]}, storage=url)).storage == url


def test_every_key_of_the_network_its_training_and_its_graphs_may_be_searched():
    assert {"graphs.cutoff", "graphs.max_neighbors", "model.name", "train.learning_rate"} <= set(searchable())
    checked(swept(search={"graphs.cutoff": [None, 6], "graphs.max_neighbors": {"low": 8, "high": 16}}))


def test_numbers_that_yaml_reads_as_text_are_numbers():
    given = config.assignment("search.train.learning_rate=[1e-3, 0.01]")["search"]
    assert checked(swept(search=given)).search == {"train.learning_rate": [0.001, 0.01]}
    with pytest.raises(InputError, match="names a value twice"):
        checked(swept(search={"train.learning_rate": ["1e-3", 0.001]}))


def test_two_keys_may_exclude_each_other_in_some_points():
    space = {"model.embedding": [True, False], "model.properties": [True, False]}
    checked(swept(search=space))
    with pytest.raises(InputError, match="cannot both be false"):
        settings_of(swept(search=space), {"model.embedding": False, "model.properties": False})


def test_the_chapters_grid_has_54_points():
    whole = swept(**config.preset_or_file("chapter-grid"))
    checked(whole)
    assert trials_of(whole) == 54
    assert settings_of(whole, middle(whole.search)).model.n_conv == 3


def test_a_range_with_a_step_is_a_grid():
    assert grid({"train.ema": Range(low=0.9, high=0.99, step=0.03)}) == {"train.ema": [0.9, 0.93, 0.96, 0.99]}


@pytest.mark.parametrize(
    ("values", "best", "finer"),
    [
        ([32, 64, 128], 64, Range(low=48, high=96)),
        ([32, 64, 128], 128, Range(low=96, high=128)),
        ([2, 3, 4], 3, [3]),
        ([7], 7, [7]),
        (Range(low=20, high=140), 40, Range(low=20, high=60)),
    ],
)
def test_a_finer_space_lies_around_the_best(values, best, finer):
    assert refined({"model.atom_fea_len": values}, {"model.atom_fea_len": best}) == {"model.atom_fea_len": finer}


def test_a_finer_space_of_factors_is_one_of_factors_and_words_stay():
    space = {"train.learning_rate": [1e-4, 1e-3, 1e-2], "train.optimizer": ["adam", "sgd"]}
    finer = refined(space, {"train.learning_rate": 1e-3, "train.optimizer": "sgd"})
    assert finer["train.optimizer"] == ["sgd"]
    rates = finer["train.learning_rate"]
    assert rates.log
    assert (rates.low, rates.high) == pytest.approx((10**-3.5, 10**-2.5))


def test_the_configuration_of_a_sweep_loads_neither_prefect_nor_optuna():
    code = f"import sys; import flows.search_space, flows.sweep_config; print([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"

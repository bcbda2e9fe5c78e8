"""A Dask worker reports the epochs of its trial to the study: by a URL, or by a variable of its own environment."""

import pickle

import pytest
from optuna.distributions import CategoricalDistribution
from prefect import flow
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows.search_space import STORAGE, storage_for_workers
from flows.sweep_config import SweepConfig
from tasks.optuna_study import Plan, SharedStudy
from tasks.study_storage import open_storage
from tasks.study_watch import StudyWatch

EPOCHS = 9
ERRORS = [0.1, 0.9, 0.2, 0.8]  # of the trials, in every epoch


def plan(pruner: str) -> Plan:
    """A grid of as many points as there are errors."""
    points = list(range(len(ERRORS)))
    return Plan({"x": CategoricalDistribution(points)}, "grid", {"x": points}, pruner, 0, EPOCHS, len(points), "this")


@pytest.fixture
def address(tmp_path, monkeypatch) -> str:
    """The URL of a SQLite file."""
    monkeypatch.delenv(STORAGE, raising=False)
    return f"sqlite:///{tmp_path / 'studies.db'}"


def sent(watch: StudyWatch) -> StudyWatch:
    """As it is in the worker."""
    return pickle.loads(pickle.dumps(watch))


def ends(study: SharedStudy, in_worker: bool, address: str) -> list[int]:
    """After which epoch each trial of the study was ended; EPOCHS if it was not."""
    last = []
    with study.working():
        while (trial := study.ask()) is not None:
            error = ERRORS[trial.number]
            watch = sent(StudyWatch(address, study.name, trial.number, study.plan)) if in_worker else None
            for epoch in range(1, EPOCHS + 1):
                pruned = watch(epoch, error) if watch else study.report(trial.number, epoch, error)
                if pruned:
                    break
            last.append(epoch)
            if pruned:
                study.prune(trial.number, {"epochs": epoch})
            else:
                study.complete(trial.number, error, {"epochs": epoch})
    assert [len(trial.intermediate_values) for trial in study.finished()] == last
    return last


@pytest.mark.parametrize("pruner", ["halving", "hyperband"])
def test_trainings_in_workers_end_where_they_would_end_here(pruner, address, tmp_path):
    storage = open_storage(address)
    there = ends(SharedStudy(storage, "s", plan(pruner), tmp_path / "a"), True, address)
    other = open_storage(f"sqlite:///{tmp_path / 'others.db'}")  # the same name in it, by which Hyperband has brackets
    here = ends(SharedStudy(other, "s", plan(pruner), tmp_path / "b"), False, address)
    assert there == here
    assert min(there) < EPOCHS


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("$CGCNN_SWEEP_STORAGE", "CGCNN_SWEEP_STORAGE is not set in the environment of this worker"),
        ("{url}", "there is no such file on this machine"),
        ("{empty}", "no such table"),
        ("{other}", "has no study s"),
    ],
)
def test_where_the_study_cannot_be_opened_the_training_goes_on_and_one_line_says_why(
    where, reason, address, tmp_path, server, caplog
):
    (tmp_path / "empty.db").touch()
    open_storage(f"sqlite:///{tmp_path / 'other.db'}")
    files = {"empty": f"sqlite:///{tmp_path / 'empty.db'}", "other": f"sqlite:///{tmp_path / 'other.db'}"}
    watch = sent(StudyWatch(where.format(url=address, **files), "s", 0, plan("halving")))

    @flow
    def trains() -> list[bool]:
        return [watch(epoch, 0.5) for epoch in range(1, EPOCHS + 1)]

    with temporary_settings({PREFECT_API_URL: server, PREFECT_LOGGING_TO_API_ENABLED: False}):
        assert not any(trains())
    told = [record.getMessage() for record in caplog.records if "not ended early" in record.getMessage()]
    assert len(told) == 1
    assert reason in told[0]
    assert not (tmp_path / "studies.db").exists()


def test_a_password_is_not_sent(address, tmp_path, monkeypatch):
    """The worker reads the variable itself."""
    config = SweepConfig.model_validate({"search": {"train.seed": [1]}, "storage": address})
    assert storage_for_workers(config) == address
    monkeypatch.setenv(STORAGE, "postgresql+psycopg2://ann:secret@db/sweeps")
    sent_to_it = storage_for_workers(config)
    study = SharedStudy(open_storage(address), "s", plan("none"), tmp_path / "work")
    with study.working():
        trial = study.ask()
        pickled = pickle.dumps(StudyWatch(sent_to_it, study.name, trial.number, study.plan))
        assert b"secret" not in pickled
        monkeypatch.setenv(STORAGE, address)
        pickle.loads(pickled)(1, 0.5)
        assert [t.intermediate_values for t in study.counted()] == [{1: 0.5}]
        study.prune(trial.number, {})

"""A study that several processes work on, in a real storage: nothing is run twice, what was lost is run again."""

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.trial import TrialState

from storage.errors import InputError, WorldError
from tasks.database_url import masked
from tasks.optuna_study import Plan, SharedStudy
from tasks.study_storage import open_storage

VALUES = [1, 2, 3, 4]


def plan(**changes: object) -> Plan:
    """A grid of four points."""
    known = {"distributions": {"x": CategoricalDistribution(VALUES)}, "sampler": "grid", "grid": {"x": VALUES}}
    return Plan(**{**known, "pruner": "none", "seed": 0, "epochs": 9, "trials": 4, "search": "this"} | changes)


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    """A SQLite file, in which each test has a study of its own."""
    return open_storage(f"sqlite:///{tmp_path_factory.mktemp('storage') / 'studies.db'}")


@pytest.fixture
def open_study(storage, tmp_path):
    """open_study(…): somebody who works on the test's study, as a process of its own would."""
    return lambda name="", **changes: SharedStudy(storage, f"{tmp_path}{name}", plan(**changes), tmp_path / "work")


def test_two_share_the_points_of_a_grid(open_study, storage, tmp_path):
    first, second = open_study(), open_study()
    seen = []
    with first.working(), second.working():
        for one in (first, second, first, second):
            trial = one.ask()
            seen.append(trial.params["x"])
            if len(seen) > 1:
                one.complete(trial.number, float(seen[-1]), {"epochs": 3})
        assert first.ask() is None
        assert second.ask() is None
        first.complete(0, float(seen[0]), {})
    assert sorted(seen) == VALUES
    assert first.best().value == 1.0
    by_optuna = optuna.load_study(study_name=str(tmp_path), storage=storage.url)
    assert [trial.state for trial in by_optuna.trials] == [TrialState.COMPLETE] * 4


def test_who_is_taken_for_dead_ends_its_training_and_its_trial_is_anothers(open_study, monkeypatch):
    slow, quick = open_study(), open_study()
    with slow.working(), quick.working():
        trial = slow.ask()
        monkeypatch.setattr(quick, "_is_dead", lambda _trial: True)
        again = quick.ask()
        assert again.params == trial.params
        assert slow.report(trial.number, 3, 0.5)
        slow.prune(trial.number, {"epochs": 3})
        quick.complete(again.number, 1.0, {})
    assert quick.best().number == again.number
    assert trial.number not in {each.number for each in quick.counted()}


def test_what_a_dead_process_was_at_is_run_again_with_the_same_values(open_study):
    dead, alive = open_study(), open_study()
    with alive.working():
        with dead.working():
            done, lost = dead.ask(), dead.ask()
            dead.report(lost.number, 1, 0.5)
            dead.complete(done.number, 1.0, {})
            taken = alive.ask()  # the other's is not taken away while it lives
            assert taken.params != lost.params
        again = alive.ask()
        assert again.params == lost.params
        last = alive.ask()
        assert alive.ask() is None
        assert sorted(t.params["x"] for t in (done, taken, again, last)) == VALUES
        counted = {t.number for t in alive.counted()}
    assert counted == {done.number, taken.number, again.number, last.number}


def test_a_trial_that_failed_by_itself_stays_failed_and_one_that_the_world_made_fail_does_not(open_study):
    study = open_study()
    with study.working():
        for retry in (False, True):
            trial = study.ask()
            study.fail(trial.number, "a reason", {}, retry=retry)
    later = open_study()
    with later.working():
        assert later.ask().params == trial.params
        assert [t.user_attrs["reason"] for t in later.counted() if t.state == TrialState.FAIL] == ["a reason"]


def test_an_error_that_is_not_finite_is_a_failure(open_study):
    study = open_study()
    with study.working():
        study.complete(study.ask().number, float("nan"), {})
        assert study.finished()[0].state == TrialState.FAIL
        assert study.best() is None


def test_the_pruner_sees_the_errors_of_the_epochs(open_study):
    study = open_study(pruner="halving")
    with study.working():
        good, bad = study.ask(), study.ask()
        assert not any(study.report(good.number, epoch, 0.1) for epoch in range(1, 10))
        assert study.report(bad.number, 1, 0.9)
        study.prune(bad.number, {"epochs": 1})
        study.complete(good.number, 0.1, {})
    assert [t.state for t in study.finished()] == [TrialState.COMPLETE, TrialState.PRUNED]


def test_a_name_that_is_another_searchs_is_refused(open_study):
    open_study()
    with pytest.raises(InputError, match="give another name"):
        open_study(search="another")


@pytest.mark.parametrize("sampler", ["random", "tpe"])
def test_a_sweep_that_goes_on_draws_the_points_that_an_undisturbed_one_draws(sampler, open_study):
    points = {"distributions": {"x": FloatDistribution(0.0, 1.0)}, "sampler": sampler, "grid": {}}

    def drawn(name: str, counts: list[int]) -> list[float]:
        values = []
        for count in counts:  # each with a new object, as a new process has
            study = open_study(name, **points)
            with study.working():
                for _ in range(count):
                    trial = study.ask()
                    values.append(trial.params["x"])
                    study.complete(trial.number, values[-1], {})
        return values

    undisturbed = drawn("-whole", [3])
    assert drawn("-killed", [1, 2]) == undisturbed
    assert len(set(undisturbed)) == 3


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://ann:secret@host:5432/sweeps", "postgresql://ann:***@host:5432/sweeps"),
        ("postgresql://host/sweeps?user=ann&password=secret", "postgresql://host/sweeps?password=***&user=***"),
        ("postgresql://ann/x:secret@host/sweeps", "postgresql://***"),
        ("postgresql://ann:hunter@secret@host/sweeps", "postgresql://***"),
        ("postgresql://ann:p%40secret@host/sweeps", "postgresql://ann:***@host/sweeps"),
        ("sqlite:////data/a:b@c.db", "sqlite:////data/a:b@c.db"),
    ],
)
def test_a_url_is_shown_without_what_is_secret(url, shown):
    """Nor with what else stands in its query: a driver's options are many, and any may be one."""
    assert masked(url) == shown


def test_a_storage_that_does_not_answer_is_told_without_its_password(free_port):
    url = f"postgresql+psycopg2://ann:secret@127.0.0.1:{free_port()}/sweeps"
    with pytest.raises((WorldError, InputError)) as fault:  # the second where its driver is not installed
        open_storage(url)
    assert "secret" not in str(fault.value)
    assert "***" in str(fault.value)
    with pytest.raises(InputError, match="no URL of a database"):
        open_storage("nonsense")

"""Which trials of a sweep become an ensemble, and which numbers of them are refused before anything starts."""

import pytest
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from flows import cli
from flows.best_trials import best_together
from flows.config import configured_as
from flows.search_space import digest_of_search, settings_of
from flows.stages import Searched, Stage
from flows.sweep_config import SweepConfig

KEYS = {"model.n_conv": IntDistribution(1, 9), "graphs.cutoff": FloatDistribution(1, 9)}


def trial(number: int, error: float, n_conv: int, state: str = "COMPLETE", cutoff: float = 8.0) -> FrozenTrial:
    made = create_trial(
        state=TrialState[state],
        value=None if state == "FAIL" else error,
        params={"model.n_conv": n_conv, "graphs.cutoff": cutoff},
        distributions=KEYS,
        user_attrs={"model": f"model {n_conv}, {cutoff}"},
    )
    made.number = number
    return made


@pytest.fixture
def together():
    """together(how many, stages of trials, same=…): stage and number of each in the ensemble, and the lines of the log.

    `same` are the numbers of layers whose models came out with the same bytes.
    """

    def choose(ensemble: int, *stages: list[FrozenTrial], same: tuple[int, ...] = ()):
        config = configured_as(SweepConfig, [{"search": {"model.n_conv": [1, 9]}, "ensemble": ensemble}])
        numbered = [Stage(number, {}, trials, {}) for number, trials in enumerate(stages, start=1)]
        done = [(s.number, t) for s in numbered for t in s.trials if t.state == TrialState.COMPLETE]
        stage, best = min(done, key=lambda pair: pair[1].value)
        searched = Searched("name", numbered, stage, best, settings_of(config, best.params))
        bytes_of = {f"model {n_conv}, 8.0": "the same" for n_conv in same}
        log: list[str] = []
        found = best_together(config, searched, log.append, lambda model: bytes_of.get(model, model))
        return [(number, each.number) for number, each in found], log

    return choose


def test_the_best_of_all_stages_that_were_trained_to_their_end_are_taken_the_best_first(together):
    coarse = [trial(0, 0.4, 1), trial(1, 0.1, 2, "PRUNED"), trial(2, 0.3, 3), trial(3, 0.0, 4, "FAIL")]
    fine = [trial(0, 0.2, 5), trial(1, 0.5, 6)]
    assert together(3, coarse, fine) == ([(2, 0), (1, 2), (1, 0)], [])
    assert together(1, coarse, fine) == ([(2, 0)], [])


def test_fewer_than_were_asked_for_are_all_that_there_are(together):
    assert together(5, [trial(0, 0.4, 1), trial(1, 0.2, 2)])[0] == [(1, 1), (1, 0)]


def test_a_trial_on_other_graphs_is_left_out_and_told(together):
    trials = [trial(0, 0.1, 1), trial(1, 0.2, 2, cutoff=6.0), trial(2, 0.3, 3), trial(3, 0.4, 4)]
    found, log = together(2, trials)
    assert found == [(1, 0), (1, 2)]
    assert log == ["trial 1 is not in the ensemble: its graphs or its head are not those of the best trial"]


def test_a_training_that_gave_the_same_model_is_not_in_it_twice(together):
    """By the same point of two stages, or by settings that made no difference."""
    found, log = together(3, [trial(0, 0.1, 1), trial(1, 0.1, 2), trial(2, 0.4, 3)], [trial(0, 0.1, 1)], same=(1, 2))
    assert found == [(1, 0), (1, 2)]
    assert log == [
        "trial 1 is not in the ensemble: it gave the model of trial 0 once more",
        "fine trial 0 is not in the ensemble: it gave the model of trial 0 once more",
    ]


def test_another_number_of_members_goes_on_with_the_same_trials():
    searched = {"search": {"model.n_conv": [1, 9]}}
    one, two = (configured_as(SweepConfig, [searched, {"ensemble": number}]) for number in (1, 2))
    assert digest_of_search(one, "0" * 64, None) == digest_of_search(two, "0" * 64, None)
    assert "ensemble" not in one.model_dump(mode="json")  # so a page without one keeps its key


def test_trials_that_start_from_other_weights_are_of_another_study():
    """`champion` is another model after a promotion; whatever it is called, the same model is the same start."""
    searched = {"search": {"model.n_conv": [1, 9]}}
    from_scratch, champion, latest = (
        configured_as(SweepConfig, [searched, own])
        for own in ({}, {"start_from": "champion"}, {"start_from": "latest"})
    )
    before, after = "a" * 64, "b" * 64
    found = {digest_of_search(champion, "0" * 64, start) for start in (before, after)}
    assert len(found | {digest_of_search(from_scratch, "0" * 64, None)}) == 3
    assert found == {digest_of_search(latest, "0" * 64, start) for start in (before, after)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["ensemble=0"], "ensemble: Input should be greater than or equal to 1, got 0"),
        (["ensemble=101"], "ensemble: Input should be less than or equal to 100, got 101"),
        (["ensemble=two"], "ensemble: Input should be a valid integer"),
        (["ensemble=9", "trials=4", "refine=4"], "ensemble: the best 9 of 8 trials are not there; allowed are 1 to 8"),
        (["ensemble=3", "sampler=grid"], "ensemble: the best 3 of 2 trials are not there; allowed are 1 to 2"),
        (["ensemble=2", "train.members=2"], "ensemble: the 2 best trials predict together, or train.members=2 of"),
        (["member_settings=[{model.n_h: 1}, {model.n_h: 2}]"], "member_settings: are what a sweep finds"),
    ],
)
def test_an_ensemble_that_cannot_be_is_one_line_before_anything_starts(
    settings, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(["sweep", "--set=search.model.n_conv=[1, 2]", *(f"--set={text}" for text in settings)])
    error = capsys.readouterr().err
    assert (end.value.code, len(error.strip().splitlines())) == (2, 1)
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("split.seed", "errors would not compare: trials would have other rows, or another target"),
        ("checks.min_distance", "errors would not compare"),
        ("source", "errors would not compare"),
        ("train.task", "errors would not compare"),
        ("train.where", "it is one of the run, not of a trial"),
        ("train.members", "it is one of the run, not of a trial"),
        ("device", "it is one of the run, not of a trial"),
    ],
)
def test_a_key_that_cannot_be_searched_is_refused_with_the_reason(key, why, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        cli.main(["sweep", f"--set=search.{key}=[1, 2]"])
    error = capsys.readouterr().err
    assert (end.value.code, len(error.strip().splitlines())) == (2, 1)
    assert f"search.{key}: cannot be searched, because {why}" in error

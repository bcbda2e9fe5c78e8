"""Champions: decisions are written down once, one after the other, whoever else decides at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.champions import ChampionChanged, Decision, Lineage, decide, lineage, lineages, now, roll_back
from storage.errors import InputError

NAME = "mp-band_gap"


def decision(model: str, champion: str | None = None, *, promoted: bool = True, kind: str = "retrain") -> Decision:
    return Decision(
        at=now(), kind=kind, run=f"run-{model}", model=model, champion=champion, promoted=promoted, reason="a test"
    )


def test_the_first_model_is_the_champion_and_a_worse_one_is_written_down_beside_it(any_store):
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("b", "a", promoted=False))
    known = lineage(any_store, NAME)
    assert known.champion.model == "a"
    assert [d.model for d in known.decisions] == ["a", "b"]
    assert [each.name for each in lineages(any_store)] == [NAME]


def test_a_model_is_compared_with_the_champion_and_the_champion_with_the_one_before(store):
    assert lineage(store, NAME).reference_model("a") is None
    decide(store, NAME, decision("a"))
    assert lineage(store, NAME).reference_model("a") is None
    assert lineage(store, NAME).reference_model("b") == "a"
    decide(store, NAME, decision("b", "a"))
    assert lineage(store, NAME).reference_model("b") == "a"


def test_the_same_decision_twice_is_one(any_store):
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("a"))
    assert len(lineage(any_store, NAME).decisions) == 1


def test_a_rollback_brings_the_champion_before_back_and_a_repeated_run_does_not_undo_it(any_store):
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("b", "a"))
    assert roll_back(any_store, NAME).champion.model == "a"
    decide(any_store, NAME, decision("b", "a"))  # the same training again, from the store
    assert lineage(any_store, NAME).champion.model == "a"
    with pytest.raises(InputError, match="no champion before its first"):
        roll_back(any_store, NAME)
    with pytest.raises(InputError, match=f"there are {NAME}"):
        roll_back(any_store, "another")


def test_who_was_compared_with_another_champion_is_told(any_store):
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("b", "a"))
    with pytest.raises(ChampionChanged, match="b was promoted meanwhile"):
        decide(any_store, NAME, decision("c", "a"))
    assert lineage(any_store, NAME).champion.model == "b"


def test_runs_that_finish_together_decide_one_after_the_other(store):
    """Each tries until it has been compared with the champion of the moment: nothing is lost, nothing is torn."""

    def finish(model: str) -> None:
        while True:
            try:
                decide(store, NAME, decision(model, lineage(store, NAME).reference_model(model)))
                return
            except ChampionChanged:
                continue

    models = [f"m{n}" for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(finish, models))
    made = lineage(store, NAME).decisions
    assert sorted(d.model for d in made) == sorted(models)
    assert [d.champion for d in made] == [None, *(d.model for d in made[:-1])]
    assert len(list(store.root.glob("champions/*/*"))) == len(models)
    assert not list(store.root.glob("champions/*/.*"))


@given(st.lists(st.sampled_from(["promote", "keep", "rollback"]), max_size=30))
def test_a_rollback_undoes_exactly_the_last_promotion_that_stands(steps):
    standing: list[str] = []
    decisions: list[Decision] = []
    for number, step in enumerate(steps):
        name = f"m{number}"
        if step == "rollback":
            if len(standing) < 2:
                continue
            standing.pop()
            decisions.append(decision(standing[-1], kind="rollback"))
        else:
            decisions.append(decision(name, promoted=step == "promote"))
            standing += [name] if step == "promote" else []
    known = Lineage(name=NAME, decisions=decisions)
    assert [d.model for d in known.promotions] == standing


def test_a_damaged_file_is_one_line(store):
    decide(store, NAME, decision("a"))
    (path,) = store.root.glob("champions/*/*.json")
    path.write_text("{")
    with pytest.raises(InputError, match="is damaged"):
        lineage(store, NAME)
    with pytest.raises(InputError, match="is damaged"):
        lineages(store)

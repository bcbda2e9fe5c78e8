"""Champions: decisions are written down once, one after the other, whoever else decides at the same time."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.artefact import digest_of
from storage.champions import (
    ChampionChanged,
    Decision,
    Lineage,
    decide,
    decide_or_compare,
    lineage,
    lineages,
    now,
    roll_back,
)
from storage.errors import InputError, WorldError
from storage.store import Store

NAME = "mp-band_gap"


def model_of(name: str) -> str:
    """The path of a model, in a store of trained models."""
    return f"train-model/{digest_of(name)}"


A, B = model_of("a"), model_of("b")


def decision(name: str, champion: str | None = None, *, promoted: bool = True, kind: str = "retrain") -> Decision:
    return Decision(
        at=now(),
        kind=kind,
        run=f"run-{name}",
        model=model_of(name),
        champion=champion and model_of(champion),
        promoted=promoted,
        reason="a test",
    )


def test_the_first_model_is_the_champion_and_a_worse_one_is_written_down_beside_it(any_store):
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("b", "a", promoted=False))
    known = lineage(any_store, NAME)
    assert known.champion.model == A
    assert [d.model for d in known.decisions] == [A, B]
    assert [each.name for each in lineages(any_store)] == [NAME]


def test_a_model_is_compared_with_the_champion_and_the_champion_with_the_one_before(store):
    assert lineage(store, NAME).reference_model(A) is None
    decide(store, NAME, decision("a"))
    assert lineage(store, NAME).reference_model(A) is None
    assert lineage(store, NAME).reference_model(B) == A
    decide(store, NAME, decision("b", "a"))
    assert lineage(store, NAME).reference_model(B) == A


def test_the_same_decision_twice_is_one(any_store):
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("a"))
    assert len(lineage(any_store, NAME).decisions) == 1


def test_a_rollback_brings_the_champion_before_back_and_a_repeated_run_does_not_undo_it(any_store):
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("b", "a"))
    assert roll_back(any_store, NAME).champion.model == A
    decide(any_store, NAME, decision("b", "a"))  # the same training again, from the store
    assert lineage(any_store, NAME).champion.model == A
    with pytest.raises(InputError, match="no champion before its first"):
        roll_back(any_store, NAME)
    with pytest.raises(InputError, match=f"there are {NAME}"):
        roll_back(any_store, "another")


def test_another_margin_is_another_decision(any_store):
    """The same comparison, whose model is now good enough: promoted, it stays so where it is not good enough again."""
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("b", "a", promoted=False))
    assert decide(any_store, NAME, decision("b", "a")).champion.model == B
    known = decide(any_store, NAME, decision("b", "a", promoted=False))
    assert (known.champion.model, len(known.decisions)) == (B, 3)


@pytest.mark.parametrize("first", ["retrain", "promote"])
def test_no_margin_brings_a_model_back_that_was_taken_back(any_store, first):
    """Whoever had promoted it, a run or a hand."""
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("b", "a", promoted=False))
    decide(any_store, NAME, decision("b", "a", kind=first))
    before = roll_back(any_store, NAME)
    for promoted in (True, False, True):
        assert decide(any_store, NAME, decision("b", "a", promoted=promoted)) == before
    assert lineage(any_store, NAME).champion.model == A
    decide(any_store, NAME, decision("c", "a"))
    assert decide(any_store, NAME, decision("b", "c")).champion.model == B  # better than the next champion


@pytest.mark.parametrize("by_hand", [["b", "a"], ["c", "a"]], ids=["and back", "over another"])
def test_the_champion_that_is_trained_again_stays_it_whatever_it_is_compared_with(any_store, by_hand):
    """Chosen by hand it has another predecessor than in its own decision, and is compared with that one."""
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("b", "a", promoted=False))
    for name, champion in zip(by_hand, ["a", *by_hand], strict=False):
        decide(any_store, NAME, decision(name, champion, kind="promote"))
    before = lineage(any_store, NAME)
    for promoted in (True, False):
        again = decision("a", by_hand[0], promoted=promoted)
        assert before.reference_model(A) == again.champion
        assert decide(any_store, NAME, again) == before
    assert lineage(any_store, NAME) == before


def test_comparisons_have_an_end(store):
    """Each finds the champion that was there when it began; meanwhile somebody promotes another one."""
    decide(store, NAME, decision("a"))

    def compared(times: int):
        left = iter(range(times))

        def again(_: ChampionChanged) -> Decision:
            made = decision("z").model_copy(update={"champion": lineage(store, NAME).champion.model})
            for number in left:
                decide(store, NAME, decision(f"m{times}-{number}", kind="promote"))
                break
            return made

        return again

    made, known = decide_or_compare(store, NAME, decision("z"), compared(3))
    assert known.champion == made == lineage(store, NAME).champion
    assert made.champion == model_of("m3-2")
    with pytest.raises(WorldError, match=f"{NAME}: another model was promoted during each of 20 comparisons"):
        decide_or_compare(store, NAME, decision("y"), compared(1000))


def test_who_was_compared_with_another_champion_is_told(any_store):
    decide(any_store, NAME, decision("a"))
    decide(any_store, NAME, decision("b", "a"))
    with pytest.raises(ChampionChanged, match=f"{B} was promoted meanwhile"):
        decide(any_store, NAME, decision("c", "a"))
    assert lineage(any_store, NAME).champion.model == B


def test_runs_that_finish_together_decide_one_after_the_other(store):
    """Each tries until it has been compared with the champion of the moment: nothing is lost, nothing is torn."""

    def finish(model: str) -> None:
        while True:
            try:
                compared_with = lineage(store, NAME).reference_model(model_of(model))
                made = decision(model).model_copy(update={"champion": compared_with})
                decide(store, NAME, made)
                return
            except ChampionChanged:
                continue

    models = [f"m{n}" for n in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(finish, models))
    made = lineage(store, NAME).decisions
    assert sorted(d.model for d in made) == sorted(map(model_of, models))
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
            decisions.append(decision(name, kind="rollback").model_copy(update={"model": standing[-1]}))
        else:
            decisions.append(decision(name, promoted=step == "promote"))
            standing += [model_of(name)] if step == "promote" else []
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


@pytest.fixture
def chain(any_store) -> Store:
    """Three decisions: a is promoted, b is not, c is."""
    for made in (decision("a"), decision("b", "a", promoted=False), decision("c", "a")):
        decide(any_store, NAME, made)
    return any_store


def file_of(number: int) -> str:
    return f"champions/{NAME}/{number:04}.json"


def write(store: Store, file: str, text: str | None) -> None:
    """Replace a file where the store keeps it, or delete it."""
    if store.remote is None:
        path = store.root / file
        path.unlink(missing_ok=True)
        if text is not None:
            path.write_text(text)
    else:
        store.remote.remove(file)
        if text is not None:
            store.remote.create(file, text.encode())


def read(store: Store, number: int) -> str:
    return store.read_texts(f"champions/{NAME}")[f"{number:04}.json"]


def refused(store: Store, file: str) -> None:
    """Every reader says in one line which file it is, and what to do."""
    for reader in (lambda: lineage(store, NAME), lambda: lineages(store), lambda: decide(store, NAME, decision("d"))):
        with pytest.raises(InputError, match=f"{file}: .*bring it back from a copy, or move the folder away") as told:
            reader()
        assert "\n" not in str(told.value)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_another_champion_in_a_file_is_noticed(chain, number):
    write(chain, file_of(number), read(chain, number).replace(model_of("a"), model_of("z")))
    refused(chain, file_of(number))


@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_file_is_noticed_by_the_next_one(chain, number):
    write(chain, file_of(number), None)
    refused(chain, file_of(number + 1))


def test_two_files_that_changed_places_are_noticed(chain):
    second, third = read(chain, 2), read(chain, 3)
    write(chain, file_of(2), third)
    write(chain, file_of(3), second)
    refused(chain, file_of(2))


def test_a_decision_of_another_name_is_noticed(store):
    decide(store, "another", decision("a"))
    (store.root / "champions" / "another").rename(store.root / "champions" / NAME)
    refused(store, file_of(1))


def test_a_file_that_is_no_decision_is_noticed(store):
    decide(store, NAME, decision("a"))
    (store.root / "champions" / NAME / "copy.json").write_text("{}")
    refused(store, f"champions/{NAME}/copy.json")


def test_no_flipped_byte_changes_what_is_read(store):
    """Each byte of a file in turn: it is refused, or (white space) says the same as before."""
    decide(store, NAME, decision("a"))
    path = store.root / file_of(1)
    whole, known = path.read_bytes(), lineage(store, NAME)
    noticed = 0
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 4]) + whole[position + 1 :])
        try:
            assert lineage(store, NAME) == known
        except InputError:
            noticed += 1
    assert noticed > 0.9 * len(whole.split(b"\n", 1)[1].replace(b" ", b""))


def test_decisions_go_on_after_the_damaged_folder_was_moved_away(chain):
    write(chain, file_of(2), None)
    for number in (1, 3):
        write(chain, file_of(number), None)
    assert decide(chain, NAME, decision("c")).champion.model == model_of("c")

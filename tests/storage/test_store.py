"""The artefact store: content in, content out, and nothing that a killed or damaged run left is taken for a result."""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.artefact import MANIFEST, Artefact, Part, Recipe
from storage.errors import InputError
from storage.store import Store

RECIPE = Recipe(step="step", version=1, parameters={"a": 1}, inputs={"table": "abc"})


def made(store: Store, recipe: Recipe = RECIPE, parts: tuple[Part, ...] = (), **files: str) -> Artefact:
    with store.building(recipe.step, recipe.key) as work:
        output = work / "output"
        output.mkdir()
        for name, text in files.items():
            (output / name).write_text(text)
        return store.commit(recipe, output, {"rows": 3}, parts)


def found(store: Store, artefact: Artefact) -> tuple[Artefact | None, list[str]]:
    messages: list[str] = []
    return store.find(artefact.step, artefact.key, messages.append), messages


def test_what_was_made_is_found(store):
    artefact = made(store, x="hello")
    assert found(store, artefact) == (artefact, [])
    assert store.path(artefact, "x").read_text() == "hello"


def test_what_was_never_made_is_not_found_and_nothing_is_said(store):
    messages = []
    assert store.find("step", RECIPE.key, messages.append) is None
    assert not messages


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / "x").unlink(), "x is missing"),
        (lambda folder: (folder / "x").write_text("hellO"), "x has other bytes"),
        (lambda folder: (folder / "x").write_text("hell"), "x has 4 bytes instead of 5"),
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing or damaged"),
        (lambda folder: (folder / MANIFEST).write_text('{"step": "st'), "manifest.json is missing or damaged"),
    ],
)
def test_damage_is_a_miss_that_says_why(store, damage, reason):
    artefact = made(store, x="hello")
    damage(store.folder(artefact.step, artefact.key))
    nothing, messages = found(store, artefact)
    assert nothing is None
    assert reason in messages[0]
    assert made(store, x="hello").digest == artefact.digest
    assert found(store, artefact)[0] is not None


def test_an_artefact_is_damaged_when_its_part_is(store):
    shard = made(store, RECIPE.model_copy(update={"step": "shard"}), x="edges")
    whole = made(store, parts=(Part(step="shard", key=shard.key, digest=shard.digest),), y="sum")
    assert found(store, whole) == (whole, [])
    store.path(shard, "x").write_text("EDGES")
    nothing, messages = found(store, whole)
    assert nothing is None
    assert "shard" in messages[0]


def test_digest_is_of_content_and_facts_are_not_content(store):
    one = made(store, x="same")
    other = made(store, RECIPE.model_copy(update={"version": 2}), x="same")
    assert one.key != other.key
    assert one.digest == other.digest
    assert one.digest == one.model_copy(update={"facts": {"seconds": 9.0}}).digest
    assert made(store, RECIPE.model_copy(update={"version": 3}), x="Same").digest != one.digest


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), st.randoms())
def test_order_of_parameters_does_not_matter(parameters, random):
    items = list(parameters.items())
    random.shuffle(items)
    shuffled = RECIPE.model_copy(update={"parameters": dict(items)})
    assert shuffled.key == RECIPE.model_copy(update={"parameters": parameters}).key


@pytest.mark.parametrize("change", [{"step": "other"}, {"version": 2}, {"parameters": {"a": 2}}, {"inputs": {}}])
def test_key_depends_on(change):
    assert RECIPE.model_copy(update=change).key != RECIPE.key


def test_two_runs_make_an_artefact_one_after_the_other(store):
    order = []

    def make(name: str) -> None:
        with store.building("step", RECIPE.key):
            order.append(f"{name} in")
            time.sleep(0.2)
            order.append(f"{name} out")

    threads = [threading.Thread(target=make, args=[name]) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [line.split()[1] for line in order] == ["in", "out", "in", "out"]
    assert not (store.root / "work").exists()


def test_nobody_waits_for_a_run_that_was_killed_and_its_work_is_still_there(store):
    code = (
        "import sys, pathlib, os, signal; from storage.store import Store\n"
        "with Store(root=pathlib.Path(sys.argv[1])).building('step', 'k') as work:\n"
        "    (work / 'checkpoint').write_text('epoch 3')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, str(store.root)], check=False).returncode == -9
    with store.building("step", "k") as work:
        assert (work / "checkpoint").read_text() == "epoch 3"


def test_a_wrong_input_leaves_no_work_behind(store):
    def refuse() -> None:
        with store.building("step", "k") as work:
            (work / "half").write_text("written")
            raise InputError("no such column")

    with pytest.raises(InputError):
        refuse()
    assert not (store.root / "work").exists()


@pytest.mark.parametrize("there", ["", "of", "of/ours"])
def test_a_refused_first_step_leaves_no_store_behind(tmp_path, there):
    """Folders that were there before stay, those above the store that were made for it do not."""
    (tmp_path / there).mkdir(parents=True, exist_ok=True)
    store = Store(root=tmp_path / "of" / "ours" / "store")

    def refuse() -> None:
        with store.building("step", "k"):
            raise InputError("no such key")

    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError):
        refuse()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_that_is_emptied_meanwhile_is_made_again(store):
    """Runs that come and go at once: each finds its folder, though another one has just removed it."""

    def come_and_go(number: int) -> None:
        for _ in range(30):
            with store.building("step", f"k{number % 3}") as work:
                (work / "half").write_text("written")

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(come_and_go, range(6)))
    assert not (store.root / "work").exists()


def test_artefacts_of_a_step_are_listed_newest_first(store):
    keys = [made(store, RECIPE.model_copy(update={"version": n}), x=str(n)).key for n in range(3)]
    listed = [artefact.key for artefact in store.list("step")]
    assert sorted(listed) == sorted(keys)
    created = [artefact.created for artefact in store.list("step")]
    assert created == sorted(created, reverse=True)

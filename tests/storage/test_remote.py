"""A store at a URL: what one machine finished, another one finds; what is not whole there is no result."""

import resource

import pytest
from s3fs import S3FileSystem

from storage.artefact import MANIFEST, Artefact, Part, Recipe
from storage.errors import InputError, WorldError
from storage.store import Store

RECIPE = Recipe(step="step", version=1, parameters={}, inputs={})


def made(store: Store, recipe: Recipe = RECIPE, parts: tuple[Part, ...] = ()) -> Artefact:
    with store.building(recipe.step, recipe.key) as work:
        (work / "output" / "of").mkdir(parents=True)
        (work / "output" / "table").write_text("rows")
        (work / "output" / "of" / "x").write_text("deeper")
        return store.commit(recipe, work / "output", {}, parts)


@pytest.fixture
def here(tmp_path, bucket) -> Store:
    return Store(root=tmp_path / "here", url=bucket)


@pytest.fixture
def there(tmp_path, bucket) -> Store:
    """The same store, as another machine sees it."""
    return Store(root=tmp_path / "there", url=bucket)


def found(store: Store, artefact: Artefact) -> tuple[Artefact | None, list[str]]:
    messages: list[str] = []
    return store.find(artefact.step, artefact.key, messages.append), messages


def test_what_one_machine_made_another_finds_with_its_parts(here, there):
    shard = made(here, RECIPE.model_copy(update={"step": "shard"}))
    whole = made(here, parts=(Part(step="shard", key=shard.key, digest=shard.digest),))
    assert found(there, whole) == (whole, [])
    assert there.path(shard, "of/x").read_text() == "deeper"
    assert [artefact.key for artefact in there.list("step")] == [whole.key]
    assert there.location("step/x") == f"{here.url}/step/x"


def test_one_file_of_it_is_there_when_it_is_asked_for(here, there):
    artefact = made(here)
    assert (there.local_folder("step", artefact.key) / "table").read_text() == "rows"


def test_what_is_half_there_is_not_there(here, there):
    """As a machine leaves it that was switched off while it sent: files without a manifest, or not all files."""
    artefact = made(here)
    here.remote.remove(f"step/{artefact.key}/{MANIFEST}")
    assert found(there, artefact) == (None, [])
    assert found(here, artefact) == (artefact, [])  # the machine that has it whole sends it again
    assert found(there, artefact) == (artefact, [])


def test_a_file_lost_there_is_told_and_mended_by_who_has_it(here, there):
    artefact = made(here)
    here.remote.remove(f"step/{artefact.key}/table")
    nothing, messages = found(there, artefact)
    assert nothing is None
    assert "table is missing or cut at s3://" in messages[0]
    assert found(here, artefact)[0] == artefact
    assert found(there, artefact)[0] == artefact


def test_other_bytes_there_are_a_miss_that_making_it_mends(here, there, tmp_path):
    artefact = made(here)
    (tmp_path / "wrong").write_text("rowz")
    here.remote.put(tmp_path / "wrong", f"step/{artefact.key}/table")
    nothing, messages = found(there, artefact)
    assert nothing is None
    assert "table has other bytes" in messages[0]
    made(there)
    assert found(there, artefact)[0] is not None
    third = Store(root=tmp_path / "third", url=here.url)
    assert found(third, artefact)[0] is not None


def test_a_fetch_that_fails_leaves_nothing(here, there):
    """A disk that takes no more than the first files, as the kernel's limit of a file's size has it."""
    recipe = RECIPE.model_copy(update={"step": "large"})
    with here.building(recipe.step, recipe.key) as work:
        (work / "output").mkdir()
        (work / "output" / "a").write_text("small")
        (work / "output" / "b").write_bytes(b"x" * 1_000_000)
        artefact = here.commit(recipe, work / "output", {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, before[1]))
    try:
        with pytest.raises(WorldError, match="File too large"):
            found(there, artefact)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(there.root.glob("work/aside-*"))
    assert found(there, artefact) == (artefact, [])


def test_damage_here_is_mended_from_there(here):
    artefact = made(here)
    here.path(artefact, "table").write_text("rowz")
    assert found(here, artefact) == (artefact, [])
    assert here.path(artefact, "table").read_text() == "rows"


def test_a_small_file_is_written_once(any_store):
    assert any_store.create("names/a.json", "first")
    assert not any_store.create("names/a.json", "second")
    assert any_store.read_texts("names") == {"a.json": "first"}
    assert any_store.read_texts("nothing") == {}


@pytest.mark.usefixtures("s3")
def test_a_url_that_leads_nowhere_is_one_line(monkeypatch):
    for url, messages in {
        "s3://nobody-has-this/store": "there is no bucket",
        "s3://bucket": "a folder in a bucket",
        "s4://bucket/store": "a store is a folder, or a URL",
    }.items():
        with pytest.raises(InputError, match=messages):
            Store.at(url).check()
    S3FileSystem.clear_instance_cache()  # they know the address of before
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(WorldError, match="Could not connect"):
        Store.at("s3://elsewhere/store").check()
    S3FileSystem.clear_instance_cache()

"""Checkpoints at a store's URL: the newest whole one is taken, a damaged one never, and nothing else is touched."""

from pathlib import Path

import pytest

from storage.artefact import Recipe
from storage.checkpoints import RemoteCheckpoints, add_checkpoint, checkpoints_in, whole_checkpoints
from storage.remote import Remote
from storage.store import Store

RECIPE = Recipe(step="step", version=1, parameters={}, inputs={})


def written(folder: Path, epoch: int) -> Path:
    """A checkpoint in the folder, as a training leaves it after that epoch."""
    folder.mkdir(exist_ok=True)
    (folder / "aside").write_text(f"weights after epoch {epoch}")
    add_checkpoint(folder / "aside", epoch)
    (path,) = folder.glob(f"checkpoint-{epoch:05}-*")
    return path


def epochs(folder: Path) -> list[int]:
    return [checkpoint.epoch for checkpoint in checkpoints_in(folder)]


def test_epochs_of_six_digits_are_found_and_old_ones_deleted(tmp_path):
    for epoch in (99_998, 99_999, 100_000, 100_001):
        written(tmp_path / "here", epoch)
    assert epochs(tmp_path / "here") == [100_001, 100_000]


@pytest.fixture
def remote(bucket) -> Remote:
    return Remote(bucket)


@pytest.fixture
def there(remote) -> RemoteCheckpoints:
    return RemoteCheckpoints(remote, "step", RECIPE.key)


@pytest.fixture
def sent(there, tmp_path):
    """sent(epoch): a machine writes the checkpoint of that epoch, and sends it; its name at the URL."""

    def send(epoch: int, machine: str = "sender") -> str:
        path = written(tmp_path / machine, epoch)
        there.send(path)
        return f"work/step-{RECIPE.key}/{path.name}"

    return send


def at_url(remote: Remote) -> list[int]:
    return sorted(int(name.split("checkpoint-")[1][:5]) for name in remote.sizes("work"))


def test_a_folder_keeps_the_newest_and_the_one_before(tmp_path):
    for epoch in (9, 10, 11):
        written(tmp_path / "f", epoch)
    assert epochs(tmp_path / "f") == [11, 10]


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"W" + content[1:], lambda _: b""])
def test_a_damaged_one_is_skipped_with_a_line_here_and_there(sent, there, remote, tmp_path, damage):
    sent(4)
    name = sent(5)
    (tmp_path / "damaged").write_bytes(damage(remote.read(name)))
    remote.put(tmp_path / "damaged", name)
    lines: list[str] = []
    assert there.fetch_newer(tmp_path / "other", lines.append).epoch == 4
    assert lines == [f"{remote.url}/{name}: is damaged, and skipped"]
    newest = written(tmp_path / "other", 6)
    newest.write_bytes(damage(newest.read_bytes()))
    assert [checkpoint.epoch for checkpoint in whole_checkpoints(tmp_path / "other", lines.append)] == [4]
    assert lines[1:] == [f"{newest}: is damaged, and skipped"]
    assert there.fetch_newer(tmp_path / "other", lines.append) is None


def test_the_newest_is_taken_be_it_here_or_there(sent, there, tmp_path):
    sent(5)
    written(tmp_path / "ahead", 6)
    written(tmp_path / "behind", 4)
    for machine, fetched, newest in (("ahead", None, 6), ("behind", 5, 5), ("new", 5, 5)):
        found = there.fetch_newer(tmp_path / machine, print)
        assert (found and found.epoch) == fetched
        assert epochs(tmp_path / machine)[0] == newest
    assert (tmp_path / "new").glob("*").__next__().read_text() == "weights after epoch 5"


def test_that_of_another_key_is_never_taken(sent, remote, tmp_path):
    sent(5)
    other = RECIPE.model_copy(update={"version": 2})
    assert RemoteCheckpoints(remote, "step", other.key).fetch_newer(tmp_path / "other", print) is None
    assert not (tmp_path / "other").exists()


def test_a_slower_machine_deletes_none_that_is_newer_than_its_own(sent, remote):
    for epoch in (7, 8, 9):
        sent(epoch)
    assert at_url(remote) == [8, 9]
    for epoch in (2, 3, 4):
        sent(epoch, "slower")
    assert at_url(remote) == [3, 4, 8, 9]
    sent(10)
    assert at_url(remote) == [9, 10]


def test_they_are_no_artefact_and_go_alone(sent, there, remote, tmp_path):
    store = Store(root=tmp_path / "copy", url=remote.url)
    (tmp_path / "file").write_text("other")
    others = {f"work/step-{RECIPE.key}/notes.pt", f"work/step-{'0' * 64}/checkpoint-00001-{'0' * 64}.pt", "step/x"}
    for name in others:
        remote.put(tmp_path / "file", name)
    sent(5)
    assert list(store.list("step")) == []
    assert store.find("step", RECIPE.key, print) is None
    there.clear()
    assert set(remote.sizes("")) == others


def test_one_that_comes_after_the_artefact_is_gone_at_once(sent, remote, tmp_path):
    """Of two machines that make the same, one has finished."""
    store = Store(root=tmp_path / "copy", url=remote.url)
    with store.building(RECIPE.step, RECIPE.key) as work:
        (work / "output").mkdir()
        (work / "output" / "f").write_text("result")
        artefact = store.commit(RECIPE, work / "output", {})
    sent(5)
    assert remote.sizes("work") == {}
    assert store.find("step", artefact.key, print) == artefact

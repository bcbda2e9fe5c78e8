"""Checkpoints of a step in the making: which are there, which of them are whole, and their copies at a store's URL.

A checkpoint is one file. Its name has the epoch after which it was written and the sha256 of its bytes, and the file
gets this name when it is complete: the name says which is the newest, and the bytes whether it is whole. At a URL the
checkpoints of an artefact are in `work/<step>-<key>/`, where nobody looks for an artefact.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from storage.artefact import digest_of_file
from storage.disk import synced_digest
from storage.remote import Remote
from storage.replication import whole_at

CHECKPOINTS = "checkpoints"  # the folder of checkpoints in a program's scratch folder
KEPT = 2  # the newest, and one that is used where the newest is damaged

NAME = re.compile(r"checkpoint-(?P<epoch>[0-9]{5,})-(?P<sha256>[0-9a-f]{64})\.pt")


class Checkpoint(BaseModel):
    """A checkpoint as its name describes it: the number of finished epochs, and the sha256 of its bytes."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    sha256: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"checkpoint-{self.epoch:05}-{self.sha256}.pt"


def checkpoints_among(names: Iterable[str]) -> list[Checkpoint]:
    """The checkpoints among files of these names, newest first."""
    found = [Checkpoint.model_validate(match.groupdict()) for name in names if (match := NAME.fullmatch(name))]
    return sorted(found, key=lambda checkpoint: (checkpoint.epoch, checkpoint.sha256), reverse=True)


def checkpoints_in(folder: Path) -> list[Checkpoint]:
    """The checkpoints in a local folder, newest first, their bytes unread. The folder need not exist."""
    return checkpoints_among(path.name for path in folder.glob("*.pt") if path.is_file())


def add_checkpoint(written: Path, epoch: int) -> None:
    """Give a complete file of a folder of checkpoints its name, and delete there all but the KEPT newest."""
    added = Checkpoint(epoch=epoch, sha256=synced_digest(written))
    written.replace(written.with_name(added.name))
    for old in checkpoints_in(written.parent)[KEPT:]:
        (written.parent / old.name).unlink(missing_ok=True)


def whole_checkpoints(folder: Path, warn: Callable[[str], object] = lambda _: None) -> Iterator[Checkpoint]:
    """The checkpoints in a local folder whose bytes are those that were written, newest first.

    `warn` gets a line for each damaged one.
    """
    for checkpoint in checkpoints_in(folder):
        if digest_of_file(folder / checkpoint.name) == checkpoint.sha256:
            yield checkpoint
        else:
            warn(f"{folder / checkpoint.name}: is damaged, and skipped")


class RemoteCheckpoints:
    """The checkpoints of one artefact in the making at the URL of a store.

    Several machines that make the same artefact may send theirs: names are of epoch and content, none deletes what is
    newer than its own, and all of them give the same result. Raises the errors of Remote.
    """

    def __init__(self, remote: Remote, step: str, key: str) -> None:
        self._remote = remote
        self._artefact = f"{step}/{key}"
        self._place = f"work/{step}-{key}"

    def fetch_newer(self, folder: Path, warn: Callable[[str], object]) -> Checkpoint | None:
        """Copy the newest whole checkpoint there to a local folder, if it is newer than all whole ones in that folder.

        Returns the copied one. `warn` gets a line for each damaged one there.
        """
        here = next(whole_checkpoints(folder), None)
        for there in self._found():
            if here and there.epoch <= here.epoch:
                return None
            content = self._remote.read(f"{self._place}/{there.name}")
            if content is None:
                continue  # a machine that makes the same artefact has a newer one
            if hashlib.sha256(content).hexdigest() != there.sha256:
                warn(f"{self._remote.url}/{self._place}/{there.name}: is damaged, and skipped")
                continue
            folder.mkdir(parents=True, exist_ok=True)
            aside = folder / ".fetched"
            aside.write_bytes(content)
            add_checkpoint(aside, there.epoch)
            return there
        return None

    def send(self, path: Path) -> None:
        """Copy a local checkpoint to the URL, and delete there those that it replaces.

        If another machine has finished the artefact, all checkpoints there are deleted, this one too.
        """
        held = path.with_name(".sent")  # the training deletes its older checkpoints while this one is copied
        held.unlink(missing_ok=True)
        os.link(path, held)
        self._remote.put(held, f"{self._place}/{path.name}")
        held.unlink()
        (sent,) = checkpoints_among([path.name])
        older = [checkpoint for checkpoint in self._found() if checkpoint.epoch < sent.epoch]
        self._remove(older[KEPT - 1 :])
        if whole_at(self._remote, self._artefact)[0]:
            self.clear()

    def clear(self) -> None:
        """Delete all checkpoints of the artefact there, and nothing else."""
        self._remove(self._found())

    def _found(self) -> list[Checkpoint]:
        return checkpoints_among(self._remote.sizes(self._place))

    def _remove(self, checkpoints: list[Checkpoint]) -> None:
        for checkpoint in checkpoints:
            self._remote.remove(f"{self._place}/{checkpoint.name}")

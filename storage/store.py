"""The artefact store: `<root>/<step>/<key>/` with a step's files and, written last, its `manifest.json`.

No manifest, no artefact. A key is the sha256 of the step's name and version, the parameters that matter to its
bytes, and the contents of its inputs; so a key that is there, and whose files still match their digests, is the result.
"""

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import InputError
from storage.program import write_atomically

MANIFEST = "manifest.json"


class StoredFile(BaseModel):
    """Size and content of one file of an artefact."""

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: str


class Part(BaseModel):
    """An artefact that belongs to another one, as a shard does to its table."""

    model_config = ConfigDict(frozen=True)

    step: str
    key: str
    digest: str


class Artefact(BaseModel):
    """What a step made: the manifest of its files. `facts` tell of the run and are no part of `digest`."""

    model_config = ConfigDict(frozen=True)

    step: str
    version: int
    key: str
    created: str
    parameters: dict[str, Any]
    inputs: dict[str, str]
    files: dict[str, StoredFile]
    parts: list["Part"] = []
    facts: dict[str, Any]

    @property
    def digest(self) -> str:
        """Content of all files and parts: the same bytes have the same digest, however they were made."""
        return digest_of([{n: file.sha256 for n, file in self.files.items()}, sorted(p.digest for p in self.parts)])


def digest_of(value: Any) -> str:
    """sha256 of a JSON value in canonical form."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Recipe(BaseModel):
    """All that an artefact's bytes depend on: the step, its version, its parameters, the contents of its inputs."""

    model_config = ConfigDict(frozen=True)

    step: str
    version: int
    parameters: dict[str, Any]
    inputs: dict[str, str]

    @property
    def key(self) -> str:
        """The name under which the artefact is stored."""
        return digest_of(self.model_dump())


class Store(BaseModel):
    """A folder of artefacts, shared by any number of runs at a time."""

    model_config = ConfigDict(frozen=True)

    root: Path

    def folder(self, step: str, key: str) -> Path:
        """Where the artefact lies, or would."""
        return self.root / step / key

    def path(self, artefact: Artefact, name: str) -> Path:
        """One file of an artefact."""
        return self.folder(artefact.step, artefact.key) / name

    def find(self, step: str, key: str, tell: Callable[[str], object]) -> Artefact | None:
        """The artefact, every byte verified. Where it is damaged: None, and `tell` gets a line that says why."""
        folder = self.folder(step, key)
        artefact = self.read(step, key)
        if artefact is None:
            if folder.exists():
                tell(f"{step} {key[:8]}: {MANIFEST} is missing or damaged; the step runs again")
            return None
        for name, file in artefact.files.items():
            fault = _fault(folder / name, file)
            if fault:
                tell(f"{step} {key[:8]}: {name} {fault}; the step runs again")
                return None
        for part in artefact.parts:
            found = self.find(part.step, part.key, tell)
            if found is None or found.digest != part.digest:
                tell(f"{step} {key[:8]}: its part {part.step} {part.key[:8]} is gone; the step runs again")
                return None
        return artefact

    def read(self, step: str, key: str) -> Artefact | None:
        """The artefact as its manifest tells it, its files unread; None where there is no readable manifest."""
        path = self.folder(step, key) / MANIFEST
        try:
            return Artefact.model_validate_json(path.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def list(self, step: str) -> Iterator[Artefact]:
        """Every artefact of a step, newest first, files unread."""
        folders = [f for f in (self.root / step).glob("*") if (f / MANIFEST).exists()]
        found = [a for f in folders if (a := self.read(step, f.name)) is not None]
        yield from sorted(found, key=lambda artefact: artefact.created, reverse=True)

    @contextmanager
    def building(self, step: str, key: str) -> Iterator[Path]:
        """The work folder of one artefact, held by one run at a time; what a killed attempt left in it is still there.

        The kernel frees the lock when its holder dies, so nobody waits for a run that is no more. A wrong input leaves
        nothing that a next attempt could use.
        """
        work = self.root / "work" / f"{step}-{key}"
        work.mkdir(parents=True, exist_ok=True)
        with locked(work.with_name(f"{work.name}.lock")):
            work.mkdir(exist_ok=True)
            try:
                yield work
            except InputError:
                shutil.rmtree(work)
                raise
            shutil.rmtree(work)

    def commit(self, recipe: Recipe, output: Path, facts: dict[str, Any], parts: Sequence[Part] = ()) -> Artefact:
        """Move the finished files of `output` into place, manifest last, in one rename."""
        names = sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
        artefact = Artefact(
            **recipe.model_dump(),
            key=recipe.key,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            files={n: StoredFile(size=(output / n).stat().st_size, sha256=_synced_digest(output / n)) for n in names},
            parts=list(parts),
            facts=facts,
        )
        write_atomically(output / MANIFEST, artefact.model_dump_json(indent=1))
        folder = self.folder(recipe.step, artefact.key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        if folder.exists():  # damaged: find() said so
            grave = self.root / "work" / f"damaged-{artefact.key}-{time.time_ns()}"
            folder.replace(grave)
            shutil.rmtree(grave)
        output.replace(folder)
        return artefact


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path`, which is there only while somebody holds it or waits."""
    while True:
        with path.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                if not os.path.samestat(os.fstat(lock.fileno()), path.stat()):
                    continue  # the former holder removed the file that was waited for, and there is a new one
            except FileNotFoundError:
                continue  # or none yet
            try:
                yield
            finally:
                path.unlink()
            return


def _fault(path: Path, file: StoredFile) -> str:
    if not path.exists():
        return "is missing"
    if path.stat().st_size != file.size:
        return f"has {path.stat().st_size} bytes instead of {file.size}"
    return "" if digest_of_file(path) == file.sha256 else "has other bytes than were written"


def _synced_digest(path: Path) -> str:
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return digest_of_file(path)

"""The artefact store: `<root>/<step>/<key>/` with a step's files and, written last, its `manifest.json`.

No manifest, no artefact. A key is the sha256 of the step's name and version, the parameters that matter to its
bytes, and the contents of its inputs; so a key that is there, and whose files still match their digests, is the result.

A store at a URL has a copy here of what was used here: programs read and write local files. What is finished goes
there, the manifest last, and what others finished comes from there when it is asked for.
"""

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from storage.artefact import MANIFEST, Artefact, Part, Recipe, StoredFile, digest_of, digest_of_file, parse_manifest
from storage.errors import InputError
from storage.program import write_atomically
from storage.remote import SEPARATOR, Remote, remote_at
from storage.replication import move_into_place, publish, synchronize


class Store(BaseModel):
    """A folder of artefacts, shared by any number of runs at a time; `url` where it lies elsewhere."""

    model_config = ConfigDict(frozen=True)

    root: Path
    url: str | None = None

    @classmethod
    def at(cls, place: str | Path) -> "Store":
        """The store in that folder, or at that URL: then its copy here is under $XDG_CACHE_HOME."""
        if SEPARATOR not in str(place):
            return cls(root=Path(place))
        url = str(place).rstrip("/")
        caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        return cls(root=caches / "cgcnn-flows" / digest_of(url)[:16], url=url)

    def absolute(self) -> "Store":
        """The same store with an absolute path, for programs that run in another folder."""
        return self.model_copy(update={"root": self.root.absolute()})

    @property
    def remote(self) -> Remote | None:
        """The store at its URL; None for a folder."""
        return remote_at(self.url) if self.url else None

    def check(self) -> None:
        """Raises InputError if the store has a URL that leads nowhere."""
        if self.remote:
            self.remote.check()

    def location(self, name: str) -> str:
        """Path or URL of a file in the store."""
        return f"{self.url}/{name}".rstrip("/") if self.url else str(self.root / name)

    @property
    def address(self) -> str:
        """Absolute path or URL of the store, for other processes."""
        return self.absolute().location("")

    def folder(self, step: str, key: str) -> Path:
        """The folder of an artefact on this machine, whether it exists or not."""
        return self.root / step / key

    def local_folder(self, step: str, key: str) -> Path:
        """The artefact's folder on this machine. Files of a store at a URL are fetched first."""
        folder = self.folder(step, key)
        if self.remote and not (folder / MANIFEST).exists():
            self.find(step, key, lambda _: None)
        return folder

    def path(self, artefact: Artefact, name: str) -> Path:
        """One file of an artefact."""
        return self.folder(artefact.step, artefact.key) / name

    def find(self, step: str, key: str, warn: Callable[[str], object]) -> Artefact | None:
        """The artefact, every byte verified. None where it is missing or damaged, of which `warn` gets a line."""
        artefact = self._read(step, key)
        fault = self._damage(step, key, artefact)
        if self.remote:
            here = None if fault else artefact
            with locked(self._work(f"copy-{key}.lock")):
                artefact, fault = synchronize(self.remote, self.folder(step, key), here)
            if artefact is not here:
                fault = fault or self._damage(step, key, artefact)
        if fault:
            warn(f"{step} {key[:8]}: {fault}; the step runs again")
        if artefact is None or fault:
            return None
        for part in artefact.parts:
            found = self.find(part.step, part.key, warn)
            if found is None or found.digest != part.digest:
                warn(f"{step} {key[:8]}: its part {part.step} {part.key[:8]} is gone; the step runs again")
                return None
        return artefact

    def _damage(self, step: str, key: str, artefact: Artefact | None) -> str:
        """What is wrong with the files here; nothing where there are none."""
        folder = self.folder(step, key)
        if artefact is None:
            return f"{MANIFEST} is missing or damaged" if folder.exists() else ""
        faults = (f"{name} {fault}" for name, file in artefact.files.items() if (fault := _fault(folder / name, file)))
        return next(faults, "")

    def read(self, step: str, key: str) -> Artefact | None:
        """The artefact as its manifest tells it, its files unread; None where there is no readable manifest."""
        return parse_manifest(self.remote.read(f"{step}/{key}/{MANIFEST}")) if self.remote else self._read(step, key)

    def _read(self, step: str, key: str) -> Artefact | None:
        path = self.folder(step, key) / MANIFEST
        return parse_manifest(path.read_bytes()) if path.exists() else None

    def list(self, step: str) -> Iterator[Artefact]:
        """Every artefact of a step, newest first, files unread."""
        if self.remote:
            names = [f"{step}/{name}" for name in self.remote.sizes(step) if name.endswith(f"/{MANIFEST}")]
            manifests = list(self.remote.read_all(names).values())
        else:
            manifests = [path.read_bytes() for path in (self.root / step).glob(f"*/{MANIFEST}")]
        found = [artefact for manifest in manifests if (artefact := parse_manifest(manifest)) is not None]
        yield from sorted(found, key=lambda artefact: artefact.created, reverse=True)

    def create(self, name: str, text: str) -> bool:
        """Write a small file unless there is one of that name; False where there is, whoever else writes meanwhile."""
        if self.remote:
            return self.remote.create(name, text.encode())
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
        write_atomically(aside, text)
        try:
            os.link(aside, path)
        except FileExistsError:
            return False
        finally:
            aside.unlink()
        return True

    def read_texts(self, folder: str) -> dict[str, str]:
        """The small files under a folder, by their names in it."""
        if self.remote:
            found = self.remote.read_all([f"{folder}/{name}" for name in self.remote.sizes(folder)])
            return {name.removeprefix(f"{folder}/"): content.decode() for name, content in found.items()}
        top = self.root / folder
        return {str(path.relative_to(top)): path.read_text(encoding="utf-8") for path in top.rglob("[!.]*.json")}

    def _work(self, name: str) -> Path:
        folder = self.root / "work"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    @contextmanager
    def building(self, step: str, key: str) -> Iterator[Path]:
        """The work folder of one artefact, held by one run at a time; what a killed attempt left in it is still there.

        The kernel frees the lock when its holder dies, so nobody waits for a run that is no more. A wrong input leaves
        nothing that a next attempt could use.
        """
        work = self._work(f"{step}-{key}")
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
        move_into_place(output, folder)
        if self.remote:
            publish(self.remote, artefact, folder)
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

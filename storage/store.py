"""The artefact store: `<root>/<step>/<key>/` with a step's files and, written last, its `manifest.json`.

No manifest, no artefact. A key is the sha256 of the step's name and version, the parameters that matter to its
bytes, and the contents of its inputs; so an artefact with that key, whose files match their digests, is the result.

Programs read and write local files: a store at a URL has a local copy of the artefacts that this machine used. Finished
artefacts are sent to the URL, the manifest last; those of other machines are fetched when they are needed.
"""

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from storage.artefact import MANIFEST, Artefact, Part, Recipe, StoredFile, digest_of, parse_manifest
from storage.disk import check_inside, fault_of, locked, make_folder, read_inside, remove_links, synced_digest
from storage.errors import InputError
from storage.program import write_atomically
from storage.remote import SEPARATOR, Remote, remote_at
from storage.replication import move_into_place, publish, synchronize


class Store(BaseModel):
    """A folder of artefacts, shared by any number of concurrent runs. With `url`, `root` is its local copy."""

    model_config = ConfigDict(frozen=True)

    root: Path
    url: str | None = None

    @classmethod
    def at(cls, place: str | Path) -> "Store":
        """The store in that folder, or at that URL; the local copy of a URL lies under $XDG_CACHE_HOME."""
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
        """The connection to the URL; None for a folder."""
        return remote_at(self.url) if self.url else None

    def check(self) -> None:
        """Raises InputError if the URL's bucket does not exist or is not readable, WorldError if the service fails."""
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
        """The local folder of an artefact; it need not exist.

        Raises InputError if the step's folder is a link out of the store.
        """
        return check_inside(self.root, self.root / step) / key

    def local_folder(self, step: str, key: str) -> Path:
        """The local folder of an artefact. Files of a store at a URL are fetched first."""
        folder = self.folder(step, key)
        if self.remote and not (folder / MANIFEST).exists():
            self.find(step, key, lambda _: None)
        return folder

    def path(self, artefact: Artefact, name: str) -> Path:
        """The local path of one file of an artefact; it need not exist."""
        return self.folder(artefact.step, artefact.key) / name

    def verified_path(self, artefact: Artefact, name: str) -> Path | None:
        """The local path of one file of an artefact, its bytes verified; None if it is missing or damaged."""
        path = self.local_folder(artefact.step, artefact.key) / name
        stored = artefact.files.get(name)
        return None if stored is None or fault_of(self.root, path, stored) else path

    def content(self, artefact: Artefact, name: str) -> bytes | None:
        """The bytes of one file of an artefact, verified; None if it is missing or damaged."""
        path = self.verified_path(artefact, name)
        return None if path is None else path.read_bytes()

    def find(
        self, step: str, key: str, warn: Callable[[str], object], within: frozenset[str] = frozenset()
    ) -> Artefact | None:
        """The artefact, every byte verified, its parts too. `warn` gets a line if it is damaged.

        Returns None if it is missing or damaged. `within` are the keys of the artefacts that it is a part of.
        """
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
            known = within | {key}
            found = None if part.key in known else self.find(part.step, part.key, warn, known)
            if found is None or found.digest != part.digest:
                warn(f"{step} {key[:8]}: its part {part.step} {part.key[:8]} is gone; the step runs again")
                return None
        return artefact

    def _damage(self, step: str, key: str, artefact: Artefact | None) -> str:
        """What is wrong with the local files; empty if nothing is, or there are none."""
        folder = self.folder(step, key)
        if artefact is None:
            return f"{MANIFEST} is missing or damaged" if folder.exists() else ""
        for name, file in artefact.files.items():
            if fault := fault_of(self.root, folder / name, file):
                return f"{name} {fault}"
        return ""

    def read(self, step: str, key: str) -> Artefact | None:
        """The artefact as its manifest describes it, its files unread; None if there is no readable manifest."""
        if self.remote:
            return parse_manifest(self.remote.read(f"{step}/{key}/{MANIFEST}"), step, key)
        return self._read(step, key)

    def _read(self, step: str, key: str) -> Artefact | None:
        return parse_manifest(read_inside(self.root, self.folder(step, key) / MANIFEST), step, key)

    def list(self, step: str, warn: Callable[[str], object] = lambda _: None) -> Iterator[Artefact]:
        """Every artefact of a step, newest first, files unread. `warn` gets a line for each damaged manifest."""
        found = []
        for name, content in self._manifests(step).items():
            artefact = parse_manifest(content, step, name.removesuffix(f"/{MANIFEST}"))
            if artefact is None:
                warn(f"{self.location(f'{step}/{name}')}: is damaged, and left out")
            else:
                found.append(artefact)
        yield from sorted(found, key=lambda artefact: artefact.created, reverse=True)

    def _manifests(self, step: str) -> dict[str, bytes | None]:
        """The bytes of each `<key>/manifest.json` of a step; None if it is not a file of the store."""
        if self.remote:
            names = [name for name in self.remote.sizes(step) if name.endswith(f"/{MANIFEST}")]
            read = self.remote.read_all([f"{step}/{name}" for name in names])
            return {name: read.get(f"{step}/{name}") for name in names}
        folder = check_inside(self.root, self.root / step)
        return {str(path.relative_to(folder)): read_inside(self.root, path) for path in folder.glob(f"*/{MANIFEST}")}

    def create(self, name: str, text: str) -> bool:
        """Write a small file if it does not exist; returns whether it was written. Of several writers one succeeds."""
        if self.remote:
            return self.remote.create(name, text.encode())
        path = check_inside(self.root, self.root / name)
        make_folder(path.parent)
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
        """The text of each small file under a folder, by its relative name; bytes that are not UTF-8 become U+FFFD.

        Raises InputError if one of them is a folder, or a link out of the store.
        """
        if self.remote:
            found = self.remote.read_all([f"{folder}/{name}" for name in self.remote.sizes(folder)])
            return {name.removeprefix(f"{folder}/"): _decoded(content) for name, content in found.items()}
        top, texts = check_inside(self.root, self.root / folder), {}
        for path in top.rglob("[!.]*.json"):
            content = read_inside(self.root, path)
            if content is None:
                raise InputError(f"{path}: is not a file of the store; remove it")
            texts[str(path.relative_to(top))] = _decoded(content)
        return texts

    def _work(self, name: str) -> Path:
        return check_inside(self.root, self.root / "work" / name)

    @contextmanager
    def building(self, step: str, key: str) -> Iterator[Path]:
        """The work folder of one artefact, locked: one run at a time has it. It keeps what a killed attempt left there.

        The kernel frees the lock when the process that holds it dies. After an InputError the folder is deleted: no
        later attempt could use its content.
        """
        work = self._work(f"{step}-{key}")
        with locked(work.with_name(f"{work.name}.lock")):
            remove_links(work)
            work.mkdir(exist_ok=True)
            try:
                yield work
            except InputError:
                shutil.rmtree(work)
                raise
            shutil.rmtree(work)

    def commit(self, recipe: Recipe, output: Path, facts: dict[str, Any], parts: Sequence[Part] = ()) -> Artefact:
        """Write the manifest of the finished files in `output`, and move them to their place in one rename."""
        names = sorted(str(p.relative_to(output)) for p in output.rglob("*") if p.is_file())
        artefact = Artefact(
            **recipe.model_dump(),
            key=recipe.key,
            created=datetime.now(UTC).isoformat(timespec="milliseconds"),
            files={n: StoredFile(size=(output / n).stat().st_size, sha256=synced_digest(output / n)) for n in names},
            parts=list(parts),
            facts=facts,
        )
        write_atomically(output / MANIFEST, artefact.model_dump_json(indent=1))
        folder = self.folder(recipe.step, artefact.key)
        move_into_place(output, folder)
        if self.remote:
            publish(self.remote, artefact, folder)
        return artefact


def _decoded(content: bytes) -> str:
    return content.decode(errors="replace")

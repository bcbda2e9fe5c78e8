"""A store at a URL: the file operations that it needs on S3, or on any other service that fsspec supports."""

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from storage.errors import InputError, WorldError

SEPARATOR = "://"


class Remote:
    """Reads and writes small files whole, copies larger ones from and to this machine. Names are relative to the URL.

    Raises WorldError if the service fails, InputError if it refuses access or the bucket does not exist.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._files, self._root = _opened(self.url)
        self._faults = _faults(self.url)

    def read(self, name: str) -> bytes | None:
        """The bytes of a file; None if it does not exist."""
        with self._translated_errors():
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def read_all(self, names: list[str]) -> dict[str, bytes]:
        """The bytes of many small files, by name. Files that do not exist are left out."""
        paths = {self._path(name): name for name in names}
        with self._translated_errors():
            found = self._files.cat(list(paths), on_error="omit") if paths else {}
        return {paths[path]: content for path, content in found.items()}

    def sizes(self, folder: str) -> dict[str, int]:
        """The size in bytes of every file under the folder, by its name relative to the folder."""
        top = self._path(folder)
        with self._translated_errors():
            try:
                found = self._files.find(top, detail=True)
            except FileNotFoundError:
                return {}
        return {path.removeprefix(top).lstrip("/"): int(entry["size"]) for path, entry in found.items()}

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file from the URL to `path`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._translated_errors():
            self._files.get_file(self._path(name), str(path))

    def put(self, path: Path, name: str) -> None:
        """Copy a file to the URL. A reader gets the old file or the new one, never a part."""
        with self._translated_errors():
            self._files.put_file(str(path), self._path(name))

    def create(self, name: str, content: bytes) -> bool:
        """Write a file if it does not exist; returns whether it did. Atomic: of several writers one succeeds."""
        with self._translated_errors():
            try:
                self._files.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
        return True

    def remove(self, name: str) -> None:
        """Delete a file if it exists."""
        with self._translated_errors():
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def check(self) -> None:
        """Raises InputError if the bucket does not exist, or this process may not list it."""
        bucket = self._root.partition("/")[0]
        with self._translated_errors():
            try:
                self._files.ls(self._root)
            except FileNotFoundError:
                if not self._files.exists(bucket):
                    raise InputError(f"{self.url}: there is no bucket {bucket}") from None

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise InputError(f"{self.url}: refused: {error}") from None
        except FileNotFoundError as error:
            raise InputError(f"{self.url}: there is no {error}") from None
        except self._faults as error:
            raise WorldError(f"{self.url}: {error}") from None


@functools.cache
def remote_at(url: str) -> Remote:
    """The connection of this process to that URL, made once."""
    return Remote(url)


def _opened(url: str) -> tuple[Any, str]:
    scheme = url.partition(SEPARATOR)[0]
    try:
        files, root = url_to_fs(url, use_listings_cache=False)
    except (ValueError, ImportError) as error:  # no such protocol; its package is not installed
        raise InputError(
            f"--store {url}: {error}; a store is a folder, or a URL such as s3://, gs://, abfs://"
        ) from None
    if "/" not in root.strip("/") and scheme != "memory":
        raise InputError(f"--store {url}: expected a folder in a bucket, as in {scheme}://{root or 'bucket'}/store")
    return files, root.rstrip("/")


def _faults(url: str) -> tuple[type[Exception], ...]:
    if fsspec.utils.get_protocol(url) not in {"s3", "s3a"}:
        return (OSError,)
    from botocore.exceptions import BotoCoreError  # only where it is used: it takes a moment to import

    return (OSError, BotoCoreError)  # the second: no credentials, no answer

"""A store elsewhere: the few things that a folder of artefacts needs of S3, or of any other place that fsspec knows."""

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
    """Small files read and written whole, larger ones copied from and to this machine. Names are relative to the URL.

    Raises WorldError where the service fails, InputError where it refuses or the bucket does not exist.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._files, self._root = _opened(self.url)
        self._faults = _faults(self.url)

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None where there is none of that name."""
        with self._translated_errors():
            try:
                return bytes(self._files.cat_file(self._path(name)))
            except FileNotFoundError:
                return None

    def read_all(self, names: list[str]) -> dict[str, bytes]:
        """Many small files at a time; without those that are not there."""
        paths = {self._path(name): name for name in names}
        with self._translated_errors():
            found = self._files.cat(list(paths), on_error="omit") if paths else {}
        return {paths[path]: content for path, content in found.items()}

    def sizes(self, folder: str) -> dict[str, int]:
        """Every file under the folder, by its name in it, with its size."""
        top = self._path(folder)
        with self._translated_errors():
            try:
                found = self._files.find(top, detail=True)
            except FileNotFoundError:
                return {}
        return {path.removeprefix(top).lstrip("/"): int(entry["size"]) for path, entry in found.items()}

    def fetch(self, name: str, path: Path) -> None:
        """Copy a file to this machine."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with self._translated_errors():
            self._files.get_file(self._path(name), str(path))

    def put(self, path: Path, name: str) -> None:
        """Copy a file from this machine; who reads meanwhile gets the old one whole, or the new one."""
        with self._translated_errors():
            self._files.put_file(str(path), self._path(name))

    def create(self, name: str, content: bytes) -> bool:
        """Write a file unless there is one of that name; False where there is, whoever else writes meanwhile."""
        with self._translated_errors():
            try:
                self._files.pipe_file(self._path(name), content, mode="create")
            except FileExistsError:
                return False
        return True

    def remove(self, name: str) -> None:
        """Delete a file, if it is there."""
        with self._translated_errors():
            try:
                self._files.rm_file(self._path(name))
            except FileNotFoundError:
                return

    def check(self) -> None:
        """Raises where the bucket is not there, or this process may not look into it."""
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
    """The one connection of this process to that URL."""
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

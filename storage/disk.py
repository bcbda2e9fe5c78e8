"""Reads, locks and checks files on this machine, and never follows a link that leads out of the store."""

import contextlib
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from storage.artefact import StoredFile, digest_of_file
from storage.errors import InputError

RACES = 100  # so often a folder may be removed by other runs while one makes it


def is_inside(root: Path, path: Path) -> bool:
    """Whether `path`, with all links followed, lies under `root`; it need not exist."""
    top = os.path.realpath(root)
    return os.path.commonpath([top, os.path.realpath(path)]) == top


def check_inside(root: Path, path: Path) -> Path:
    """`path`. Raises InputError if a link leads it out of `root`."""
    if not is_inside(root, path):
        raise InputError(f"{path}: is a link out of the store; remove it")
    return path


def read_inside(root: Path, path: Path) -> bytes | None:
    """The bytes of a regular file under `root`; None if it is missing, a folder, or a link out of `root`."""
    return path.read_bytes() if path.is_file() and is_inside(root, path) else None


def fault_of(root: Path, path: Path, file: StoredFile) -> str:
    """What is wrong with a file, in words that follow its name; empty if size and sha256 are those of `file`."""
    if not path.exists():
        return "is missing"
    if not path.is_file():
        return "is not a file"
    if not is_inside(root, path):
        return "is a link out of the store"
    if path.stat().st_size != file.size:
        return f"has {path.stat().st_size} bytes instead of {file.size}"
    return "" if digest_of_file(path) == file.sha256 else "has other bytes than were written"


def synced_digest(path: Path) -> str:
    """sha256 of a file whose bytes are on the disk when this returns, not in the kernel's cache alone."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    return digest_of_file(path)


def make_folder(path: Path) -> None:
    """Create the folder and its parents where they are missing. Raises InputError if a file has one of their names."""
    for _ in range(RACES):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError, FileNotFoundError):
            for each in (path, *path.parents):
                if _is_taken(each):
                    raise InputError(f"{each}: is not a folder; remove it") from None
            continue  # a folder was there, and another run has just removed it because it was empty
        return
    path.mkdir(parents=True, exist_ok=True)


def _is_taken(path: Path) -> bool:
    """Whether no folder can be made here, because the name is that of something else."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except FileNotFoundError:
        return path.is_symlink()
    except NotADirectoryError:
        return False  # that is said of the parent


def remove_links(folder: Path) -> None:
    """Delete a work folder that is a link or contains one: our steps create none, and writing would follow it."""
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif any(path.is_symlink() for path in folder.rglob("*")):
        shutil.rmtree(folder)


@contextmanager
def locked(path: Path, on_wait: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold an exclusive lock on `path`. The file exists only while somebody holds the lock or waits for it.

    `on_wait` is called before a wait for somebody else's.

    Folders above it that this call created, and the one it lies in, are removed afterwards if they are empty.
    """
    created = [folder for folder in path.parents if not folder.exists()]
    while True:
        make_folder(path.parent)
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except FileNotFoundError:
            continue  # a former holder removed the empty folder
        except OSError as error:
            if path.is_symlink() or path.is_dir():
                raise InputError(f"{path}: is not a lock file; remove it") from None
            raise error
        with open(lock, "w"):  # noqa: PTH123  a descriptor, which it closes
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                on_wait()
                fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                if not os.path.samestat(os.fstat(lock), path.stat()):
                    continue  # the former holder removed the file that was waited for, and there is a new one
            except FileNotFoundError:
                continue  # or none yet
            try:
                yield
            finally:
                path.unlink()
                _remove_empty([path.parent, *created])
            return


def _remove_empty(folders: list[Path]) -> None:
    with contextlib.suppress(OSError):  # not empty, or removed by another run
        for folder in dict.fromkeys(folders):
            folder.rmdir()


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock on `path`; the kernel frees it when that process dies."""
    try:
        lock = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return False  # there is none
    with open(lock, "w"):  # noqa: PTH123  a descriptor, which it closes
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False

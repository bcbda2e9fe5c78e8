"""Copies artefacts between this machine and the store's URL. Only complete ones are copied."""

import shutil
import time
from pathlib import Path

from storage.artefact import MANIFEST, Artefact, parse_manifest
from storage.disk import make_folder
from storage.remote import Remote


def synchronize(remote: Remote, folder: Path, here: Artefact | None) -> tuple[Artefact | None, str]:
    """Make the artefact complete in both places. Returns it, or None and what is wrong with it at the URL.

    `here` is the verified artefact in `folder`, or None. If the two differ, the one at the URL wins, because others use
    it; a damaged one at the URL is replaced by the one in `folder`.
    """
    name = f"{folder.parent.name}/{folder.name}"
    there, fault = whole_at(remote, name)
    if there is None:
        if here:
            publish(remote, here, folder)
        return here, "" if here else fault
    if here and here.digest == there.digest:
        return here, ""
    fetched = _aside(folder)
    try:
        for file in (*there.files, MANIFEST):
            remote.fetch(f"{name}/{file}", fetched / file)
        move_into_place(fetched, folder)
    finally:
        shutil.rmtree(fetched, ignore_errors=True)  # what a failed fetch left; nobody would use it
    return there, ""


def whole_at(remote: Remote, name: str) -> tuple[Artefact | None, str]:
    """The artefact at the URL if each file has its size there; else None, and which file is missing or cut."""
    artefact = parse_manifest(remote.read(f"{name}/{MANIFEST}"), *name.split("/"))
    if artefact is None:
        return None, ""
    sizes = remote.sizes(name)
    lost = next((file for file, stored in artefact.files.items() if sizes.get(file) != stored.size), None)
    return (artefact, "") if lost is None else (None, f"{lost} is missing or cut at {remote.url}")


def publish(remote: Remote, artefact: Artefact, folder: Path) -> None:
    """Copy the files of `folder` to the URL, the manifest last: without a manifest there is no artefact."""
    name = f"{artefact.step}/{artefact.key}"
    remote.remove(f"{name}/{MANIFEST}")
    for file in (*artefact.files, MANIFEST):
        remote.put(folder / file, f"{name}/{file}")


def move_into_place(made: Path, folder: Path) -> None:
    """Move a finished folder to its place in one rename. A damaged artefact there, or a link, is deleted."""
    make_folder(folder.parent)
    if folder.is_symlink() or folder.is_file():
        folder.unlink()
    elif folder.exists():
        grave = _aside(folder)
        grave.parent.mkdir(exist_ok=True)
        folder.replace(grave)
        shutil.rmtree(grave)
    made.replace(folder)


def _aside(folder: Path) -> Path:
    return folder.parents[1] / "work" / f"aside-{folder.name}-{time.time_ns()}"

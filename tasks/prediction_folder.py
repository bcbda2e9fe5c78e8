"""The folder beside the output of `cgcnn predict` in which finished rows lie until all are there.

It outlives a kill: the same command finds them there and goes on. Imports no Prefect.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from crystals.input_files import digest_of_inputs
from gnn.model_card import CARD
from storage.artefact import digest_of, digest_of_file
from storage.disk import locked
from storage.errors import InputError
from storage.parts import finished
from storage.program import write_atomically

RECORD = "record.json"
ATTEMPT = "attempt-"


class Work(NamedTuple):
    """Where finished parts go, how many parts and rows are there already, and a folder for this attempt's programs."""

    parts: Path
    first_part: int
    rows: int
    attempt: Path


def record_of(files: list[str], model: Path, *, trust_code: bool) -> dict[str, Any]:
    """What the predicted rows depend on: another record, and nothing of an earlier run is used."""
    try:
        contents = {path.name: digest_of_file(path) for path in [model / CARD, *sorted(model.glob("*.safetensors"))]}
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from None
    return {
        "inputs": digest_of_inputs(files),
        "model": digest_of(contents),
        "options": {"trust_code": trust_code},
        "program": {name: version(name) for name in ("cgcnn-flows", "torch")},
    }


@contextmanager
def work_folder(
    output: Path | None, record: Callable[[], dict[str, Any]], log: Callable[[str], None]
) -> Iterator[Work]:
    """The folder, locked; it is gone when the work is done, or could not be done with these inputs.

    Without `output` it is a temporary one, and nothing outlives a kill. Rows of a run with another record, and what is
    left of its programs, are deleted at the start.
    """
    if output is None:
        with tempfile.TemporaryDirectory(prefix=".predict-") as temporary:
            yield Work(_made(Path(temporary) / "parts"), 0, 0, Path(temporary))
        return
    folder = output.with_name(f".{output.name}.parts")
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(f"{folder}: is no folder, and the finished rows of {output} go there; remove it")
    with locked(folder / "lock", lambda: log(f"{output}: another prediction writes it; waiting for its end")):
        current = record()
        parts = folder / digest_of(current)[:16]
        _clear(folder, keep=parts)
        _tell_of_changes(folder / RECORD, current, output, log)
        write_atomically(folder / RECORD, json.dumps(current, indent=1))
        number, rows = finished(_made(parts))
        if rows:
            log(f"{output}: goes on after {rows:,} structures that were finished before it was stopped")
        try:
            yield Work(parts, number, rows, Path(tempfile.mkdtemp(prefix=ATTEMPT, dir=folder)))
        except InputError:
            _clear(folder)
            raise
        _clear(folder)


def _clear(folder: Path, keep: Path | None = None) -> None:
    """Delete the parts and attempts in the folder, except the parts in `keep`; without one, the record, too."""
    for path in folder.iterdir():
        if path != keep and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
    if keep is None:
        (folder / RECORD).unlink(missing_ok=True)


def _tell_of_changes(path: Path, current: dict[str, Any], output: Path, log: Callable[[str], None]) -> None:
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return
    changed = [name for name in current if current[name] != before.get(name)]
    if changed:
        log(f"{output}: starts afresh, for an earlier run that was stopped had other {' and '.join(changed)}")


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder

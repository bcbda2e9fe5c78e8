"""What a step made, and all that its bytes depend on."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.names import Digest, FileName, Line, StepName

MANIFEST = "manifest.json"


class StoredFile(BaseModel):
    """Size and content of one file of an artefact."""

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: Digest


class Part(BaseModel):
    """An artefact that belongs to another one, as a shard does to its table."""

    model_config = ConfigDict(frozen=True)

    step: StepName
    key: Digest
    digest: Digest


class Artefact(BaseModel):
    """What a step made: the manifest of its files. `facts` tell of the run and are no part of `digest`."""

    model_config = ConfigDict(frozen=True)

    step: StepName
    version: int
    key: Digest
    created: Line
    parameters: dict[str, Any]
    inputs: dict[str, str]
    files: dict[FileName, StoredFile]
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

    step: StepName
    version: int
    parameters: dict[str, Any]
    inputs: dict[str, str]

    @property
    def key(self) -> str:
        """The name under which the artefact is stored."""
        return digest_of(self.model_dump())


def format_minute(stamp: str) -> str:
    """A time stamp of a manifest or a decision, as people read it."""
    return stamp[:16].replace("T", " ")


def parse_manifest(content: bytes | None, step: str, key: str) -> Artefact | None:
    """The artefact that the manifest in `<step>/<key>/` describes; None where it is missing, damaged, or another's."""
    try:
        artefact = Artefact.model_validate_json(content) if content is not None else None
    except ValidationError:
        return None
    return artefact if artefact and (artefact.step, artefact.key) == (step, key) else None

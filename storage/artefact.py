"""Artefacts: the result of a step, described by its manifest, and the recipe from which its key is computed."""

import hashlib
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.names import Digest, FileName, Line, StepName

MANIFEST = "manifest.json"


class StoredFile(BaseModel):
    """Size in bytes and sha256 of one file of an artefact."""

    model_config = ConfigDict(frozen=True)

    size: int
    sha256: Digest


class Part(BaseModel):
    """A reference to an artefact that is a part of another one, as a shard is of its table."""

    model_config = ConfigDict(frozen=True)

    step: StepName
    key: Digest
    digest: Digest


class Artefact(BaseModel):
    """The result of a step: the content of its manifest. `facts` describe the run and are not part of `digest`."""

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
        """sha256 over the digests of all files and parts: the same bytes have the same digest, whatever made them."""
        return digest_of([{n: file.sha256 for n, file in self.files.items()}, sorted(p.digest for p in self.parts)])


def digest_of(value: Any) -> str:
    """sha256 of a JSON value, written with sorted keys and without spaces, as 64 hexadecimal digits."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of_file(path: Path) -> str:
    """sha256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Recipe(BaseModel):
    """Everything that an artefact's bytes depend on: step, version, parameters, and the digests of its inputs."""

    model_config = ConfigDict(frozen=True)

    step: StepName
    version: int
    parameters: dict[str, Any]
    inputs: dict[str, str]

    @property
    def key(self) -> str:
        """The sha256 of the recipe: the name of the artefact's folder."""
        return digest_of(self.model_dump())


def format_minute(stamp: str) -> str:
    """An ISO 8601 time of a manifest or a decision as `YYYY-MM-DD HH:MM`."""
    return stamp[:16].replace("T", " ")


def parse_manifest(content: bytes | None, step: str, key: str) -> Artefact | None:
    """The artefact that the manifest in `<step>/<key>/` describes; None where it is missing, damaged, or another's."""
    try:
        artefact = Artefact.model_validate_json(content) if content is not None else None
    except ValidationError:
        return None
    return artefact if artefact and (artefact.step, artefact.key) == (step, key) else None

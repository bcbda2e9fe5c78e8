"""Which model is used: one champion for each source, target and threshold, and the decisions that made it the champion.

`champions/<name>/0001.json`, `0002.json`, … in the store are the decisions, one a file; the champion follows from them.
A file is written only where there is none of its number: of two runs that finish together one decides after the other,
wherever the store lies. Each file has a digest of itself and of the file before it, so that a changed file is noticed,
and a missing one unless it is the last.
"""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.artefact import digest_of
from storage.errors import InputError, WorldError
from storage.names import ArtefactPath, Digest, Line, Stamp
from storage.schemas import safe_name
from storage.store import Store

FOLDER = "champions"
COMPARISONS = 20  # of one model; each is in vain where another run promotes its model meanwhile


class ChampionChanged(Exception):
    """Another run promoted its model after this run's model was compared with the champion."""


class Decision(BaseModel):
    """The outcome for a model that was compared with the champion, promoted by hand, or restored by a rollback.

    `model` and `champion` (the champion at that time, None if there was none) are paths relative to the store's root.
    `at` is an ISO 8601 time in UTC; `numbers` are those of the comparison, in the target's unit.
    """

    model_config = ConfigDict(frozen=True)

    at: Stamp
    kind: Literal["retrain", "promote", "rollback"]
    run: Line
    model: ArtefactPath
    champion: ArtefactPath | None
    promoted: bool
    reason: Line
    numbers: dict[str, Any] = {}


class Lineage(BaseModel):
    """All decisions about the models of one name: of one source and target, in a classification of one threshold."""

    model_config = ConfigDict(frozen=True)

    name: str
    decisions: list[Decision] = []

    @property
    def promotions(self) -> list[Decision]:
        """The promotions that were not rolled back, oldest first. A rollback removes the last one."""
        standing: list[Decision] = []
        for decision in self.decisions:
            if decision.kind == "rollback":
                standing = standing[:-1]
            elif decision.promoted:
                standing.append(decision)
        return standing

    @property
    def champion(self) -> Decision | None:
        """The promotion of the model that is used now; None if there is none."""
        return self.promotions[-1] if self.promotions else None

    def reference_model(self, model: str) -> str | None:
        """The model that `model` is compared with: the champion, or its predecessor if it is the champion."""
        if self.champion and self.champion.model == model:
            return self.champion.champion
        return self.champion.model if self.champion else None


class _Entry(BaseModel):
    """A decision's file. `before` is the digest of the file before it, None in the first; `digest` is of the rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Line
    decision: Decision
    before: Digest | None
    digest: Digest

    @classmethod
    def of(cls, name: str, decision: Decision, before: str | None) -> "_Entry":
        unsealed = cls(name=name, decision=decision, before=before, digest="0" * 64)
        return unsealed.model_copy(update={"digest": unsealed.content_digest()})

    def content_digest(self) -> str:
        return digest_of(json.loads(self.model_dump_json(exclude={"digest"})))


def lineage(store: Store, name: str) -> Lineage:
    """The decisions about this name; none if the name is unknown. Raises InputError if a file is damaged or missing."""
    folder = safe_name(name)
    entries = _chain(store, folder, store.read_texts(f"{FOLDER}/{folder}"))
    return Lineage(name=name, decisions=[entry.decision for entry in entries])


def lineages(store: Store, warn: Callable[[str], object] | None = None) -> list[Lineage]:
    """The lineages of the store, sorted by name.

    Raises InputError if a file is damaged or missing; with `warn` that lineage is left out, and `warn` gets the line.
    """
    folders: dict[str, dict[str, str]] = {}
    for path, text in store.read_texts(FOLDER).items():
        folder, _, file = path.rpartition("/")
        folders.setdefault(folder, {})[file] = text
    chains = []
    for folder, files in folders.items():
        try:
            chains.append(_chain(store, folder, files))
        except InputError as fault:
            if warn is None:
                raise
            warn(str(fault))
    found = [Lineage(name=chain[0].name, decisions=[entry.decision for entry in chain]) for chain in chains]
    return sorted(found, key=lambda each: each.name)


def _chain(store: Store, folder: str, files: dict[str, str]) -> list[_Entry]:
    """The entries of one lineage in order, each verified by its own digest and by the next file's."""
    chain: list[_Entry] = []
    for file in sorted(files, key=_number):
        entry = _entry(files[file])
        before = chain[-1].digest if chain else None
        if entry is None or not _number(file) or safe_name(entry.name) != folder:
            raise _broken(store, folder, file, "is damaged")
        if entry.before != before:
            raise _broken(store, folder, file, "does not follow the file before it; one is missing, or was replaced")
        chain.append(entry)
    return chain


def _entry(text: str) -> _Entry | None:
    try:
        entry = _Entry.model_validate_json(text)
    except ValidationError:
        return None
    return entry if entry.digest == entry.content_digest() else None


def _number(file: str) -> int:
    """The number in a decision's file name; 0 for any other name."""
    return int(file[:-5]) if re.fullmatch(r"[0-9]{4,9}\.json", file) else 0


def _broken(store: Store, folder: str, file: str, fault: str) -> InputError:
    return InputError(
        f"{store.location(f'{FOLDER}/{folder}/{file}')}: {fault}; bring it back from a copy, or move the folder "
        "away and choose the champion with `cgcnn promote`"
    )


def decide(store: Store, name: str, decision: Decision) -> Lineage:
    """Add a decision and return the lineage with it. The same decision of a `retrain` is added once.

    Nor does a `retrain` decide about the model that is the champion: it was promoted, and stays it. And it does not
    promote a model again that was taken back in favour of the champion.

    Raises ChampionChanged if the model was compared with another champion than the current one, InputError if a file is
    damaged or missing.
    """
    folder = f"{FOLDER}/{safe_name(name)}"
    while True:
        files = store.read_texts(folder)
        chain = _chain(store, safe_name(name), files)
        before = Lineage(name=name, decisions=[entry.decision for entry in chain])
        current = before.champion.model if before.champion else None
        if decision.kind == "retrain":
            if current == decision.model or any(_same(decision, made) for made in before.decisions):
                return before
            if current != decision.champion:
                raise ChampionChanged(f"{name}: {current} was promoted meanwhile")
            if decision.promoted and any(_took_back(decision, made) for made in before.decisions):
                return before
        entry = _Entry.of(name, decision, chain[-1].digest if chain else None)
        last = max(map(_number, files), default=0)
        if store.create(f"{folder}/{last + 1:04}.json", entry.model_dump_json(indent=1)):
            return before.model_copy(update={"decisions": [*before.decisions, decision]})


def decide_or_compare(
    store: Store, name: str, decision: Decision, compare: Callable[[ChampionChanged], Decision]
) -> tuple[Decision, Lineage]:
    """Decide; if another model was promoted since the comparison, `compare` with that one first.

    Returns the decision of the last comparison, and the lineage. Raises WorldError if others keep on promoting.
    """
    for _ in range(COMPARISONS):
        try:
            return decision, decide(store, name, decision)
        except ChampionChanged as change:
            decision = compare(change)
    raise WorldError(
        f"{name}: another model was promoted during each of {COMPARISONS} comparisons; the model is in the store, and "
        "the same command decides about it"
    )


def _same(one: Decision, other: Decision) -> bool:
    """Of one comparison: another `promotion.margin` may promote a model that was not promoted."""
    kept = ("kind", "model", "champion", "promoted")
    return all(getattr(one, name) == getattr(other, name) for name in kept)


def _took_back(decision: Decision, made: Decision) -> bool:
    """Whether `made` is a rollback from the model of `decision` to the champion that it was compared with."""
    return made.kind == "rollback" and (made.champion, made.model) == (decision.model, decision.champion)


def roll_back(store: Store, name: str) -> Lineage:
    """Make the previous champion the champion again. Raises InputError if there is no previous one."""
    known = lineage(store, name)
    if len(known.promotions) < 2:
        names = ", ".join(each.name for each in lineages(store)) or "none"
        what = "has no champion before its first" if known.promotions else f"is no champion's name; there are {names}"
        raise InputError(f"{name}: {what}")
    last, before = known.promotions[-1], known.promotions[-2]
    taken_back = Decision(
        at=now(),
        kind="rollback",
        run=before.run,
        model=before.model,
        champion=last.model,
        promoted=True,
        reason=f"{last.run} was taken back",
    )
    return decide(store, name, taken_back)


def now() -> str:
    """The current time in UTC, in the format of decisions (ISO 8601, seconds)."""
    return datetime.now(UTC).isoformat(timespec="seconds")

"""Which model is used: one champion for each source and target, and how it came to be.

`champions/<name>/0001.json`, `0002.json`, … in the store are the decisions, one a file; the champion follows from them.
A file is written only where there is none of its number: of two runs that finish together one decides after the other,
wherever the store lies.
"""

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import InputError
from storage.schemas import safe_name
from storage.store import Store

FOLDER = "champions"


class ChampionChanged(Exception):
    """Another run promoted its model after this one was compared."""


class Decision(BaseModel):
    """What became of a model when it was compared, promoted by hand, or taken back.

    `model` and `champion` are folders of models, relative to the store's root; `champion` is None where there was none.
    """

    model_config = ConfigDict(frozen=True)

    at: str
    kind: str  # retrain, promote or rollback
    run: str
    model: str
    champion: str | None
    promoted: bool
    reason: str
    numbers: dict[str, Any] = {}


class Lineage(BaseModel):
    """All decisions about the models of one source and target."""

    model_config = ConfigDict(frozen=True)

    name: str
    decisions: list[Decision] = []

    @property
    def promotions(self) -> list[Decision]:
        """The promotions that are in force, oldest first: a rollback ends the last one."""
        standing: list[Decision] = []
        for decision in self.decisions:
            if decision.kind == "rollback":
                standing.pop()
            elif decision.promoted:
                standing.append(decision)
        return standing

    @property
    def champion(self) -> Decision | None:
        """The promotion of the model that is used now."""
        return self.promotions[-1] if self.promotions else None

    def reference_model(self, model: str) -> str | None:
        """The model that `model` is compared with: the champion, or its predecessor if it is the champion."""
        if self.champion and self.champion.model == model:
            return self.champion.champion
        return self.champion.model if self.champion else None


class _Entry(BaseModel):
    name: str
    decision: Decision


def lineage(store: Store, name: str) -> Lineage:
    """The decisions so far; none where there is no such name."""
    return _lineage(store, name, store.read_texts(_folder(name)))


def _folder(name: str) -> str:
    return f"{FOLDER}/{safe_name(name)}"


def _lineage(store: Store, name: str, files: dict[str, str]) -> Lineage:
    return Lineage(
        name=name,
        decisions=[_entry(store, f"{_folder(name)}/{file}", text).decision for file, text in sorted(files.items())],
    )


def lineages(store: Store) -> list[Lineage]:
    """Every one in the store, by name."""
    known: dict[str, list[Decision]] = {}
    for file, text in sorted(store.read_texts(FOLDER).items()):
        entry = _entry(store, f"{FOLDER}/{file}", text)
        known.setdefault(entry.name, []).append(entry.decision)
    return [Lineage(name=name, decisions=decisions) for name, decisions in sorted(known.items())]


def _entry(store: Store, file: str, text: str) -> _Entry:
    try:
        return _Entry.model_validate_json(text)
    except ValidationError:
        raise InputError(f"{store.location(file)}: is damaged; delete it, and promote a model by hand") from None


def decide(store: Store, name: str, decision: Decision) -> Lineage:
    """Write a decision down, once. Raises ChampionChanged if it was made against another one than there is now."""
    folder = _folder(name)
    while True:
        files = store.read_texts(folder)
        before = _lineage(store, name, files)
        if decision.kind == "retrain" and any(_same(decision, made) for made in before.decisions):
            return before
        current = before.champion.model if before.champion else None
        if decision.kind == "retrain" and current != decision.champion:
            raise ChampionChanged(f"{name}: {current} was promoted meanwhile")
        entry = _Entry(name=name, decision=decision)
        last = int(max(files, default="0000")[:4])  # not their count: a damaged one may have been deleted
        if store.create(f"{folder}/{last + 1:04}.json", entry.model_dump_json(indent=1)):
            return before.model_copy(update={"decisions": [*before.decisions, decision]})


def _same(one: Decision, other: Decision) -> bool:
    return (one.kind, one.model, one.champion) == (other.kind, other.model, other.champion)


def roll_back(store: Store, name: str) -> Lineage:
    """The champion before is the champion again. Raises InputError where there is none."""
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
    """The time, as decisions have it."""
    return datetime.now(UTC).isoformat(timespec="seconds")

"""Which model is used: one champion for each source and target, and how it came to be.

`<root>/champions/<name>.json` has every decision, the last of them last; the champion follows from them. It is changed
under a lock and replaced in one rename: two runs that finish together decide one after the other.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from storage.errors import InputError
from storage.program import write_atomically
from storage.schemas import safe_name
from storage.store import Store, locked

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
    def reigns(self) -> list[Decision]:
        """The promotions that stand, oldest first: a rollback ends the last one."""
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
        return self.reigns[-1] if self.reigns else None

    def opponent(self, model: str) -> str | None:
        """The model that `model` is to be compared with: the champion, or the one before if it is that itself."""
        if self.champion and self.champion.model == model:
            return self.champion.champion
        return self.champion.model if self.champion else None


def lineage(store: Store, name: str) -> Lineage:
    """The decisions so far; none where there is no such name."""
    path = _path(store, name)
    return _read(path) if path.exists() else Lineage(name=name)


def lineages(store: Store) -> list[Lineage]:
    """Every one in the store, by name."""
    return sorted(map(_read, (store.root / FOLDER).glob("*.json")), key=lambda each: each.name)


def _read(path: Path) -> Lineage:
    try:
        return Lineage.model_validate_json(path.read_bytes())
    except ValidationError:
        raise InputError(f"{path}: is damaged; delete it, and promote a model by hand") from None


def decide(store: Store, name: str, decision: Decision) -> Lineage:
    """Write a decision down, once. Raises ChampionChanged if it was made against another one than there is now."""
    path = _path(store, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        before = lineage(store, name)
        if decision.kind == "retrain" and any(_same(decision, made) for made in before.decisions):
            return before
        reigning = before.champion.model if before.champion else None
        if decision.kind == "retrain" and reigning != decision.champion:
            raise ChampionChanged(f"{name}: {reigning} was promoted meanwhile")
        after = before.model_copy(update={"decisions": [*before.decisions, decision]})
        write_atomically(path, json.dumps(after.model_dump(), indent=1, ensure_ascii=False))
    return after


def _same(one: Decision, other: Decision) -> bool:
    return (one.kind, one.model, one.champion) == (other.kind, other.model, other.champion)


def rolled_back(store: Store, name: str) -> Lineage:
    """The champion before is the champion again. Raises InputError where there is none."""
    known = lineage(store, name)
    if len(known.reigns) < 2:
        names = ", ".join(each.name for each in lineages(store)) or "none"
        what = "has no champion before its first" if known.reigns else f"is no champion's name; there are {names}"
        raise InputError(f"{name}: {what}")
    last, before = known.reigns[-1], known.reigns[-2]
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


def _path(store: Store, name: str) -> Path:
    return store.root / FOLDER / f"{safe_name(name)}.json"

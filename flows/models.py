"""`cgcnn models`, `promote` and `rollback`: show the champions and their history, and choose another champion."""

import json
from collections.abc import Callable

from flows.show import existing, tested
from storage.artefact import format_minute
from storage.champions import Decision, Lineage, decide, lineage, lineages, now, roll_back
from storage.errors import InputError
from storage.names import split_path
from storage.registry import Card, card_of, runs

SHOWN = 5  # decisions of each


def models(root: str, *, as_json: bool, warn: Callable[[str], object]) -> str:
    """Every champion with its last decisions, or as JSON with all. `warn` gets a line for each damaged card."""
    store = existing(root)
    known = lineages(store)
    if as_json:
        listed = [{**each.model_dump(), "champion": each.champion and each.champion.model_dump()} for each in known]
        return json.dumps(listed, indent=1)
    if not known:
        return f"no models in {root} yet; `cgcnn retrain` makes one"
    errors = {run.card.model: _tested(run.card) for run in runs(store, warn)}
    return "\n\n".join(_describe(each, errors) for each in known)


def promote_by_hand(wanted: str, root: str) -> str:
    """Make the model of the run `wanted` the champion of its source and target. Returns the line to print.

    Raises InputError if it is the champion already, or its model is lost.
    """
    store = existing(root)
    card = card_of(wanted, store)
    before = lineage(store, card.name).champion
    if before and before.model == card.model:
        raise InputError(f"{card.run}: is the champion of {card.name} already")
    if store.read(*split_path(card.model)) is None:
        raise InputError(f"{card.run}: its model {store.location(card.model)} is lost")
    decision = Decision(
        at=now(),
        kind="promote",
        run=card.run,
        model=card.model,
        champion=before.model if before else None,
        promoted=True,
        reason="promoted by hand",
    )
    decide(store, card.name, decision)
    return f"{card.name}: the champion is {card.run}{f', before it was {before.run}' if before else ''}"


def rollback(name: str, root: str) -> str:
    """Make the previous champion the champion again. Returns the line to print; raises InputError if there is none."""
    store = existing(root)
    before = lineage(store, name).champion
    after = roll_back(store, name).champion
    names = [decision.run if decision else "none" for decision in (after, before)]
    return f"{name}: the champion is {names[0]}; {names[1]} was taken back"


def _tested(card: Card) -> str:
    return ", ".join(filter(None, [tested(card), f"ensemble of {card.members}" if card.members > 1 else ""]))


def _describe(each: Lineage, errors: dict[str, str]) -> str:
    champion = each.champion
    lines = [each.name]
    if champion:
        lines.append(f"  champion  {champion.run}, since {champion.at[:10]}; {errors.get(champion.model, 'no card')}")
    for decision in reversed(each.decisions[-SHOWN:]):
        what = {"rollback": "rolled back to"}.get(decision.kind, "promoted" if decision.promoted else "not promoted")
        lines.append(f"  {format_minute(decision.at)}  {what} {decision.run}: {decision.reason}")
    return "\n".join(lines)

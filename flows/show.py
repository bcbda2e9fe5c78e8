"""What the store holds: its runs, newest first."""

import json
from collections.abc import Callable

from storage.artefact import format_minute
from storage.errors import InputError
from storage.registry import Card, Run, runs
from storage.store import Store


def shown(root: str, *, as_json: bool, warn: Callable[[str], object]) -> str:
    """The runs as a table to read, or as JSON. `warn` gets a line for each run whose card is damaged."""
    store = existing(root)
    found = runs(store, warn)
    if as_json:
        return json.dumps([run.to_dict(store.absolute()) for run in found], indent=1)
    if not found:
        return f"no runs in {root} yet; `cgcnn retrain` makes one"
    return "\n\n".join(_describe(run, store) for run in found)


def existing(root: str) -> Store:
    """The store in that folder or at that URL. Raises InputError if there is none."""
    store = Store.at(root)
    store.check()
    if not (store.remote or store.root.is_dir()):
        raise InputError(f"--store {root}: no such folder; `cgcnn retrain --store {root}` makes it")
    return store


def tested(card: Card) -> str:
    """A run's test error with its unit."""
    return f"test {card.metric.upper()} {_number(card.test)} {card.unit}".rstrip()


def result(run: Run) -> str:
    """A run's test error with its unit, beside the baseline's."""
    card = run.card
    note = f"  ({card.note})" if card.note else ""
    return (
        tested(card)
        + f" on {card.materials:,} materials; baseline {_number(card.baseline)} {card.unit}".rstrip()
        + note
    )


def _describe(run: Run, store: Store) -> str:
    card = run.card
    lines = [f"{card.run}  {format_minute(run.finished)} UTC", f"  {result(run)}"]
    lines += [f"  {name:12} {store.location(getattr(card, name))}" for name in ("report", "model", "predictions")]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"

"""What the store holds: its runs, newest first."""

import json
from pathlib import Path

from storage.errors import InputError
from storage.registry import Card, Run, runs
from storage.store import Store


def shown(root: Path, *, as_json: bool) -> str:
    """The runs as a table to read, or as JSON."""
    found = runs(existing(root))
    if as_json:
        return json.dumps([run.told(root.absolute()) for run in found], indent=1)
    if not found:
        return f"no runs in {root} yet; `cgcnn retrain` makes one"
    return "\n\n".join(_told(run, root) for run in found)


def existing(root: Path) -> Store:
    """The store of that folder. Raises InputError if there is none."""
    if not root.is_dir():
        raise InputError(f"--store {root}: no such folder; `cgcnn retrain --store {root}` makes it")
    return Store(root=root)


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


def _told(run: Run, root: Path) -> str:
    card = run.card
    lines = [f"{card.run}  {run.finished[:16].replace('T', ' ')} UTC", f"  {result(run)}"]
    lines += [f"  {name:12} {root / getattr(card, name)}" for name in ("report", "model", "predictions")]
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"

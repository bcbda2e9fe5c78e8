"""What the store holds: its runs and studies, newest first, as text, as JSON, or as a page."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from storage.artefact import format_minute
from storage.champions import lineages
from storage.errors import InputError
from storage.registry import Card, Run, runs, weights_of
from storage.store import Store
from storage.studies import Study, studies

if TYPE_CHECKING:
    from evaluation.index import Links


def shown(root: str, *, as_json: bool, warn: Callable[[str], object]) -> str:
    """The runs and studies as a table to read, or as JSON. `warn` gets a line for each run whose card is damaged."""
    store = existing(root)
    found: list[Run | Study] = [*runs(store, warn), *studies(store, warn)]
    found.sort(key=lambda each: each.finished, reverse=True)
    if as_json:
        return json.dumps([each.to_dict(store.absolute()) for each in found], indent=1)
    if not found:
        return f"no runs in {root} yet; `cgcnn retrain` makes one"
    return "\n\n".join(_describe(e, store) if isinstance(e, Run) else _describe_study(e, store) for e in found)


def write_page(root: str, page: Path, warn: Callable[[str], object]) -> str:
    """Write the index of runs to the file `page`, with links that do not depend on where it lies; what was written."""
    from evaluation.formatting import format_count
    from evaluation.index import index_page  # the other forms need none of what it imports

    if page.is_dir():
        raise InputError(f"--html {page}: is a folder")
    if not page.parent.is_dir():
        raise InputError(f"--html {page}: there is no folder {page.parent}")
    store = existing(root).absolute()
    found = runs(store, warn)
    pages = [(study, _address(study.report, store)) for study in studies(store, warn)]
    html = index_page(found, lineages(store, warn), lambda card: _links(card, store), store.address, pages)
    try:
        page.write_text(html, encoding="utf-8")
    except OSError as error:
        raise InputError(f"--html {page}: cannot be written: {error.strerror}") from None
    return f"{page}: {format_count(len(found), 'run')}"


def _links(card: Card, store: Store) -> "Links":
    from evaluation.index import Links

    files = {name: f"{card.model}/{name}" for name in ["model.json", *weights_of(card.members)]}
    files["predictions.parquet"] = card.predictions
    return Links(_address(card.report, store), [(text, _address(name, store)) for text, name in files.items()])


def _address(name: str, store: Store) -> str:
    """Where a browser finds a file of the store, by its path from the root."""
    return store.location(name) if store.url else (store.root / name).as_uri()


def existing(root: str) -> Store:
    """The store in that folder or at that URL. Raises InputError if there is none."""
    store = Store.at(root)
    store.check()
    if not (store.remote or store.root.is_dir()):
        raise InputError(f"--store {root}: no such folder; `cgcnn retrain --store {root}` makes it")
    return store


def tested(card: Card) -> str:
    """A run's test error with its unit."""
    return f"test {card.metric.upper().replace('_', '-')} {_number(card.test)} {_unit(card)}".rstrip()


def ensemble_of(card: Card) -> str:
    """What a card says of the members and of the intervals; empty for a single model without an uncertainty."""
    held = card.coverage
    members = f"ensemble of {card.members}" if card.members > 1 else ""
    intervals = f"intervals hold {held.observed:.1%} of the test values, promised {held.promised:.1%}" if held else ""
    return "; ".join(filter(None, [members, intervals]))


def result(run: Run) -> str:
    """A run's test error with its unit, beside the baseline's."""
    card = run.card
    note = f"  ({card.note})" if card.note else ""
    return (
        tested(card)
        + f" on {card.materials:,} materials; baseline {_number(card.baseline)} {_unit(card)}".rstrip()
        + note
    )


def _describe(run: Run, store: Store) -> str:
    card = run.card
    lines = [f"{card.run}  {format_minute(run.finished)} UTC", f"  {result(run)}"]
    lines += [f"  {words}" for words in [ensemble_of(card)] if words]
    lines += [f"  {name:12} {store.location(getattr(card, name))}" for name in ("report", "model", "predictions")]
    return "\n".join(lines)


def _describe_study(study: Study, store: Store) -> str:
    card = study.card
    note = f"  ({card.note})" if card.note else ""
    lines = [f"{card.run}  {format_minute(study.finished)} UTC", f"  {card.headline}{note}"]
    return "\n".join([*lines, f"  {'report':12} {store.location(study.report)}"])


def _unit(card: Card) -> str:
    return card.unit if card.task == "regression" else ""  # a ROC-AUC has none


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4g}"

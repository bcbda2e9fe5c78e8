"""The runs of a store as one page: a function of the stored cards and decisions.

The page needs no network and no script: without one it is a table, newest run first. The script sorts and filters it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.formatting import MISSING, Scale, error_scale, format_count
from evaluation.html import render
from evaluation.lineage_chart import lineage_figure, measure_name
from storage.artefact import format_minute
from storage.champions import Lineage
from storage.registry import Card, Run
from storage.studies import Study


class Links(NamedTuple):
    """Where the files of a run are: the report's address, and (text, address) of what else there is."""

    report: str
    files: list[tuple[str, str]]


def index_page(
    runs: Sequence[Run],
    lineages: Sequence[Lineage],
    links: Callable[[Card], Links],
    place: str,
    studies: Sequence[tuple[Study, str]] = (),
) -> str:
    """HTML of the index. `runs` newest first; `links` returns a card's addresses; `place` names the store.

    `studies` newest first, each with the address of its page.
    """
    cards: dict[str, Card] = {}
    for run in runs:  # the newest of several cards of one model
        cards.setdefault(run.card.model, run.card)
    champions = {known.name: cards.get(known.champion.model) for known in lineages if known.champion}
    scales = {run.card.name: _scale(run.card.name, runs, champions) for run in runs}
    figures = [lineage_figure(known, cards, scales[known.name]) for known in lineages if known.name in scales]
    view = {
        "place": place,
        "summary": _summary(runs, lineages, studies),
        "figures": sorted((figure for figure in figures if figure), key=lambda figure: not figure.charts),
        "rows": [_row(run, champions.get(run.card.name), scales[run.card.name], links(run.card)) for run in runs],
        "studies": [(study.card, format_minute(study.finished), address) for study, address in studies],
        "notes": sorted({(_source(run.card), run.card.note) for run in runs if run.card.note}),
    }
    return render("index.html.jinja", view, scripts=["index.js"], styles=["index.css"])


def _scale(name: str, runs: Sequence[Run], champions: Mapping[str, Card | None]) -> Scale:
    """One unit for all errors of a source and target, so that they can be compared at a glance."""
    newest = next(run.card for run in runs if run.card.name == name)
    return error_scale(newest.unit if newest.task == "regression" else "", (champions.get(name) or newest).test)


def _summary(runs: Sequence[Run], lineages: Sequence[Lineage], studies: Sequence[tuple[Study, str]]) -> str:
    stamps = [*(run.finished for run in runs), *(study.finished for study, _ in studies)]
    if not stamps:
        return "No runs yet."
    counts = [format_count(len(runs), "run"), format_count(len(lineages), "champion")]
    if studies:
        counts.append(f"{len(studies):,} {'study' if len(studies) == 1 else 'studies'}")
    return f"{', '.join(counts)}; the newest finished on {format_minute(max(stamps))} UTC."


def _source(card: Card) -> str:
    return Path(card.source).name or card.source


def _row(run: Run, champion: Card | None, scale: Scale, links: Links) -> dict[str, Any]:
    card = run.card
    return {
        "card": card,
        "finished": format_minute(run.finished),
        "stamp": run.finished,
        "source": _source(card),
        "measure": measure_name(card),
        "is_champion": champion is not None and champion.model == card.model,
        "test": _shown(card.test, scale),
        "champion": _shown(champion.test if champion else None, scale),
        "champion_test": champion.test if champion else None,
        "baseline": _shown(card.baseline, scale),
        "links": links,
    }


def _shown(error: float | None, scale: Scale) -> str:
    return MISSING if error is None else scale.with_unit(error)

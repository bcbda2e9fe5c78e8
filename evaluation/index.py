"""The runs of a store as one page: a function of the stored cards and decisions.

The page needs no network and no script: without one it is a table, newest run first. The script sorts and filters it.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from evaluation.formatting import MISSING, Scale, counted, error_scale
from evaluation.lineage_chart import lineage_figure, measure_name
from storage.artefact import format_minute
from storage.champions import Lineage
from storage.registry import Card, Run

SCRIPTS = ("report.js", "index.js")  # the first shows what is under the pointer
STYLES = ("report.css", "index.css")


class Links(NamedTuple):
    """Where the files of a run are: the report's address, and (text, address) of what else there is."""

    report: str
    files: list[tuple[str, str]]


def index_page(runs: Sequence[Run], lineages: Sequence[Lineage], links: Callable[[Card], Links], place: str) -> str:
    """HTML of the index. `runs` newest first; `links` returns a card's addresses; `place` names the store."""
    cards: dict[str, Card] = {}
    for run in runs:  # the newest of several cards of one model
        cards.setdefault(run.card.model, run.card)
    champions = {known.name: cards.get(known.champion.model) for known in lineages if known.champion}
    scales = {run.card.name: _scale(run.card.name, runs, champions) for run in runs}
    figures = [lineage_figure(known, cards, scales[known.name]) for known in lineages if known.name in scales]
    view = {
        "place": place,
        "summary": _summary(runs, lineages),
        "figures": sorted((figure for figure in figures if figure), key=lambda figure: not figure.charts),
        "rows": [_row(run, champions.get(run.card.name), scales[run.card.name], links(run.card)) for run in runs],
        "notes": sorted({(_source(run.card), run.card.note) for run in runs if run.card.note}),
    }
    return _rendered(view)


def _scale(name: str, runs: Sequence[Run], champions: Mapping[str, Card | None]) -> Scale:
    """One unit for all errors of a source and target, so that they can be compared at a glance."""
    newest = next(run.card for run in runs if run.card.name == name)
    return error_scale(newest.unit if newest.task == "regression" else "", (champions.get(name) or newest).test)


def _summary(runs: Sequence[Run], lineages: Sequence[Lineage]) -> str:
    if not runs:
        return "No runs yet."
    known = counted(len(lineages), "champion")
    return f"{counted(len(runs), 'run')}, {known}; the newest finished on {format_minute(runs[0].finished)} UTC."


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


def _breakable(name: str) -> Markup:
    """A name that may go on in the next line after an underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))


def _rendered(view: dict[str, Any]) -> str:
    """The page. Everything that came from the store is escaped; only the page's own scripts may run."""
    env = Environment(
        loader=PackageLoader("evaluation", "template"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals["breakable"] = _breakable
    folder = Path(__file__).parent / "template"
    scripts = [(folder / name).read_text(encoding="utf-8") for name in SCRIPTS]
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    style = "".join((folder / name).read_text(encoding="utf-8") for name in STYLES)
    template = env.get_template("index.html.jinja")
    return template.render(**view, scripts=[Markup(s) for s in scripts], digests=digests, style=Markup(style))

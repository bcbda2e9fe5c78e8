"""The page of a study, several trainings side by side: report.html, summary.md and the card, from plain values."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation.axes import Figure
from evaluation.formatting import format_count, format_target
from evaluation.html import render
from evaluation.markdown import escaped, table
from evaluation.page import Subject, settings
from storage.program import Facts
from storage.studies import STUDY, StudyCard


class StudyAbout(Subject):
    """What the page says about the study that is not in its tables."""

    kind: str


@dataclass(frozen=True)
class Number:
    """A number of the head of the page; the first one is shown larger."""

    label: str
    value: str
    unit: str = ""


@dataclass(frozen=True)
class Table:
    """A table of texts. The first `words` columns are aligned left; the row `best` is shown in bold."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    words: int = 1
    best: int | None = None
    width: str = "full"  # third, half, wide or full


@dataclass(frozen=True)
class Section:
    """A heading, and what is below it: tables, and figures with the width of each."""

    title: str
    tables: Sequence[Table] = ()
    figures: Sequence[tuple[Figure, str]] = ()


@dataclass(frozen=True)
class StudyPage:
    """All that the page shows. `verdict` is the study in one or two sentences, `headline` in one line for a list."""

    about: StudyAbout
    verdict: str
    headline: str
    models: int
    numbers: Sequence[Number]
    sections: Sequence[Section] = field(default_factory=list)
    points: dict[str, Any] | None = None  # of parity.label_points, where a figure has named points


def write(page: StudyPage, output: Path) -> Facts:
    """Write report.html, summary.md and the card to the folder `output`; returns what the log says of it."""
    about = page.about
    view = {
        "about": about,
        "name": format_target(about.target),
        "page": page,
        "settings": settings(about.configuration),
        "models": format_count(page.models, "model"),
    }
    html = render("study.html.jinja", view)
    (output / "report.html").write_text(html, encoding="utf-8")
    (output / "summary.md").write_text(summary(page), encoding="utf-8")
    named = {name: getattr(about, name) for name in ("kind", "run", "source", "target", "unit", "note")}
    card = StudyCard(**named, headline=page.headline, models=page.models)
    (output / STUDY).write_text(card.model_dump_json(indent=1), encoding="utf-8")
    return {"models": page.models, "headline": page.headline, "bytes": len(html.encode())}


def summary(page: StudyPage) -> str:
    """The page as Markdown, without its figures."""
    about = page.about
    parts = [f"# {escaped(about.title)}: {escaped(format_target(about.target))}, {about.kind}", escaped(page.verdict)]
    if about.note:
        parts.append(f"> {escaped(about.note)}")
    parts.append(table(["", ""], [[each.label, f"{each.value} {each.unit}".strip()] for each in page.numbers]))
    for section in page.sections:
        parts += [f"## {section.title}"] if section.tables else []
        parts += [text for each in section.tables for text in _table_and_caption(each)]
    return "\n\n".join(parts) + "\n"


def _table_and_caption(found: Table) -> Iterable[str]:
    if found.title:
        yield f"### {found.title}"
    rows = [[escaped(cell) for cell in row] for row in found.rows]
    if found.best is not None:
        rows[found.best] = [f"**{cell}**" for cell in rows[found.best]]
    yield table(list(found.head), rows, slice(found.words, None))
    if found.caption:
        yield escaped(found.caption)

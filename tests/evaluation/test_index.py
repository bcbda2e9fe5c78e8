"""The index of runs: what it shows, and what it does not let happen."""

import base64
import hashlib
import re
from datetime import datetime
from html.parser import HTMLParser

import pytest

from evaluation.formatting import Scale
from evaluation.index import Links, index_page
from evaluation.lineage_chart import lineage_figure, time_axis
from storage.champions import Decision, Lineage
from storage.registry import Card, Run


class Reader(HTMLParser):
    """Tags with their attributes, and the text of each cell of the page's tables."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        elif tag in {"th", "td"}:
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data.strip()


def key(run: str) -> str:
    return hashlib.sha256(run.encode()).hexdigest()


def card(run: str, **changes) -> Card:
    known = {"run": run, "name": "pairs-energy", "source": "/data/pairs.jsonl", "note": "", "target": "energy"}
    known |= {"unit": "eV", "task": "regression", "metric": "mae", "test": 0.05, "baseline": 0.4, "materials": 1200}
    model, report = f"train-model/{key(run)}", f"report/{key(run)}/report.html"
    known |= {"model": model, "predictions": f"{model}/predictions.parquet", "report": report}
    return Card(**known | changes)


def decision(run: str, at: str, **changes) -> Decision:
    known = {"at": f"2026-01-{at}+00:00", "kind": "retrain", "run": run, "model": f"train-model/{key(run)}"}
    return Decision(**known | {"champion": None, "promoted": True, "reason": "it is better"} | changes)


def page_of(cards: list[Card], decisions: list[Decision] = [], name: str = "pairs-energy") -> str:  # noqa: B006
    runs = [Run(finished=f"2026-01-{31 - n}T10:20:30+00:00", card=each) for n, each in enumerate(cards)]
    lineages = [Lineage(name=name, decisions=decisions)] if decisions else []
    return index_page(runs, lineages, lambda card: Links(card.report, [("model", f"{card.model}/m")]), "/the/store")


def test_each_run_stands_beside_the_champion_and_the_baseline():
    cards = [card("c", test=0.08), card("b"), card("a", test=None, materials=0)]
    decisions = [
        decision("a", "01T10:00:00"),
        decision("b", "02T10:00:00"),
        decision("c", "03T10:00:00", promoted=False),
    ]
    head, *rows = Reader(page_of(cards, decisions)).rows
    shown = [dict(zip(head, row, strict=True)) for row in rows]
    assert [row["Run"] for row in shown] == ["c", "bchampion", "a"]
    assert [row["Test error"] for row in shown] == ["80.0 meVMAE", "50.0 meVMAE", "–MAE"]
    assert [(row["Champion"], row["Baseline"]) for row in shown] == [("50.0 meV", "400 meV")] * 3
    assert (shown[0]["Finished (UTC)"], shown[0]["Source"]) == ("2026-01-31 10:20", "pairs.jsonl")


def test_html_in_names_is_shown_as_text(evil_ids):
    evil = evil_ids[0]
    parts = {"source": f"/data/{evil_ids[1]}", "note": evil, "target": evil, "unit": "", "name": evil}
    cards = [card(evil, **parts)]
    page = page_of(cards, [decision(evil, "01T10:00:00", reason=evil)], name=evil)
    seen = Reader(page)
    assert evil in seen.text
    assert "img" not in {tag for tag, _ in seen.tags}
    assert sum(tag == "script" for tag, _ in seen.tags) == 3
    assert not [name for _, attributes in seen.tags for name in attributes if name.startswith("on")]


def test_only_the_pages_own_scripts_may_run_and_it_names_no_other_place():
    page = page_of([card("a")], [decision("a", "01T10:00:00")])
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)"', page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts]
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert policy.startswith("default-src 'none'")
    addresses = [v for _, attributes in Reader(page).tags for n, v in attributes.items() if n in {"src", "href"}]
    assert addresses == ["data:,", f"report/{key('a')}/report.html", f"train-model/{key('a')}/m"]


def test_an_empty_store_says_what_to_do():
    seen = Reader(page_of([]))
    assert "cgcnn retrain --store /the/store" in seen.text
    assert "table" not in {tag for tag, _ in seen.tags}


def test_a_champion_whose_card_is_lost_leaves_a_dash():
    head, row = Reader(page_of([card("b")], [decision("gone", "01T10:00:00")])).rows
    assert row[head.index("Champion")] == "–"


def heights(decisions: list[Decision], cards: list[Card]) -> list[float]:
    """The errors through which the line of champions goes."""
    figure = lineage_figure(Lineage(name="l", decisions=decisions), {c.model: c for c in cards}, Scale("eV", 1.0))
    assert figure
    (chart,) = figure.charts
    (line,) = (mark for mark in chart.marks if mark.style == "line s0")
    y = [float(point.split()[1]) for point in line.d.removeprefix("M").split("L")]
    return [round((chart.bottom - at) / (chart.bottom - chart.top) * chart.y.high, 2) for at in y]


def test_the_chart_follows_promotions_and_rollbacks_and_no_challenger():
    cards = [card("a", test=0.4), card("b", test=0.2), card("c", test=0.3)]
    decisions = [
        decision("a", "01T10:00:00"),
        decision("b", "02T10:00:00"),
        decision("c", "03T10:00:00", promoted=False),
        decision("a", "05T10:00:00", kind="rollback"),
    ]
    assert heights(decisions, cards) == [0.4, 0.4, 0.2, 0.2, 0.4, 0.4]


def test_a_lone_decision_is_told_in_words():
    figure = lineage_figure(
        Lineage(name="l", decisions=[decision("a", "01T10:00:00")]), {card("a").model: card("a")}, Scale("eV", 1.0)
    )
    assert figure
    assert figure.charts == []
    assert figure.caption == "Champion a since 2026-01-01: test MAE 0.0500 eV, baseline 0.400 eV."


@pytest.mark.parametrize(
    ("first", "last", "texts", "label"),
    [
        ("2026-03-01T10:02", "2026-03-01T10:20", ["10:05", "10:10", "10:15", "10:20"], "1 Mar 2026, UTC"),
        ("2026-03-01T00:00", "2026-03-13T00:00", ["4 Mar", "8 Mar", "12 Mar"], "UTC"),
        ("2026-03-01T10:00", "2026-03-01T10:00", ["09:30", "09:45", "10:00", "10:15", "10:30"], "1 Mar 2026, UTC"),
    ],
)
def test_times_have_round_ticks(first, last, texts, label):
    axis = time_axis([datetime.fromisoformat(f"{at}+00:00").timestamp() for at in (first, last)])
    assert [text for _, text in axis.ticks()] == texts
    assert axis.label == label


def test_years_of_runs_have_a_tick_a_year():
    axis = time_axis([datetime.fromisoformat(f"{year}-06-01T00:00+00:00").timestamp() for year in (2020, 2030)])
    assert 2 <= len(axis.ticks()) <= 5
    assert all(0 <= fraction <= 1 for fraction, _ in axis.ticks())

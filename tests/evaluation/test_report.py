import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from evaluation.axes import Axis
from evaluation.html import format_formula, page_of


class Reader(HTMLParser):
    """Tags, attributes and text of a page as a browser would take them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def with_first_test_ids(rows, ids):
    """The test rows with the largest errors, which every part of the page shows, get these ids and formulas."""
    frame = rows.to_pandas()
    miss = (frame["predicted"] - frame["target"]).abs().where(frame["split"] == "test", -1).to_numpy()
    names = frame["material_id"].to_numpy(object).copy()
    names[np.argsort(-miss)[: len(ids)]] = ids
    return {"material_id": names, "formula": np.where(np.isin(names, ids), names, frame["formula"])}


def test_html_in_ids_and_formulas_is_shown_as_text(make_run, table, evil_ids):
    rows = table(300)
    run = make_run(table(300, **with_first_test_ids(rows, evil_ids)), title="<b>x", note="<i>not DFT</i>")
    seen = Reader(run.page)
    assert all(evil in seen.text for evil in evil_ids[:2])
    assert "<b>x" in seen.text
    assert "img" not in {tag for tag, _ in seen.tags}
    assert sum(tag == "script" and "type" not in attrs for tag, attrs in seen.tags) == 2
    assert {attrs.get("type") for tag, attrs in seen.tags if tag == "script"} == {None, "application/json"}
    assert not [name for _, attrs in seen.tags for name in attrs if name.startswith("on")]
    assert "<img" not in run.summary
    assert "<script" not in run.summary


def test_errors_of_the_head_log_are_told_by_their_factor(make_run, table):
    split = ["test"] * 3 + ["train"]
    columns = {"split": split, "target": [1.0, 2.0, 300.0, 4.0], "predicted": [1.5, 4.0, 60.0, 4.0]}
    seen = Reader(make_run(table(4, **columns), configuration={"model": {"head": "log"}}).page).text
    assert "Median 1.50 times the reference; half of the test structures are within a factor of 2.00." in seen
    assert "Predicted / reference" in seen
    assert "Predicted / reference" not in Reader(make_run(table(4, **columns)).page).text


def test_only_the_page_s_own_script_may_run(make_run, table):
    page = make_run(table(100)).page
    allowed = re.findall(r"'sha256-([^']+)'", page)
    scripts = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in scripts] == allowed
    assert "default-src 'none'" in page


def test_the_page_names_no_other_place(make_run, table):
    seen = Reader(make_run(table(100)).page)
    addresses = [value for _, attrs in seen.tags for name, value in attrs.items() if name in {"src", "href"}]
    assert addresses == ["data:,"]


def test_ids_are_linked_where_the_source_has_pages(make_run, table):
    page = make_run(table(100), material_page="https://example.org/materials/{id}").page
    links = [attrs["href"] for tag, attrs in Reader(page).tags if tag == "a"]
    assert len(links) > 1
    assert all(re.fullmatch(r"https://example\.org/materials/mp-\d+", link) for link in links)


@pytest.mark.parametrize(
    ("material_id", "template"),
    [("mp-1", None), ("mp-1", "javascript:{id}"), ("a b", "https://x/{id}"), ('"><script>', "https://x/{id}")],
)
def test_what_is_no_address_is_not_linked(material_id, template):
    assert page_of(material_id, template) is None


def test_every_material_can_be_named(make_run, table):
    rows = table(300)
    page = make_run(rows).page
    points = json.loads(re.search(r'id="points">(.*?)</script>', page, re.DOTALL)[1])
    assert sorted(points["id"]) == sorted(rows["material_id"].to_pylist())
    counts = dict(points["splits"])
    assert counts == {s: rows["split"].to_pylist().count(s) for s in ("test", "validation", "train")}
    where = {name: n for n, name in enumerate(points["id"])}
    for row in rows.to_pylist()[:50]:
        assert points["predicted"][where[row["material_id"]]] == pytest.approx(row["predicted"], rel=1e-3)


@pytest.mark.parametrize("length", [10, 400])
def test_a_large_run_stays_below_5_megabytes(make_run, table, length):
    n = 60_000
    run = make_run(table(n, material_id=[f"{i:>{length}}<" for i in range(n)]))
    assert len(run.page.encode()) < 5e6
    assert len(run.summary.encode()) < 1e5
    points = json.loads(re.search(r'id="points">(.*?)</script>', run.page, re.DOTALL)[1])
    kept = len(points["id"])
    assert (f"The page names {kept:,} of 60,000 structures" in run.page) == (kept < n)
    assert (kept < n) == (length == 400)


def test_the_note_stands_wherever_numbers_do(make_run, table):
    run = make_run(table(100))
    assert "labels made up by a test, not DFT" in run.summary
    panels = Reader(run.page).text.split("Predictions")
    assert all("labels made up by a test, not DFT" in part for part in panels)


def test_a_run_without_gates_has_no_gate_panel(make_run, table):
    assert "Gate value" in make_run(table(100)).page
    assert "Gate value" not in make_run(table(100), with_gates=False).page


def test_without_space_groups_there_is_no_panel_for_them(make_run, table):
    assert "crystal system" in make_run(table(100)).page
    page = make_run(table(100, spacegroup_number=[None] * 100)).page
    assert "crystal system" not in page
    assert "Space group" not in page


def test_published_figures_stand_beside_the_run(make_run, table):
    found = {"title": "mp2018", "target": "formation_energy_per_atom_ev"}
    run = make_run(table(300), **found)
    for text in (Reader(run.page).text, run.summary):
        assert all(name in text for name in ("ALIGNN", "60,000", "4,239", "This run"))
    assert "Beside published" not in make_run(table(300), title="mine").page


SPLIT = ["train"] * 90 + ["validation"] * 9


@pytest.mark.parametrize(
    "columns",
    [
        {"split": [*SPLIT, "test"]},
        {"split": [*SPLIT, "train"]},
        {"target": [1.5] * 100},
        {"target": [1.5] * 100, "predicted": [1.5] * 100},
        {"split": ["train"] * 50 + ["test"] * 50},
        {"target": [1e-9] * 100},
    ],
    ids=["one test row", "no test row", "constant target", "perfect", "no validation row", "tiny"],
)
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_unusual_runs_have_a_page(make_run, table, columns, task):
    rows = columns
    if task == "classification":
        target = (np.array(columns.get("target", table(100)["target"])) > 0).astype(float)
        rows = {**columns, "target": target, "predicted": np.linspace(0, 1, 100)}
    run = make_run(table(100, **rows), task=task, epochs=1, kept_epoch=1)
    assert not re.search(r"\bnan\b", Reader(run.page).text, re.IGNORECASE)
    assert "NaN" not in re.sub(r"NaN\(", "", "".join(re.findall(r' d="([^"]*)"', run.page)))
    assert "None" not in run.page


def test_a_classification_shows_roc_reliability_and_confusion(make_run, table):
    random = np.random.default_rng(0)
    target = (random.random(500) < 0.4).astype(float)
    probability = np.clip(target * 0.4 + random.random(500) * 0.6, 0, 1)
    run = make_run(
        table(500, target=target, predicted=probability), task="classification", target="band_gap", unit="eV"
    )
    text = Reader(run.page).text
    for shown in ("ROC-AUC", "Reliability", "Confusion", "Predicted positive", "Positive: band_gap above 0."):
        assert shown in text
    assert "Parity" not in run.page
    assert "ROC-AUC" in run.summary


def test_every_markdown_row_has_as_many_cells_as_its_head(make_run, table, evil_ids):
    rows = table(300)
    summary = make_run(table(300, **with_first_test_ids(rows, evil_ids))).summary
    blocks = [block.splitlines() for block in summary.split("\n\n") if block.startswith("|")]
    assert len(blocks) >= 4
    for block in blocks:
        assert {len(re.findall(r"(?<!\\)\|", line)) for line in block} == {block[0].count("|")}


@pytest.mark.parametrize(
    ("formula", "shown"),
    [("SrTiO3", "SrTiO₃"), ("Al2(SO4)3", "Al₂(SO₄)₃"), ("Fe0.5O", "Fe₀.₅O"), ("x<2", "x<2"), ("mp-12", "mp-12")],
)
def test_formulas_are_printed_with_subscripts(formula, shown):
    assert format_formula(formula) == shown


@pytest.mark.parametrize(
    ("axis", "texts"),
    [
        (Axis(-4.5, 4.5, ""), ["−4", "−2", "0", "2", "4"]),
        (Axis(0, 1, ""), ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (Axis(0, 0.011, ""), ["0.0000", "0.0025", "0.0050", "0.0075", "0.0100"]),
        (Axis(8, 210, "", log=True), ["10", "20", "50", "100", "200"]),
        (Axis(1e-5, 10, "", log=True), ["10⁻⁵", "10⁻⁴", "0.001", "0.01", "0.1", "1", "10"]),
    ],
)
def test_ticks_are_round_and_within_the_axis(axis, texts):
    assert [text for _, text in axis.ticks()] == texts
    assert all(-1e-9 <= fraction <= 1 + 1e-9 for fraction, _ in axis.ticks())

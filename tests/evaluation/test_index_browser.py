"""The index of runs as a reader sees it, in headless Chromium: at a desk, on a phone, without JavaScript."""

from pathlib import Path

import pytest

from evaluation.index import Links, index_page
from storage.champions import Decision, Lineage
from storage.registry import Card, Run

ERRORS = {"one": 0.05, "two": None, "three": 0.2, "four": 0.01}


def write_index(path: Path) -> None:
    """Four runs of two sources, one without a test error, names with HTML and without a break."""
    runs: list[Run] = []
    decisions: dict[str, list[Decision]] = {}
    for n, (run, error) in enumerate(ERRORS.items()):
        source = "a.csv" if n < 3 else "<img src=x onerror=alert(1)>" + "x" * 80
        model, report = (f"{step}/{n:064x}" for step in ("train-model", "report"))
        card = Card(
            run=run, name=source, source=source, note="made up", target="energy_ev", unit="eV", task="regression",
            metric="mae", test=error, baseline=0.4, materials=100 * n, model=model,
            predictions=f"{model}/predictions.parquet", report=f"{report}/report.html",
        )  # fmt: skip
        runs.append(Run(finished=f"2026-01-0{9 - n}T10:00:00+00:00", card=card))
        made = Decision(at=f"2026-01-0{9 - n}T10:00:00+00:00", kind="retrain", run=run, model=card.model,
                        champion=None, promoted=True, reason="<img src=x onerror=alert(1)>")  # fmt: skip
        decisions.setdefault(source, []).insert(0, made)
    links = Links("report.html", [("model.zip", "m"), ("predictions.csv", "c"), (".parquet", "p")])
    lineages = [Lineage(name=name, decisions=made) for name, made in decisions.items()]
    path.write_text(index_page(runs, lineages, lambda _: links, "/a/store/" + "y" * 120), encoding="utf-8")


@pytest.fixture(scope="module")
def opened(browser, tmp_path_factory):
    """opened(width, javascript=True): the index in a browser, and what went wrong there."""
    path = tmp_path_factory.mktemp("index") / "index.html"
    write_index(path)

    def open_at(width: int, *, javascript: bool = True):
        page = browser.new_page(viewport={"width": width, "height": 844}, java_script_enabled=javascript)
        faults: list[str] = []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith("file://") else faults.append(r.url))
        page.on("dialog", lambda dialog: (faults.append("dialog"), dialog.dismiss()))
        page.goto(path.as_uri())
        return page, faults

    return open_at


def order(page) -> list[str]:
    """The runs that are seen, from the top."""
    return page.locator("#runs tbody tr:visible th a").all_inner_texts()


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_no_error_no_request_no_sideways_scrolling(opened, width):
    page, faults = opened(width)
    assert order(page) == list(ERRORS)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    wide = "() => [...document.querySelectorAll('.panel')].filter((p) => p.scrollWidth > p.clientWidth + 1).length"
    assert page.evaluate(wide) == 0
    cut = """() => [...document.querySelectorAll("svg text")].filter((text) => {
        const box = text.getBoundingClientRect(), frame = text.closest("svg").getBoundingClientRect();
        return box.left < frame.left - 1 || box.right > frame.right + 1;
    }).length"""
    assert page.evaluate(cut) == 0
    assert page.locator("img").count() == 0
    assert faults == []


@pytest.mark.parametrize("width", [390, 1280])
def test_a_click_on_a_heading_sorts_and_another_one_turns_it(opened, width):
    page, faults = opened(width)
    heading = page.get_by_role("button", name="Test error")
    heading.click()
    assert order(page) == ["four", "one", "three", "two"]  # who has no error comes last
    heading.click()
    assert order(page) == ["three", "one", "four", "two"]
    assert page.locator("[aria-sort]").get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Finished").click()
    assert order(page) == ["four", "three", "two", "one"]
    assert faults == []


def test_a_source_can_be_chosen(opened):
    page, _ = opened(1280)
    page.get_by_label("Source").select_option("a.csv")
    assert order(page) == ["one", "two", "three"]
    assert "3 of 4 runs" in page.locator("#filters").inner_text()
    page.get_by_label("Source").select_option("all")
    assert len(order(page)) == 4


def test_a_dot_tells_of_its_decision(opened):
    page, faults = opened(1280)
    box = page.locator("path.dot").first.evaluate("(dot) => dot.getBoundingClientRect().toJSON()")
    page.mouse.move(box["x"] + 1, box["y"] + 1)
    assert "promoted 2026-01-07" in page.locator("#tip").inner_text()
    assert "<img" in page.locator("#tip").inner_text()
    assert faults == []


def test_without_javascript_it_is_a_table_newest_first(opened):
    page, _ = opened(1280, javascript=False)
    assert order(page) == list(ERRORS)
    assert not page.locator("#filters").is_visible()
    assert page.get_by_role("button").count() == 0

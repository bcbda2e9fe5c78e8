"""The report as a reader sees it: opened from disk in headless Chromium, at the widths of a desk and of a phone."""

from pathlib import Path

import numpy as np
import pytest


@pytest.fixture
def opened(browser):
    """opened(folder, width) opens a run's report and returns (page, what a reader would never know of)."""
    pages = []

    def open_at(folder: Path, width: int):
        page = browser.new_page(viewport={"width": width, "height": 844})
        pages.append(page)
        faults: list[str] = []
        page.on("console", lambda message: faults.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("request", lambda r: None if r.url.startswith("file://") else faults.append(f"request: {r.url}"))
        page.on("dialog", lambda dialog: (faults.append("dialog"), dialog.dismiss()))
        page.goto((folder / "report" / "report.html").as_uri())
        return page, faults

    yield open_at
    for page in pages:
        page.close()


def evil_rows(table, evil_ids, rows=600):
    """A table whose worst predictions have ids with HTML in them, and one with an id without a break."""
    ids = [f"mp-{n}" for n in range(rows)]
    miss = np.random.default_rng(5).normal(0, 0.05, rows)
    split = ["test" if n < 260 else "train" for n in range(rows)]
    for n, name in enumerate([*evil_ids, "x" * 120]):
        ids[n], miss[n] = name, 3.0 + n
    target = np.linspace(-3, 1, rows)
    return table(rows, material_id=ids, formula=[*ids[:4], *["SrTiO3"] * (rows - 4)], split=split, target=target,
                 predicted=target + miss)  # fmt: skip


@pytest.mark.parametrize("width", [320, 390, 768, 1280])
@pytest.mark.parametrize("task", ["regression", "classification"])
def test_no_error_no_request_no_sideways_scrolling(make_run, table, evil_ids, opened, width, task):
    rows = evil_rows(table, evil_ids)
    if task == "classification":
        frame = rows.to_pandas()
        rows = table(600, material_id=frame["material_id"], formula=frame["formula"], split=frame["split"],
                     target=(frame["target"] > 0).astype(float), predicted=np.linspace(0, 1, 600))  # fmt: skip
    run = make_run(rows, task=task, title="mp2018", target="formation_energy_per_atom_ev", run="r" * 90)
    page, faults = opened(run.folder, width)
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert faults == []
    assert page.locator("img").count() == 0


def test_the_material_under_the_pointer_is_named(make_run, table, evil_ids, opened, worst_point):
    run = make_run(evil_rows(table, evil_ids))
    page, faults = opened(run.folder, 1280)
    plot = page.locator("svg[data-points]")
    plot.scroll_into_view_if_needed()
    where = page.evaluate(worst_point)
    page.mouse.move(where[0] + 1, where[1] + 1)
    found = page.locator("#tip").inner_text()
    assert where[2] in found
    assert "predicted" in found
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()
    page.locator(".periodic [data-tip]").first.hover()
    assert "test structure" in page.locator("#tip").inner_text()
    assert faults == []


@pytest.mark.parametrize("head", ["log", "point"])
def test_values_of_the_head_log_are_drawn_by_their_logarithms(make_run, table, opened, head):
    """1 lies in the middle between 0.001 and 1,000, and the material that is drawn there is named there."""
    target = np.array([1e-3, 1e3, 1.0])
    rows = table(3, target=target, predicted=target, material_id=["least", "most", "middle"],
                 split=["train", "train", "test"])  # fmt: skip
    run = make_run(rows, unit="W/(m K)", configuration={"model": {"head": head}})
    page, faults = opened(run.folder, 1280)
    page.locator("svg[data-points]").scroll_into_view_if_needed()
    ends, dot = (page.locator(f"svg[data-points] {part}").bounding_box() for part in (".diagonal", ".test-dot"))
    share = (dot["x"] + dot["width"] / 2 - ends["x"]) / ends["width"]
    assert share == pytest.approx(0.5 if head == "log" else 0.04, abs=0.02)
    page.mouse.move(dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2)
    assert "middle" in page.locator("#tip").inner_text()
    assert faults == []


@pytest.mark.parametrize("width", [390, 1280])
def test_no_label_is_cut_and_no_panel_is_empty(make_run, table, opened, width):
    run = make_run(table(600), title="mp2018", target="formation_energy_per_atom_ev")
    page, _ = opened(run.folder, width)
    cut = page.evaluate(
        """() => [...document.querySelectorAll("svg text")].filter((text) => {
            const box = text.getBoundingClientRect(), frame = text.closest("svg").getBoundingClientRect();
            return box.left < frame.left - 1 || box.right > frame.right + 1
                || box.top < frame.top - 1 || box.bottom > frame.bottom + 1;
        }).map((text) => text.textContent)"""
    )
    assert cut == []
    wide = "() => [...document.querySelectorAll('.panel')].filter((p) => p.scrollWidth > p.clientWidth + 1).length"
    assert page.evaluate(wide) == 0
    assert all(panel.inner_text().strip() for panel in page.locator(".panel").all())

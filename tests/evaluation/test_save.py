"""What a reader saves of a report in headless Chromium: figures as SVG files that stand alone, and numbers as CSV."""

import csv
import functools
import threading
import xml.etree.ElementTree as ET
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

SVG = "{http://www.w3.org/2000/svg}"
UNUSUAL_ID = 'a,"b"\n=c'


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.faults = []
    page.on("console", lambda message: page.faults.append(message.text))
    page.on("pageerror", lambda error: page.faults.append(str(error)))
    yield page
    page.close()


@pytest.fixture
def run(make_run, table):
    """A report of 400 rows, one of which has an id with all that means something in CSV."""
    return make_run(table(400, material_id=[UNUSUAL_ID, *(f"mp-{n}" for n in range(1, 400))]))


@pytest.fixture
def address(run):
    return (run.folder / "report" / "report.html").as_uri()


@pytest.fixture
def served(run):
    """The report's address on a server, as `make serve` gives it."""
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(run.folder / "report"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/report.html"
        server.shutdown()


def saved(page, kind: str, figure: str) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=f"Save as {kind}: {figure}").click()
    return download.value.path()


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_figure_can_be_saved_and_each_stands_alone(page, address, browser):
    """All text that is in the figure is in the file, nothing lies outside of it, and it refers to nothing."""
    page.goto(address)
    titles = page.locator("figure h3").all_inner_texts()
    assert len(titles) == 4
    for title in titles:
        figure = page.locator("figure", has=page.get_by_role("heading", name=title, exact=True))
        shown = figure.locator("h3, li, figcaption, .plot text").all_text_contents()
        path = saved(page, "SVG", title)
        root = ET.parse(path).getroot()
        texts = " ".join(node.text for node in root.iter(f"{SVG}text"))
        assert all(" ".join(text.split()) in texts for text in shown), title
        names = {name for node in root.iter() for name in node.attrib}
        assert not names & {"class", "style", "href", "data-tip"}
        assert "var(" not in path.read_text(encoding="utf-8")
        alone = browser.new_page(viewport={"width": 1280, "height": 900})
        alone.set_content(path.read_text(encoding="utf-8"))
        assert alone.evaluate(OUTSIDE) == []
        alone.close()
    assert page.faults == []


OUTSIDE = """() => {
    const frame = document.querySelector("svg").getBoundingClientRect();
    return [...document.querySelectorAll("svg *")].filter((node) => {
        const box = node.getBoundingClientRect();
        return box.width && (box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1);
    }).map((node) => node.outerHTML.slice(0, 200));
}"""


def test_a_saved_figure_looks_as_on_the_page(page, address):
    """The colours of the marks are the page's, though the file has no style sheet."""
    page.goto(address)
    root = ET.parse(saved(page, "SVG", "Learning curves")).getroot()
    strokes = [node.get("stroke") for node in root.iter(f"{SVG}path")]
    colours = "() => [...document.querySelectorAll('figure .line')].map((line) => getComputedStyle(line).stroke)"
    assert set(page.evaluate(colours)) >= {"rgb(11, 95, 165)", "rgb(213, 94, 0)"}
    assert {"rgb(11, 95, 165)", "rgb(213, 94, 0)"} <= set(strokes)


@pytest.mark.parametrize("where", ["address", "served"])
def test_the_materials_are_saved_as_a_table(page, run, where, request):
    page.goto(request.getfixturevalue(where))
    rows = rows_of(saved(page, "CSV", "Predicted against reference"))
    truth = {row["material_id"]: row for row in pq.read_table(run.folder / "predictions.parquet").to_pylist()}
    assert {row["material_id"] for row in rows} == set(truth)
    assert len(rows) == 400
    for row in rows:
        known = truth[row["material_id"]]
        assert (row["formula"], row["split"]) == (known["formula"], known["split"])
        assert float(row["reference (eV/atom)"]) == pytest.approx(known["target"], rel=1e-5)
        assert float(row["predicted (eV/atom)"]) == pytest.approx(known["predicted"], rel=1e-5)
    assert page.faults == []


def test_other_figures_save_their_numbers_in_full_precision(page, address, run):
    page.goto(address)
    history = pq.read_table(run.folder / "history.parquet").to_pydict()
    rows = rows_of(saved(page, "CSV", "Learning curves"))
    assert [int(row["epoch"]) for row in rows] == history["epoch"]
    assert [float(row["training loss"]) for row in rows] == history["train_loss"]
    assert [float(row["validation MAE (meV/atom)"]) / 1000 for row in rows] == pytest.approx(history["validation_mae"])
    gates = pq.read_table(run.folder / "gates.parquet").to_pandas()
    rows = rows_of(saved(page, "CSV", "Gate value by distance"))
    assert len(rows) == (gates["edges"] > 0).sum()
    shares = [float(row["test (%)"]) for row in rows_of(saved(page, "CSV", "Residuals"))]
    assert 95 < sum(shares) <= 100


def test_figures_of_a_classification_can_be_saved(page, make_run, table):
    target = (np.arange(500) % 3 == 0).astype(float)
    run = make_run(table(500, target=target, predicted=np.linspace(0, 1, 500)), task="classification")
    page.goto((run.folder / "report" / "report.html").as_uri())
    for title in page.locator("figure h3").all_inner_texts():
        assert ET.parse(saved(page, "SVG", title)).getroot().tag == f"{SVG}svg"
        assert len(rows_of(saved(page, "CSV", title))) > 2
    assert page.faults == []


def test_a_file_has_the_name_of_run_and_figure_and_buttons_obey_the_keyboard(page, address):
    page.goto(address)
    page.get_by_role("button", name="Save as CSV: Learning curves").focus()
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "made-up-1a2b3c4d-Learning-curves.csv"


def test_without_a_script_there_is_no_button_that_does_nothing(browser, address):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    assert not page.locator(".save").first.is_visible()
    context.close()

"""The documentation is true: what it names exists, what it shows works, and its site builds without a warning."""

import functools
import http.server
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from crystals import download, predict_inputs
from crystals.config import GraphConfig
from crystals.sources.registry import check_source
from flows import cli, config
from flows.config import keys

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
BLOCK = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
SHOWN = sorted(set(re.findall(r"^\S*\$ +(?:\w+=\S+ )?cgcnn ([^#\n]*)", TEXT, re.MULTILINE)))
COMMANDS = next(action.choices for action in cli.parser()._actions if action.choices and "show" in action.choices)
SETTINGS = ROOT / "mkdocs.yml"
WIDTHS = (390, 1280)
CHROMIUM = shutil.which("chromium")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]


def built(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The site of the mkdocs.yml in `folder`, made with the options that the Makefile gives."""
    (given,) = re.findall(r"mkdocs build ([^#\n]*)", (ROOT / "Makefile").read_text(encoding="utf-8"))
    command = [sys.executable, "-m", "mkdocs", "build", *given.split(), *options]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The site as `make docs` builds it: a link or an anchor that leads nowhere is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = built(ROOT, "--site-dir", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def address(site) -> str:
    """Where the site is served."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(site))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def blocks(page: str) -> dict[str, str]:
    """The blocks of a page that have the name of a file, by it."""
    return {name: text for _, name, text in BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))}


def test_every_command_is_documented_and_every_documented_one_exists():
    assert set(re.findall(r"cgcnn (\w+)", TEXT)) == set(COMMANDS)


def test_every_key_in_the_documentation_exists():
    groups = {key.partition(".")[0] for key in keys() if "." in key}
    told = set(re.findall(rf"(?<![\w/.])((?:{'|'.join(groups)})\.[a-z_]+)\b(?![./(:])", TEXT))
    files = {key for key in told if key.endswith((".py", ".md", ".json", ".safetensors"))}
    assert len(told - files) > 20
    assert told - files - {"checks.max_vacuum"} <= set(keys())  # the example of CONTRIBUTING.md


@pytest.mark.parametrize("command", SHOWN)
def test_a_command_that_is_shown_is_one_that_can_be_given(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(blocks("own_data.md")["mine.yaml"])
    if "schnet" in command or "rare-gases" in command:
        pytest.skip("the examples of CONTRIBUTING.md have tests of their own")
    options = cli.parser().parse_args(shlex.split(command))
    if command.startswith("retrain"):
        Path("mp-ids-46744.csv").write_text("mp-1\n")
        config.configured([*map(config.preset_or_file, options.config), *map(config.assignment, options.set)])


def test_links_between_the_files_at_the_top_and_the_pages_lead_somewhere():
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
            assert (ROOT / link).exists(), f"{page.name}: {link}"


def test_the_table_of_the_page_on_own_data_is_one_that_can_be_read(tmp_path):
    given = blocks("own_data.md")
    (tmp_path / "write_table.py").write_text(given["write_table.py"])
    subprocess.run([sys.executable, "write_table.py"], cwd=tmp_path, check=True)
    known = yaml.safe_load(given["mine.yaml"])
    source = str(tmp_path / known["source"])
    resolved = check_source(source, known["target"])
    spec = download.DownloadSpec(output=tmp_path, scratch=tmp_path, source=source, contents=resolved.contents)
    facts = download.build(spec)
    assert (facts["rows"], facts["unreadable"], facts["targets"]) == (3, 0, [known["target"]])


def test_the_crystal_of_the_first_prediction_is_one_that_can_be_read(tmp_path):
    path = tmp_path / "CuAu3.vasp"
    path.write_text(blocks("first_model.md")[path.name])
    spec = predict_inputs.InputsSpec(output=tmp_path, scratch=tmp_path, files=[path], config=GraphConfig())
    assert predict_inputs.build(spec) == {"rows": 1, "refused": 0}


def test_the_citation_file_keeps_its_schema_and_names_the_papers_of_the_models():
    path = ROOT / "CITATION.cff"
    command = ["check_jsonschema", "--builtin-schema", "vendor.citation-file-format", str(path)]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    papers = {paper["doi"] for paper in yaml.safe_load(path.read_text(encoding="utf-8"))["references"]}
    assert papers == {"10.1103/PhysRevLett.120.145301", "10.1039/D4DD00018H"}


@pytest.mark.parametrize(("link", "code"), [("#here", 0), ("#there", 1), ("nowhere.md", 1)])
def test_a_link_that_leads_nowhere_stops_the_build(tmp_path, link, code):
    validation = yaml.safe_dump({"validation": yaml.safe_load(SETTINGS.read_text(encoding="utf-8"))["validation"]})
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "index.md").write_text(f"# Here\n\n[a link]({link})\n")
    (tmp_path / "mkdocs.yml").write_text(f"site_name: a page\n{validation}")
    assert built(tmp_path).returncode == code


def test_the_site_has_a_row_for_every_key_and_every_option(site):
    shown = (site / "keys.html").read_text(encoding="utf-8")
    assert [key for key in keys() if f'id="{key}"' not in shown] == []
    commands = (site / "commands.html").read_text(encoding="utf-8")
    for name, parser in COMMANDS.items():
        section = commands.partition(f'id="cgcnn-{name}"')[2].partition("<h2")[0]
        options = [option for action in parser._actions for option in action.option_strings]
        assert [option for option in options if option not in section] == []


def test_a_row_of_a_key_says_what_is_allowed(site):
    shown = (site / "keys.html").read_text(encoding="utf-8")
    row = shown.partition('id="graphs.cutoff"')[2].partition("</tr>")[0]
    text = " ".join(re.sub(r"<[^>]+>", " ", row).split())
    assert "8.0 number above 0 to 12 or null Neighbours are searched within this radius (Å)" in text


def test_a_key_on_a_page_leads_to_its_row(site):
    assert 'href="keys.html#promotion.margin"' in (site / "champions.html").read_text(encoding="utf-8")


def test_the_site_takes_nothing_from_another_place(site):
    loads = re.compile(r"""<(?:script|img|iframe|source)[^>]*\ssrc="(https?:)?//|<link[^>]*\shref="(https?:)?//""")
    for page in site.rglob("*.html"):
        assert not loads.search(page.read_text(encoding="utf-8")), page.name
    for style in site.rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//|@import", style.read_text(encoding="utf-8")), style.name


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", ["index", "first_model", "own_data", "keys", "commands", "tables", "reference/gnn"])
def test_a_page_has_no_fault_and_does_not_scroll_sideways(address, browser, width, name):
    page = browser.new_page(viewport={"width": width, "height": 844})
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("request", lambda asked: None if asked.url.startswith(address) else faults.append(asked.url))
    page.on("response", lambda answer: faults.append(answer.url) if answer.status >= 400 else None)
    page.goto(f"{address}/{name}.html")
    assert page.locator("article h1").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [fault for fault in faults if not fault.startswith("data:")] == []
    page.close()


def test_the_search_finds_a_key_without_a_network(address, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 844})
    page.goto(f"{address}/index.html")
    page.locator("input.md-search__input").fill("shell_tolerance")
    page.locator('.md-search-result__link[href*="keys.html"]').first.wait_for(timeout=30_000)
    page.close()

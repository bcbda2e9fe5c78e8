"""Tables of made-up runs, and the reports made of them."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from evaluation.evaluate import EvaluateSpec
from evaluation.evaluate import build as evaluate
from evaluation.page import ReportSpec
from evaluation.page import build as report
from storage import schemas

EVIL = ["<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "a|b` [x](javascript:alert(1)) ]]>"]
FORMULAS = {"NaCl": [11, 17], "SrTiO3": [38, 22, 8, 8, 8], "Cu": [29], "CePd3": [58, 46, 46, 46]}


class Run(NamedTuple):
    """A made-up training and its report."""

    folder: Path
    page: str
    summary: str


def predictions(rows: int, seed: int = 0, **columns: Any) -> pa.Table:
    """Rows in all three splits; `columns` replaces whole columns."""
    random = np.random.default_rng(seed)
    target = random.normal(-1, 1, rows)
    names = random.choice(list(FORMULAS), rows)
    changes = {
        "material_id": [f"mp-{n}" for n in range(rows)],
        "formula": names,
        "split": random.choice(["train", "validation", "test"], rows, p=[0.8, 0.1, 0.1]),
        "target": target,
        "predicted": target + random.normal(0, 0.05, rows),
        "atomic_numbers": [FORMULAS[name] for name in names],
        "spacegroup_number": random.integers(1, 231, rows),
    }
    return pa.table(changes | columns).cast(schemas.PREDICTIONS)


def gates() -> pa.Table:
    rows = [
        {"layer": layer, "distance": 0.5 + d, "mean_gate": 0.5 + 0.1 / (d + layer + 1), "edges": 40 * d}
        for layer in range(3)
        for d in range(8)
    ]
    return pa.Table.from_pylist(rows, schemas.GATES)


def history(epochs: int = 30) -> pa.Table:
    epoch = np.arange(1, epochs + 1)
    falling = np.exp(-epoch / 10) + 0.05
    changes = {"epoch": epoch, "learning_rate": falling, "train_loss": falling, "validation_mae": falling}
    return pa.table(changes).cast(schemas.HISTORY)


def about(**changes: Any) -> dict[str, Any]:
    return {
        "run": "made-up-1a2b3c4d",
        "source": "made-up.parquet",
        "title": "made-up",
        "note": "labels made up by a test, not DFT",
        "target": "formation_energy_per_atom",
        "unit": "eV/atom",
        "task": "regression",
        "date": "2026-01-31",
        "rows": 103,
        "accepted": 100,
        "rejected": 3,
        "by_rule": {"volume": 2, "isolated_atom": 1},
        "conflicts": 1,
        "split": {"train": 80, "validation": 10, "test": 10, "unused": 0},
        "split_by": "hash of material",
        "configuration": {"train": {"epochs": 30, "threshold": 0.0}, "graphs": {"cutoff": 8.0}},
        "parameters": 76225,
        "epochs": 30,
        "kept_epoch": 30,
        "seconds": 12.3,
        "structures_per_second": 1234.5,
        "edges_per_second": 98765.4,
        "data_wait": 0.012,
        "peak_memory_mib": 432,
        "processes": 2,
        "data": "resident",
        "device": "cpu",
        "graph_edges": 1200,
        "orbits": 60,
        "atoms": 100,
    } | changes


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Run]:
    """make_run(predictions table, gates=…, **about) evaluates the table and makes its report."""

    def make(
        table: pa.Table, *, with_gates: bool = True, epochs: int = 30, comparison: Path | None = None, **changes: Any
    ) -> Run:
        story = about(**changes)
        rejected = [{"material_id": EVIL[0], "rule": "volume", "message": f"300 Å³ per atom {EVIL[1]}"}]
        conflicts = [{"material_id": EVIL[1], "other_id": "mp-2", "value": -1.0, "other_value": -0.5}]
        tables = {
            "predictions": table,
            "history": history(epochs),
            "gates": gates(),
            "rejected": pa.Table.from_pylist(rejected, schemas.REJECTED),
            "conflicts": pa.Table.from_pylist(conflicts, schemas.CONFLICTS),
        }
        paths = {name: tmp_path / f"{name}.parquet" for name in tables}
        for name, content in tables.items():
            schemas.write_table(content, paths[name])
        folders = {"output": tmp_path / "evaluate", "scratch": tmp_path}
        folders["output"].mkdir(exist_ok=True)
        used = {name: paths[name] for name in ("predictions", "history", *(["gates"] if with_gates else []))}
        names = {name: story[name] for name in ("target", "unit", "task")}
        evaluate(EvaluateSpec(**folders, **used, **names, source=story["title"]))
        spec = {
            "evaluation": folders["output"],
            "comparison": comparison,
            "rejected": [paths["rejected"]],
            "conflicts": paths["conflicts"],
        }
        out = tmp_path / "report"
        out.mkdir(exist_ok=True)
        report(ReportSpec(output=out, scratch=tmp_path, about=story, **used, **spec))
        page, summary = (out / name for name in ("report.html", "summary.md"))
        return Run(tmp_path, page.read_text(encoding="utf-8"), summary.read_text(encoding="utf-8"))

    return make


@pytest.fixture
def table() -> Callable[..., pa.Table]:
    """table(rows, **columns) makes a table of predictions."""
    return predictions


@pytest.fixture
def evil_ids() -> list[str]:
    """Ids that would do harm on a page that takes them for markup."""
    return EVIL


@pytest.fixture
def worst_point() -> str:
    """A script: where on the screen the material with the largest error is drawn, and its name."""
    return """() => {
        const svg = document.querySelector("svg[data-points]");
        const data = JSON.parse(document.getElementById("points").textContent);
        const [left, right, bottom, top] = data.frame, [low, high] = data.range;
        const at = new DOMPoint(left + (data.target[0] - low) / (high - low) * (right - left),
                                bottom - (data.predicted[0] - low) / (high - low) * (bottom - top));
        const seen = at.matrixTransform(svg.getScreenCTM());
        return [seen.x, seen.y, data.id[0]];
    }"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium; the test is skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()

"""The graph step after a release: what it reuses, and that the store's bytes are those of a store without a past."""

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crystals.config import GraphConfig
from storage.artefact import Artefact, Part, Recipe
from storage.partition import shard_of, shards_in_common
from storage.store import Store
from tasks.caching import RunContext
from tasks.earlier import EarlierShards, earlier_files, earlier_shards
from tasks.graphs import VERSION

STEPS = """
import json, sys
from prefect import flow
from crystals.config import ChecksConfig, GraphConfig, MaterialsProjectQuery
from tasks.caching import RunContext
from tasks.download import download
from tasks.graphs import graphs
from tasks.resolve_source import resolve_source
from tasks.validate import validate

@flow
def to_graphs(source, target, store):
    context = RunContext(store=store)
    found = resolve_source(source, target, MaterialsProjectQuery())
    downloaded = download(found.source, found.contents, found.query, found.version, context)
    structures = validate(downloaded, found.target, ChecksConfig(), context)
    return graphs(structures, found.target, GraphConfig(cutoff=5.0, max_neighbors=4), context)

for job in json.loads(sys.argv[1]):
    print(to_graphs(*job).model_dump_json())
"""

Rows = dict[str, dict[str, Any]]


def release(count: int, prefix: str = "m") -> Rows:
    """So many cubes of two atoms, by name; every fiftieth has one atom, which is alone within the cutoff."""
    chance = random.Random(1)
    rows: Rows = {}
    for number in range(count):
        alone = number % 50 == 49
        edge = 6.0 if alone else chance.uniform(3.0, 4.5)
        rows[f"{prefix}-{number}"] = {
            "lattice": [[edge, 0, 0], [0, edge, 0], [0, 0, edge]],
            "atomic_numbers": [17] if alone else [chance.randint(3, 80), 17],
            "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]][: 1 if alone else 2],
            "energy_ev": chance.uniform(-1, 1),
            "gap_ev": chance.uniform(0, 2),
            "spacegroup_number": 221,  # to look for it takes longer than all the rest
        }
    return rows


@pytest.fixture
def to_graphs(server, tmp_path) -> Callable[..., tuple[list[dict[str, Any]], str]]:
    """Runs the first three steps for each (name of a table, target, store), in one process.

    Returns what each graph step returned, and the log.
    """

    def run(tables: dict[str, Rows], *jobs: tuple[str, str, str]) -> tuple[list[dict[str, Any]], str]:
        for name, rows in tables.items():
            lines = [json.dumps({"material_id": material_id, **row}) for material_id, row in rows.items()]
            (tmp_path / name).write_text("\n".join(lines))
        told = {**os.environ, "PREFECT_API_URL": server, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", STEPS, json.dumps(jobs)]
        done = subprocess.run(command, cwd=tmp_path, env=told, capture_output=True, text=True, check=False, timeout=300)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")], done.stderr

    return run


def files_of(store: Path, made: dict[str, Any]) -> dict[str, str]:
    """The digest of every file of a graphs artefact and of its shards."""
    folders = [store / part["step"] / part["key"] for part in made["parts"]] + [store / "graphs" / made["key"]]
    files = [path for folder in folders for path in folder.iterdir() if path.name != "manifest.json"]
    return {str(path.relative_to(store)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def counts(made: dict[str, Any]) -> tuple[int, ...]:
    """Shards, rows reused, rows made."""
    return len(made["parts"]), made["facts"]["reused"], made["facts"]["made"]


def test_a_release_makes_only_what_changed(to_graphs, tmp_path):
    """Two shards, then four as the table doubles; the table has another name each time, and another target at last."""
    changed = release(1600)
    for number in range(0, 1600, 40):
        changed[f"m-{number}"]["lattice"][0][0] *= 1.01
    for number in range(1, 1600, 40):
        changed[f"m-{number}"]["energy_ev"] += 0.1
    del changed["m-2"]
    changed["new"] = {**changed["m-3"]}
    (first, second, fresh, doubled), log = to_graphs(
        {"a.jsonl": release(1600), "b.jsonl": changed, "c.jsonl": {**changed, **release(1500, "g")}},
        ("a.jsonl", "energy_ev", "store"),
        ("b.jsonl", "energy_ev", "store"),
        ("b.jsonl", "energy_ev", "other"),
        ("c.jsonl", "gap_ev", "store"),
    )
    assert counts(first) == (2, 0, 1600)
    assert counts(second) == (2, 1559, 41)
    assert "graphs: 1,559 rows reused, 41 made" in log
    assert "graphs shard 001: " in log
    assert second["facts"]["rejected"] == 32
    assert counts(fresh) == (2, 0, 1600)
    assert fresh["key"] == second["key"]
    assert files_of(tmp_path / "store", second) == files_of(tmp_path / "other", fresh)
    assert counts(doubled) == (4, 1600, 1500)


STRUCTURES = Recipe(step="validate", version=1, parameters={"target": "energy_ev"}, inputs={"downloaded": "a"})


def commit(store: Store, recipe: Recipe, parts: tuple[Part, ...] = (), **files: str) -> Artefact:
    with store.building(recipe.step, recipe.key) as work:
        (work / "output").mkdir()
        for name, content in files.items():
            (work / "output" / f"{name}.parquet").write_text(content)
        return store.commit(recipe, work / "output", {"rows": 100}, parts)


@pytest.fixture(params=["folder", "s3"])
def store(request, tmp_path) -> Store:
    return Store(root=tmp_path, url=request.getfixturevalue("bucket") if request.param == "s3" else None)


def past_of(store: Store) -> tuple[Artefact, Artefact, EarlierShards]:
    """A run in the store: structures and graphs of its one shard, and what a new run finds of them."""
    config = GraphConfig()
    table = commit(store, STRUCTURES, **{"structures-000": "S"})
    digest = table.files["structures-000.parquet"].sha256
    parameters = {"target": "energy_ev", "config": config.model_dump(mode="json")}
    recipe = Recipe(step="graph-shard", version=VERSION, parameters=parameters, inputs={"structures": digest})
    shard = commit(store, recipe, graphs="G", rejected="R")
    recipe = Recipe(step="graphs", version=1, parameters=parameters, inputs={"structures": table.digest})
    commit(store, recipe, (Part(step=shard.step, key=shard.key, digest=shard.digest),), rejected="R")
    new = commit(store, STRUCTURES.model_copy(update={"inputs": {"downloaded": "b"}}), **{"structures-000": "T"})
    (found,) = earlier_shards(new, "energy_ev", config, context_of(store))
    assert earlier_shards(new, "energy_ev", GraphConfig(cutoff=5.0), context_of(store))[0].pairs == []
    return table, shard, found


def context_of(store: Store) -> RunContext:
    return RunContext(store=store.url or str(store.root))


def test_files_of_the_past_are_found_where_they_lie(store, tmp_path, monkeypatch):
    """Of a store at a URL, a machine that has no copy fetches them."""
    _, _, found = past_of(store)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another machine"))
    (files,) = earlier_files(found, VERSION, context_of(store))
    assert files["structures"].read_text() == "S"
    assert (files["graphs"] / "graphs.parquet").read_text() == "G"
    assert earlier_files(found, VERSION + 1, context_of(store)) == []


@pytest.mark.parametrize(("of", "name"), [(0, "structures-000"), (1, "graphs"), (1, "rejected")])
@pytest.mark.parametrize("damage", [lambda path: path.write_text("X"), Path.unlink])
def test_damaged_files_are_not_reused(tmp_path, of, name, damage):
    store = Store(root=tmp_path)
    past = past_of(store)
    damage(store.path(past[of], f"{name}.parquet"))
    assert earlier_files(past[2], VERSION, context_of(store)) == []


@pytest.mark.parametrize("count", [1, 4, 8])
@pytest.mark.parametrize("earlier_count", [1, 4, 16])
def test_a_material_is_in_a_shard_in_common(count, earlier_count):
    for name in map(str, range(200)):
        common = shards_in_common(shard_of(name, count), count, earlier_count)
        assert shard_of(name, earlier_count) in common
        assert len(common) == max(1, earlier_count // count)

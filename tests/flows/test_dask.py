"""The graph step on a Dask cluster: a real scheduler, two workers, one of them killed half way."""

import json
import subprocess
import sys
import time

import pytest

ROWS = 1600  # two shards
FLOW = """
import sys
from prefect import flow
from crystals.config import ChecksConfig, GraphConfig, MaterialsProjectQuery
from tasks.caching import RunContext
from tasks.download import download
from tasks.graphs import graphs
from tasks.resolve_source import resolve_source
from tasks.runner import runner
from tasks.validate import validate

@flow(name="graphs", task_runner=runner())
def to_graphs(source, store):
    context = RunContext(store=store)
    resolved = resolve_source(source, None, MaterialsProjectQuery())
    downloaded = download(resolved.source, resolved.contents, None, None, context)
    structures = validate(downloaded, resolved.target, ChecksConfig(), context)
    return graphs(structures, resolved.target, GraphConfig(), context)

if __name__ == "__main__":
    print(to_graphs(*sys.argv[1:]).facts["rows"])
"""


# The programs of both shards run at the same time, and for long enough to be caught at it.
TOGETHER = """
import pathlib, sys, time
if "crystals.graphs" in sys.orig_argv:
    work = pathlib.Path(sys.orig_argv[-1]).parents[1]
    for _ in range(300):
        if len(list(work.glob("graph-shard-*/spec.json"))) + len(list(work.parent.glob("graph-shard/*"))) == 2:
            break
        time.sleep(0.1)
    time.sleep(1)
"""


@pytest.fixture
def dask_environment(environment, tmp_path_factory):
    hooks = tmp_path_factory.mktemp("hooks")
    (hooks / "sitecustomize.py").write_text(TOGETHER)
    return {**environment, "PYTHONPATH": str(hooks)}


@pytest.mark.parametrize("dask", [2], indirect=True)
def test_the_shard_of_a_killed_worker_is_made_by_the_other(dask, environment, tmp_path):
    address, workers = dask
    rows = (
        {
            "material_id": f"m-{n}",
            "lattice": [[3 + n / ROWS, 0, 0], [0, 3, 0], [0, 0, 3]],
            "atomic_numbers": [11, 17],
            "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
            "energy_ev": n / ROWS,
            "spacegroup_number": 123,
        }
        for n in range(ROWS)
    )
    source, store, flow = tmp_path / "rows.jsonl", tmp_path / "store", tmp_path / "to_graphs.py"
    source.write_text("\n".join(map(json.dumps, rows)))
    flow.write_text(FLOW)
    run = subprocess.Popen(
        [sys.executable, str(flow), str(source), str(store)],
        env={**environment, "CGCNN_DASK": address},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(list(store.glob("work/graph-shard-*/spec.json"))) < 2:
        assert run.poll() is None, run.communicate()
        time.sleep(0.1)
    workers[0].kill()
    told, log = run.communicate(timeout=240)
    assert told.strip() == str(ROWS), log
    assert len(list(store.glob("graph-shard/*/manifest.json"))) == 2
    assert all(worker.poll() is None for worker in workers[1:])

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


@pytest.fixture
def dask(environment, free_port, wait_until, tmp_path):
    """The address of a scheduler, and its two workers. It knows both: a flow that begins before gives all to one."""
    address = f"tcp://127.0.0.1:{free_port()}"
    scheduler = ["scheduler", "--host=127.0.0.1", f"--port={address.rpartition(':')[2]}", "--no-dashboard"]
    worker = ["worker", address, "--nthreads=1", "--no-nanny", "--no-dashboard"]
    logs = [tmp_path / name for name in ("scheduler", "one", "other")]
    started = []
    for command, path in zip((scheduler, worker, worker), logs, strict=True):
        with path.open("w") as log:
            dask = [sys.executable, "-m", "dask", *command]
            started.append(subprocess.Popen(dask, env=environment, stdout=log, stderr=log))
    for process, path in zip(started[1:], logs[1:], strict=True):
        wait_until(lambda path=path: "Registered to" in path.read_text(), process, path)
    yield address, started[1:]
    for process in started:
        process.kill()
        process.wait()


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

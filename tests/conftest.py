"""Settings that must stand before Prefect is imported, here and in every process that a test starts."""

import atexit
import functools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from filelock import FileLock
from hypothesis import settings
from xdist.scheduler import LoadFileScheduling

home = tempfile.mkdtemp(prefix="prefect-home-")
atexit.register(shutil.rmtree, home, ignore_errors=True)
os.environ.update(
    PREFECT_HOME=home,
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    DO_NOT_TRACK="1",
    NO_PROXY="127.0.0.1,localhost",
    # As many tests as cores run at the same time, and threads that wait for each other spin: with two of them small
    # trainings take six times the processor time. What has to hold for several threads sets their number itself.
    OMP_NUM_THREADS="1",
    NUMBA_NUM_THREADS="1",  # numba takes as many as there are cores where another package imports it before ours
)
os.environ.pop("MP_API_KEY", None)  # what a developer has of it is none of the tests' business

# How long an example takes says something about the machine, nothing about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


SERVICE = Path(__file__).parent / "service"

# The files that take long, so that none of them begins when all others have ended. Those of a row share a run of the
# whole flow: they go to one of several processes, and it is made once.
LONG = """
flows/test_retrain.py flows/test_terminal.py flows/test_promotion.py flows/test_predict.py \
flows/test_predict_resume.py flows/test_members.py flows/test_sweep.py flows/test_sweep_ensemble.py \
flows/test_sweep_pruning.py
deployments/test_serve.py
flows/test_materials_project.py
gnn/test_ranks.py
cgcnn/test_python.py
cgcnn/test_notebooks.py
flows/test_studies.py
test_docs.py
deployments/test_group.py
gnn/test_checkpoints.py
tasks/test_earlier.py
test_contributing.py
crystals/materials_project/test_failures.py
crystals/materials_project/test_download.py
flows/test_dask.py
gnn/test_train.py
"""
ROW_OF = {f"tests/{name}": row for row in LONG.strip().splitlines() for name in row.split()}
assert all((Path(__file__).parents[1] / name).exists() for name in ROW_OF)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The long files first, the others as they come."""
    order = list(ROW_OF)
    names = {item: item.nodeid.partition("::")[0] for item in items}
    items.sort(key=lambda item: order.index(names[item]) if names[item] in ROW_OF else len(order))


class _ByRow(LoadFileScheduling):
    """A file stays in one process, and the files of a row of LONG do."""

    def _split_scope(self, nodeid: str) -> str:
        name = super()._split_scope(nodeid)
        return ROW_OF.get(name, name)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByRow | None:
    """With --dist loadfile, as `make test` has it; other ways to distribute the tests stay what they are."""
    return _ByRow(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.fixture(autouse=True)
def _process_as_it_was() -> Iterator[None]:
    """What a training, run in this process by a test, leaves behind: denormal numbers as zero, and fewer threads for
    the processes that are started later.
    """
    threads = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")}
    yield
    for name, value in threads.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


class MaterialsProject:
    """A Materials Project of generated documents on loopback."""

    key = "abcdefghijklmnopqrstuvwxyz012345"
    version = "2025.09.25"
    count = 600

    def __init__(self, port: int) -> None:
        self.endpoint = f"http://127.0.0.1:{port}/"
        storage = f"{self.endpoint}object-storage"
        self.environment = {
            "MP_API_ENDPOINT": self.endpoint,
            "AWS_ENDPOINT_URL": storage,
            "AWS_ENDPOINT_URL_S3": storage,
        }

    def tell(self, **told: Any) -> dict[str, int]:
        """Set the collection or the failures to come; what was asked since the last call."""
        body = json.dumps(told).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.endpoint}_control", body), timeout=30) as answer:
            return dict(json.load(answer))

    def there(self) -> bool:
        """Does it answer?"""
        try:
            self.tell()
        except OSError:
            return False
        return True

    def fails(self, route: str, kind: str, *, times: int = 1, after: int = 0, **how: Any) -> None:
        """The next answers on that route go wrong in this way."""
        self.tell(failures=[{"route": route, "kind": kind, "times": times, "after": after, **how}])

    def moves_on(self, *, new: int = 0, removed: int = 0, changed: float = 0.03) -> str:
        """A second database version; its name."""
        versions = [self.version, "2025.11.01"]
        self.tell(versions=versions, count=self.count + new, removed=removed, changed=changed)
        return versions[-1]


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A port of loopback that nobody listens on, another one in each call."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., None]:
    """wait_until(reached, process, log): return when it is so, while the process lives, but not for ever."""

    def wait(reached: Callable[[], Any], process: "subprocess.Popen[Any]", log: Path | None = None) -> None:
        until = time.monotonic() + 120
        while not reached():
            assert process.poll() is None, log and log.read_text()
            assert time.monotonic() < until, log and log.read_text()
            time.sleep(0.1)

    return wait


@pytest.fixture(scope="session")
def ask_server() -> Callable[..., Any]:
    """ask_server(API address, what, **body): a Prefect server's answer, to a POST where there is a body."""

    def answer(api: str, what: str, **body: Any) -> Any:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(f"{api}/{what}", data, {"Content-Type": "application/json"})
        for _ in range(20):
            try:
                with urllib.request.urlopen(request, timeout=30) as found:
                    return json.load(found)
            except urllib.error.HTTPError as error:  # with SQLite, a busy server says 503: ask again later
                if error.code != 503:
                    raise
                time.sleep(0.5)
        raise TimeoutError(what)

    return answer


@pytest.fixture(scope="session")
def prefect_home(tmp_path_factory) -> Callable[[Path], Path]:
    """prefect_home(folder): fills a PREFECT_HOME with the database that a server makes there at its first start.

    That takes three times as long as the rest of the start, so it is made once for all processes of the tests.
    """
    base = tmp_path_factory.getbasetemp()
    made = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prefect-home"
    with FileLock(f"{made}.lock"):
        if not made.exists():
            new = tmp_path_factory.mktemp("prefect-home")
            upgrade = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            subprocess.run(upgrade, env={**os.environ, "PREFECT_HOME": str(new)}, check=True, capture_output=True)
            new.rename(made)
    return functools.partial(shutil.copytree, made, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory, free_port, wait_until, prefect_home) -> Iterator[str]:
    """The API address of a Prefect server that lives as long as the session."""
    port = free_port()
    home = prefect_home(tmp_path_factory.mktemp("server"))
    schedules_at_once = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1"}
    environment = {**os.environ, "PREFECT_HOME": str(home), **schedules_at_once}
    command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port), "--no-ui"]
    with (home / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    wait_until(lambda: _answers(f"http://127.0.0.1:{port}/api/health"), process, home / "log")
    yield f"http://127.0.0.1:{port}/api"
    process.terminate()
    process.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


@pytest.fixture(scope="session")
def s3(free_port, wait_until) -> Iterator[dict[str, str]]:
    """An S3 server on loopback: the environment by which clients find it. It is in this process's environment, too."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: _answers(address), process)
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    told = {**keys, "AWS_ENDPOINT_URL_S3": address}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in told.items():
            patch.setenv(name, value)
        yield told
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def new_bucket(s3) -> Callable[[], str]:  # noqa: ARG001  boto3 finds the server by the environment
    """Makes a bucket: the URL of a store in it."""

    def make() -> str:
        name = f"bucket-{uuid.uuid4().hex[:12]}"
        client = boto3.client("s3")
        client.create_bucket(Bucket=name)
        client.close()
        return f"s3://{name}/store"

    return make


@pytest.fixture
def bucket(new_bucket) -> str:
    """The URL of a store in a bucket of its own."""
    return str(new_bucket())


@pytest.fixture(scope="session")
def _service(free_port, wait_until) -> Iterator[MaterialsProject]:
    port = free_port()
    service = MaterialsProject(port)
    command = [sys.executable, "server.py", str(port), str(service.count)]
    process = subprocess.Popen(command, cwd=SERVICE)
    wait_until(service.there, process)
    yield service
    process.kill()
    process.wait()


@pytest.fixture
def materials_project(_service, monkeypatch) -> MaterialsProject:
    """The service as it was at first: one version, no failures."""
    _service.tell(versions=[_service.version], count=_service.count, removed=0, changed=0.03, failures=[])
    _service.tell()
    for name, value in _service.environment.items():
        monkeypatch.setenv(name, value)
    return _service


@pytest.fixture(scope="session")
def crystals(tmp_path_factory) -> Path:
    """A table of 60 two-atom crystals, and four rows that no model can learn from."""
    chance = random.Random(5)
    rows = []
    for number in range(60):
        pair, edge = chance.sample([3, 11, 12, 13, 19, 20, 29, 47], 2), chance.uniform(3.0, 4.5)
        rows.append(
            {
                "material_id": f"m-{number}",
                "lattice": [[edge, 0, 0], [0, edge, 0], [0, 0, edge * chance.uniform(1, 1.3)]],
                "atomic_numbers": pair,
                "frac_coords": [[0, 0, 0], [0.5, 0.5, 0.5]],
                "energy_ev": edge + 0.01 * sum(pair),
            }
        )
    rows[7] |= {"energy_ev": None}
    rows[8] |= {"frac_coords": [[0, 0, 0], [0, 0, 0.001]]}
    rows[9] |= {"lattice": [[1, 0, 0], [2, 0, 0], [0, 0, 1]]}
    rows[11] |= {"material_id": "m-10"}
    path = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture(scope="session")
def add_run() -> Callable[..., Any]:
    """add_run(store, name, predictions, …): a made-up run's report, model and card, and the decision about it.

    `predictions` are (id, target, predicted) of its test materials; there is a training row besides. Returns the card.
    """
    import pyarrow as pa

    from storage import schemas
    from storage.artefact import Recipe
    from storage.champions import Decision, decide, lineage, now
    from storage.registry import Card
    from storage.store import Store

    def commit(store: Store, step: str, run: str, files: dict[str, bytes], **extra: Any) -> str:
        recipe = Recipe(step=step, version=1, parameters={"run": run, **extra}, inputs={})
        with store.building(step, recipe.key) as work:
            (work / "output").mkdir()
            for name, content in files.items():
                (work / "output" / name).write_bytes(content)
            store.commit(recipe, work / "output", {})
        return f"{step}/{recipe.key}"

    def add(
        store: Store,
        name: str,
        predictions: list[tuple[str, float, float]] = [("m-1", 1.0, 1.5)],  # noqa: B006  only read
        settings: dict[str, Any] | None = None,
        page: str = "<!doctype html><title>a report</title>",
        promoted: bool = True,
        **changes: Any,
    ) -> Card:
        ids, targets, predicted = zip(*predictions, ("in training", 0.0, 0.0), strict=True)
        columns = {"material_id": ids, "formula": ["NaCl"] * len(ids), "target": targets, "predicted": predicted}
        columns |= {"split": ["test"] * len(predictions) + ["train"], "atomic_numbers": [[11, 17]] * len(ids)}
        columns["spacegroup_number"] = [225] * len(ids)
        table = pa.table({field.name: columns[field.name] for field in schemas.PREDICTIONS}).cast(schemas.PREDICTIONS)
        sink = pa.BufferOutputStream()
        schemas.write_table(table, sink)
        weights = {"model.json": b'{"target": "energy_ev"}', "model.safetensors": os.urandom(200_000)}
        model = commit(store, "train-model", name, {**weights, "predictions.parquet": sink.getvalue().to_pybytes()})
        about = {"rows": 64, "accepted": 60, "configuration": settings or {}}
        report = commit(store, "report", name, {"report.html": page.encode(), "summary.md": b"# it"}, extra_key=about)
        errors = [abs(prediction - target) for _, target, prediction in predictions]
        card = Card(
            **{"run": name, "name": "pairs-energy_ev", "source": "/data/pairs.jsonl", "note": "", "unit": "eV"}
            | {"target": "energy_ev", "task": "regression", "metric": "mae", "baseline": 1.5}
            | {"test": sum(errors) / len(errors), "materials": len(errors), "model": model}
            | {"predictions": f"{model}/predictions.parquet", "report": f"{report}/report.html"}
            | changes
        )
        commit(store, "promote", name, {"card.json": card.model_dump_json().encode()})
        champion = lineage(store, card.name).champion
        decision = Decision(
            at=now(),
            kind="retrain",
            run=name,
            model=model,
            champion=champion.model if champion else None,
            promoted=promoted,
            reason="made up",
        )
        decide(store, card.name, decision)
        return card

    return add

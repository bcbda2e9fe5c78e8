"""The server of reports: what it gives, what it keeps to itself, and that slow clients do not stop it."""

import contextlib
import http.client
import io
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from storage.registry import Card
from storage.store import Store

PROGRAM = Path(__file__).parents[2] / "deployments" / "reports.py"
SCRIPT = "document.title = 'the script ran'"
DIGEST = "33aahVeIS3YmWc1+rhWPcuSlmA64uW+lYW15xwtgFbM="
PAGE = f"""<!doctype html>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; script-src 'sha256-{DIGEST}'">
<title>a report</title><h1>It</h1><script>{SCRIPT}</script><script>document.title += ', and another one'</script>
"""
# The program with less patience, so that a test needs less of it.
IMPATIENT = f"""
import sys, importlib.util
spec = importlib.util.spec_from_file_location("reports", {str(PROGRAM)!r})
reports = importlib.util.module_from_spec(spec)
spec.loader.exec_module(reports)
reports.REQUEST_SECONDS = reports.TAKING_SECONDS = 2
reports.main()
"""


@pytest.fixture(scope="module")
def start(free_port, wait_until) -> Iterator[Callable[..., int]]:
    """start(store, program): the port of a server that runs until the module's tests have ended."""
    with ExitStack() as processes:

        def begin(store: str, *program: str, to: str = "127.0.0.1") -> int:
            port = free_port()
            command = [sys.executable, *(program or [str(PROGRAM)]), f"--store={store}", f"--port={port}"]
            process = processes.enter_context(subprocess.Popen(command))
            processes.callback(process.kill)
            wait_until(lambda: status(port, "/", to=to) == 200, process)
            return port

        yield begin


@pytest.fixture(scope="module")
def made(tmp_path_factory, add_run) -> tuple[Store, Card]:
    """A store with a run."""
    store = Store(root=tmp_path_factory.mktemp("served") / "store")
    return store, add_run(store, "pairs-1", page=PAGE)


@pytest.fixture(scope="module")
def port(made, start) -> int:
    """The port of the server of that store."""
    return start(str(made[0].root))


def asked(port: int, address: str, method: str = "GET", to: str = "127.0.0.1") -> tuple[int, dict[str, str], bytes]:
    """Status, headers (names in small letters) and body of the answer."""
    connection = http.client.HTTPConnection(to, port, timeout=20)
    try:
        connection.request(method, address)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def status(port: int, address: str, method: str = "GET", to: str = "127.0.0.1") -> int | None:
    """The status of the answer; None where nobody answers."""
    try:
        return asked(port, address, method, to)[0]
    except OSError:
        return None


def keys(card: Card) -> tuple[str, str]:
    """The keys of a run's report and of its model."""
    return card.report.split("/")[1], card.model.split("/")[1]


def test_the_index_leads_to_everything(port, made):
    report, model = keys(made[1])
    code, headers, body = asked(port, "/")
    assert code == 200
    assert "script-src 'sha256-" in headers["content-security-policy"]
    page = body.decode()
    for address in (f"./{report}/report.html", *(f"model/{model}/{n}" for n in ("model.zip", "predictions.csv"))):
        assert f'href="{address}"' in page
        assert status(port, f"/{address.removeprefix('./')}") == 200


def test_the_address_that_the_artifact_page_has_gives_the_report(port, made):
    code, headers, body = asked(port, f"/{keys(made[1])[0]}/report.html")
    assert (code, body.decode()) == (200, PAGE)
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert f"script-src 'sha256-{DIGEST}'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_predictions_are_the_same_as_csv_and_parquet(port, made):
    address = f"/model/{keys(made[1])[1]}/predictions"
    table = pq.read_table(io.BytesIO(asked(port, f"{address}.parquet")[2]))
    code, headers, body = asked(port, f"{address}.csv")
    assert (code, headers["content-type"]) == (200, "text/csv; charset=utf-8")
    assert table.schema.names == pq.read_schema(made[0].root / made[1].predictions).names
    rows = pa_csv.read_csv(io.BytesIO(body)).to_pylist()
    assert rows == table.drop_columns(["atomic_numbers"]).to_pylist()
    assert len(rows) == 2


def test_the_archive_has_the_model_as_it_is(port, made):
    _, model = keys(made[1])
    code, headers, body = asked(port, f"/model/{model}/model.zip")
    assert (code, headers["content-disposition"]) == (200, f'attachment; filename="model-{model[:8]}.zip"')
    archive = zipfile.ZipFile(io.BytesIO(body))
    assert archive.testzip() is None
    stored = {Path(name).name: archive.read(name) for name in archive.namelist()}
    folder = made[0].root / made[1].model
    assert stored == {name: (folder / name).read_bytes() for name in ("model.json", "model.safetensors")}


@pytest.mark.parametrize(
    "address",
    [
        *("/{report}/", "/{report}", "/report/", "/{report}/manifest.json", "/{report}/report.html/"),
        *(
            "/model/{model}/",
            "/model/{model}/manifest.json",
            "/model/{report}/model.zip",
            "/promote/{report}/card.json",
        ),
        *("/{report}/../../etc/passwd", "/{report}/..%2f..%2f..%2fsecret", "/%2e%2e/report.html", "//etc/passwd"),
        "/" + "0" * 64 + "/report.html",
    ],
)
def test_nothing_else_is_there(port, made, address):
    report, model = keys(made[1])
    code, headers, body = asked(port, address.format(report=report, model=model))
    assert (code, body) == (404, b"Not Found")
    assert headers["content-security-policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_it_can_only_be_read(port, made, method):
    report, model = keys(made[1])
    for address in ("/", f"/{report}/report.html", f"/model/{model}/model.zip"):
        assert status(port, address, method) == 405


def test_every_answer_says_what_a_browser_may_not_do(port, made):
    report, model = keys(made[1])
    for address in ("/", f"/{report}/report.html", f"/model/{model}/predictions.csv", "/nothing"):
        _, headers, body = asked(port, address, "HEAD")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert body == b""


def test_a_symbolic_link_leads_nowhere(tmp_path, add_run, start):
    """Of a file, of an artefact's folder, of a step's: to a file outside, and to a folder that has such a file."""
    store = Store(root=tmp_path / "store")
    cards = [add_run(store, f"pairs-{n}", page=PAGE) for n in range(2)]
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "report.html").write_text("secret")
    page, folder = ((store.root / card.report) for card in cards)
    page.unlink()
    page.symlink_to(outside / "report.html")
    shutil.rmtree(folder.parent)
    folder.parent.symlink_to(outside)
    served = start(str(store.root))
    for card in cards:
        assert status(served, f"/{keys(card)[0]}/report.html") == 404
        assert status(served, f"/model/{keys(card)[1]}/model.json") == 200
    (store.root / "train-model").rename(outside / "train-model")
    (store.root / "train-model").symlink_to(outside / "train-model")
    assert status(served, f"/model/{keys(cards[0])[1]}/model.json") == 404


def test_an_empty_store_says_what_to_do(tmp_path, start):
    served = start(str(tmp_path / "nothing yet"))
    assert b"cgcnn retrain" in asked(served, "/")[2]
    assert not (tmp_path / "nothing yet").exists()


def test_what_was_made_elsewhere_is_fetched(bucket, add_run, start, tmp_path, monkeypatch):
    card = add_run(Store(root=tmp_path / "there", url=bucket), "pairs-1", page=PAGE)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "here"))
    served = start(bucket)
    report, model = keys(card)
    assert f"./{report}/report.html".encode() in asked(served, "/")[2]
    assert asked(served, f"/{report}/report.html")[2] == PAGE.encode()
    assert status(served, f"/model/{model}/model.zip") == 200


@pytest.fixture
def connect() -> Iterator[Callable[[int, bytes], socket.socket]]:
    """connect(port, sent): a client that has sent so much, and is closed at the end."""
    with ExitStack() as clients:

        def begin(port: int, sent: bytes) -> socket.socket:
            client = clients.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            client.sendall(sent)
            return client

        yield begin


def ended(client: socket.socket) -> bool:
    """Whether the server ends the connection, within the client's timeout, whatever it says before."""
    try:
        while client.recv(65536):
            pass
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    return True


LARGE = 40_000_000  # bytes; more than the kernel's buffers hold


@pytest.fixture(scope="module")
def impatient(tmp_path_factory, add_run, start) -> tuple[int, str]:
    """A server that waits for 2 seconds where the real one waits for 10 and 30, and the address of a large page."""
    store = Store(root=tmp_path_factory.mktemp("impatient") / "store")
    card = add_run(store, "pairs-1", page="x" * LARGE)
    return start(str(store.root), "-c", IMPATIENT), f"/{keys(card)[0]}/report.html"


ASKED_IN_PART = [  # nothing, half a head, a head without its body
    b"",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow:",
    b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
]


def test_slow_requests_do_not_stop_it_and_are_ended(impatient, connect):
    """As slowloris does: clients that never finish to ask."""
    port, _ = impatient
    slow = {sent: [connect(port, sent) for _ in range(10)] for sent in ASKED_IN_PART}
    assert status(port, "/") == 200
    assert {sent: [ended(client) for client in clients] for sent, clients in slow.items()} == {
        sent: [True] * 10 for sent in ASKED_IN_PART
    }
    assert status(port, "/") == 200


def test_a_second_request_on_a_connection_has_no_more_time_than_the_first(impatient, connect):
    client = connect(impatient[0], b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert client.recv(65536).startswith(b"HTTP/1.1 404")
    until = time.monotonic() + 10
    with pytest.raises(OSError):  # noqa: PT011  reset, or a broken pipe
        _dribble(client, until)
    assert time.monotonic() < until


def _dribble(client: socket.socket, until: float) -> None:
    """Send a byte now and then."""
    while time.monotonic() < until:
        client.sendall(b"G")
        time.sleep(0.3)


def test_who_does_not_take_the_answer_is_cut_off(impatient, connect):
    port, address = impatient
    client = connect(port, f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    time.sleep(4)
    assert 0 < _left(client) < LARGE
    assert len(asked(port, address)[2]) == LARGE


def _left(client: socket.socket) -> int:
    """How many bytes still come."""
    taken = 0
    with contextlib.suppress(ConnectionResetError):
        while block := client.recv(1 << 20):
            taken += len(block)
    return taken


def answered(port: int, host: str, to: str = "127.0.0.1") -> int:
    """The status of the answer to a browser that was led there by that name."""
    with socket.create_connection((to, port), timeout=20) as client:
        client.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        return int(client.makefile("rb").readline().split()[1])


OTHER_NAMES = [
    "rebound.example.com",
    "localhost.example.com",
    "127.0.0.1.example.com:4280",
    "192.0.2.7",
    "0.0.0.0",
    "x",
]


def test_a_name_that_leads_here_by_dns_rebinding_is_refused(port):
    """A page of that name could read the reports as its own: its browser takes both for one origin."""
    assert {host: answered(port, host) for host in OTHER_NAMES} == dict.fromkeys(OTHER_NAMES, 400)
    ours = [f"127.0.0.1:{port}", f"localhost:{port}", "LOCALHOST", f"[::1]:{port}"]
    assert {host: answered(port, host) for host in ours} == dict.fromkeys(ours, 200)


def test_a_refusal_says_what_to_do(port, connect):
    client = connect(port, b"GET / HTTP/1.1\r\nHost: rebound.example.com\r\nConnection: close\r\n\r\n")
    answer = client.makefile("rb").read().decode()
    assert "content-security-policy: default-src 'none'" in answer.lower()
    assert "localhost" in answer
    assert "CGCNN_REPORTS_URL" in answer
    assert "rebound" not in answer


@pytest.mark.parametrize(("host", "to"), [("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.2")])
def test_any_name_of_loopback_is_guarded(made, start, host, to):
    at = start(str(made[0].root), str(PROGRAM), "--host", host, to=to)
    assert [answered(at, name, to) for name in (f"{host}:{at}", "rebound.example.com")] == [200, 400]


def test_a_server_that_others_reach_answers_to_any_name(made, start):
    at = start(str(made[0].root), str(PROGRAM), "--host", "0.0.0.0")
    assert {host: answered(at, host) for host in OTHER_NAMES} == dict.fromkeys(OTHER_NAMES, 200)


@pytest.mark.parametrize("address", ["https://Models.example.org/reports", "models.example.org/reports"])
def test_behind_a_proxy_it_answers_to_the_name_that_is_its_address(made, start, monkeypatch, address):
    monkeypatch.setenv("CGCNN_REPORTS_URL", address)
    at = start(str(made[0].root))
    names = ["models.example.org", "models.example.org:443", f"localhost:{at}", "rebound.example.com"]
    assert [answered(at, name) for name in names] == [200, 200, 200, 400]


def test_any_number_of_half_open_connections_leaves_room_for_others(port, connect):
    for _ in range(3):
        for _ in range(100):
            connect(port, b"GET / HTTP/1.1\r\n")
        began = time.monotonic()
        assert status(port, "/") in {200, 503}
        time.sleep(1.2)
        assert status(port, "/") == 200
        assert time.monotonic() - began < 4


def test_too_many_clients_are_told_to_come_back(impatient, connect):
    """They have asked for a large page, and do not take it."""
    port, address = impatient
    began = time.monotonic()
    while status(port, "/") != 503:  # while more come, it loses patience with the first
        assert time.monotonic() < began + 20
        for _ in range(70):
            connect(port, f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    while status(port, "/") != 200:
        assert time.monotonic() < began + 20
        time.sleep(0.2)


def test_ctrl_c_ends_it(made, free_port, wait_until, connect):
    at = free_port()
    command = [sys.executable, str(PROGRAM), f"--store={made[0].root}", f"--port={at}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        wait_until(lambda: status(at, "/") == 200, process)
        connect(at, b"GET / HTTP/1.1\r\n")
        process.send_signal(signal.SIGINT)
        assert b"Traceback" not in process.communicate(timeout=20)[1]


def test_the_report_s_own_script_runs_and_no_other(port):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or pytest.skip("chromium is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"http://127.0.0.1:{port}/")
        assert page.get_by_role("button", name="Finished").is_visible()  # made by the script
        with page.expect_navigation():
            page.get_by_role("link", name="pairs-1").click()
        assert page.title() == "the script ran"
        browser.close()

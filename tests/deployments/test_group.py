"""A server for a group: its database in PostgreSQL, and nobody comes in without a password, past the proxy or not."""

import base64
import functools
import os
import pwd
import shutil
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PASSWORD = "team:correct horse"
POSTGRES = Path("/usr/lib/postgresql")


@pytest.fixture(scope="module")
def postgres(free_port) -> Iterator[str]:
    """The URL of an empty database in a PostgreSQL of its own."""
    found = sorted(POSTGRES.glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    as_user = []
    if os.getuid() == 0:  # it refuses to run as root
        os.chown(folder, pwd.getpwnam("postgres").pw_uid, -1)
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    run = functools.partial(subprocess.run, check=True, capture_output=True, cwd=folder)
    tools, port = found[-1].parent, free_port()
    run([*as_user, tools / "initdb", "--pgdata", folder / "data", "--username=prefect", "--auth=trust"])
    options = f"-p {port} -k {folder} -h 127.0.0.1"
    started = [*as_user, tools / "pg_ctl", "--pgdata", folder / "data", "--options", options, "--wait"]
    subprocess.run([*started, "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
    run([tools / "createdb", "--host=127.0.0.1", f"--port={port}", "--username=prefect", "prefect"])
    yield f"postgresql+asyncpg://prefect@127.0.0.1:{port}/prefect"
    run([*as_user, tools / "pg_ctl", "--pgdata", folder / "data", "--mode=immediate", "stop"])
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def server(postgres, free_port, wait_until, tmp_path_factory) -> Iterator[str]:
    """The address of a Prefect server with a password, on that database."""
    port, home = free_port(), tmp_path_factory.mktemp("group")
    own = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": postgres,
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "1",
    }
    with (home / "log").open("w") as log:
        command = [sys.executable, "-m", "prefect", "server", "start", "--port", str(port)]
        process = subprocess.Popen(command, env={**os.environ, **own}, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: code(f"{address}/api/health"), process, home / "log")
    yield address
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def reports(free_port, wait_until, tmp_path_factory) -> Iterator[str]:
    """The address of the server of an empty store's reports, which knows what the proxy shows it as."""
    port, program = free_port(), ROOT / "deployments" / "reports.py"
    command = [sys.executable, program, f"--port={port}", f"--store={tmp_path_factory.mktemp('reports')}"]
    own = {"CGCNN_REPORTS_URL": "https://models.example.org/reports"}
    process = subprocess.Popen(command, env={**os.environ, **own})
    address = f"http://127.0.0.1:{port}"
    wait_until(lambda: code(address), process)
    yield address
    process.terminate()
    process.wait(30)


@pytest.fixture(scope="module")
def proxy(server, reports, free_port, wait_until, tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """The address of nginx with our configuration before that server, and its certificate."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed")
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    key, certificate = folder / "key", folder / "certificate"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*made, *names], check=True, capture_output=True)
    (folder / "passwords").write_text("ann:{PLAIN}for the pages\n")
    ours = (ROOT / "deployments" / "nginx.conf").read_text()
    for there, here in {
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/nginx/cgcnn-flows.pem": str(certificate),
        "/etc/nginx/cgcnn-flows.key": str(key),
        "/etc/nginx/cgcnn-flows.htpasswd": str(folder / "passwords"),
        "http://127.0.0.1:4200": server,
        "http://127.0.0.1:4280": reports,
    }.items():
        assert there in ours
        ours = ours.replace(there, here)
    folders = "".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"{user} daemon off; pid {folder}/pid; error_log stderr;\n"
        f"events {{}} http {{ access_log off; {folders}\n{ours}\n}}"
    )
    process = subprocess.Popen([nginx, "-c", str(folder / "nginx.conf")], stderr=subprocess.DEVNULL)
    address = f"https://127.0.0.1:{port}"
    wait_until(lambda: code(address, certificate=certificate), process)
    yield address, certificate
    process.terminate()
    process.wait(30)


def code(
    address: str,
    login: str | None = None,
    certificate: Path | None = None,
    body: bytes | None = None,
    host: str | None = None,
) -> int | None:
    """The status with which a request is answered; None without an answer. `host` is the name that was asked for."""
    headers = {"Content-Type": "application/json", **({"Host": host} if host else {})}
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    trust = ssl.create_default_context(cafile=certificate) if certificate else None
    try:
        with urllib.request.urlopen(
            urllib.request.Request(address, body, headers), timeout=20, context=trust
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except (urllib.error.URLError, ConnectionError):
        return None


@pytest.fixture
def prefect(proxy, tmp_path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a command of ours or Prefect's against the proxy, with this password or without any."""

    def run(*command: str, password: str | None) -> "subprocess.CompletedProcess[str]":
        own = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": f"{proxy[0]}/api", "PREFECT_CLIENT_MAX_RETRIES": "0"}
        own |= {"PREFECT_API_SSL_CERT_FILE": str(proxy[1])} | (
            {"PREFECT_API_AUTH_STRING": password} if password else {}
        )
        return subprocess.run(
            [sys.executable, *command],
            env={**os.environ, **own},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    return run


@pytest.mark.parametrize("login", [None, "team:wrong"])
def test_without_the_password_nothing_is_answered(server, proxy, login):
    address, certificate = proxy
    ask = functools.partial(code, body=b"{}", login=login)
    assert ask(f"{server}/api/flow_runs/filter") == 401
    assert ask(f"{address}/api/flow_runs/filter", certificate=certificate) == 401
    assert code(f"{address}/", login, certificate) == 401
    assert code(f"{address}/reports/", login, certificate) == 401


def test_with_the_passwords_pages_and_api_are_there(proxy):
    address, certificate = proxy
    assert code(f"{address}/", "ann:for the pages", certificate) == 200
    assert code(f"{address}/api/flow_runs/filter", PASSWORD, certificate, b"{}") == 200


def test_the_reports_are_shown_under_the_proxys_name(proxy):
    address, certificate = proxy
    names = ["models.example.org", "127.0.0.1", "rebound.example.com"]
    asked = [code(f"{address}/reports/", "ann:for the pages", certificate, host=name) for name in names]
    assert asked == [200, 200, 400]


def test_a_worker_is_refused_without_the_password_and_works_with_it(prefect, postgres):
    """The deployments are made through the proxy, and their rows are in PostgreSQL."""
    refused = prefect("-m", "prefect", "worker", "start", "--pool", "cpu", "--run-once", password=None)
    assert refused.returncode != 0
    assert "401" in refused.stdout + refused.stderr
    made = prefect(str(ROOT / "deployments" / "apply.py"), "--store", "s3://bucket/store", password=PASSWORD)
    assert made.returncode == 0, made.stderr
    worker = prefect("-m", "prefect", "worker", "start", "--pool", "cpu", "--run-once", password=PASSWORD)
    assert worker.returncode == 0, worker.stderr
    address = postgres.replace("postgresql+asyncpg", "postgresql")
    rows = subprocess.run(
        ["psql", address, "--tuples-only", "--command", "select count(*) from deployment"],
        capture_output=True,
        text=True,
        check=True,
    )
    written = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    assert rows.stdout.strip() == str(len(written))

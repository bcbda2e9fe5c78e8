"""Serves the runs of a store, read-only, wherever the store lies: an index, reports, models and predictions.

    python deployments/reports.py [--store store] [--host 127.0.0.1] [--port 4280]

    /                                      the index of runs
    /<key>/report.html, summary.md         a report, or the page of a study
    /model/<key>/model.zip                 what `cgcnn predict --model` takes, unpacked
    /model/<key>/predictions.csv, .parquet

`make serve` starts it. On loopback it answers to this machine's own names alone, and to that in CGCNN_REPORTS_URL, the
address under which a proxy shows it: else a page of anybody's, whose name comes to lead here, could read the reports.
"""

import argparse
import asyncio
import io
import ipaddress
import logging
import os
import re
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import h11
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from evaluation.index import Links, index_page
from storage.champions import lineages
from storage.disk import fault_of
from storage.errors import InputError, WorldError
from storage.registry import Card, runs
from storage.store import Store
from storage.studies import STUDIES, studies

REPORT, MODELS = "report", ("train-model", "ensemble")  # the served steps of the store
REPORT_FILES = ("report.html", "summary.md")
MODEL_FILE = re.compile(r"model\.json|model(-\d+)?\.safetensors")
PREDICTIONS = "predictions.parquet"
KEY = re.compile("[0-9a-f]{64}")

log = logging.getLogger("uvicorn.error")  # what the server itself writes its lines to

MOST_CLIENTS = 64  # at a time; more are told to come back later (503)
MOST_ASKING = 32  # that have been at their request for a second or more; of more, the slowest are cut off
MOST_CONNECTIONS = 256  # in a flood; more are cut off at once
REQUEST_SECONDS = 10  # within which a request must have come
TAKING_SECONDS = 30  # within which a client must have taken what was sent, 64 kB at most
CHUNK = 1 << 16

REPORTS_URL = "CGCNN_REPORTS_URL"
LOOPBACK = ("localhost", "127.0.0.1", "::1")

NOTHING = "default-src 'none'; frame-ancestors 'none'; sandbox"  # a file is looked at or saved, and does nothing
NO_WAY_OUT = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
OWN_POLICY = re.compile(r"""<meta http-equiv="Content-Security-Policy" content="(default-src 'none';[^"<>\r\n]*)">""")


def reports_app(store: Store, names: frozenset[str] | None = None) -> Starlette:
    """The application: every answer comes from the store's folders of reports and models, and from nowhere else.

    It answers to these `names` of its host; None are any.
    """
    routes = [
        Route("/", partial(index, store)),
        Route("/{key}/{name}", partial(report_file, store)),
        Route("/model/{key}/{name}", partial(model_file, store)),
    ]
    faults: Any = {InputError: _not_served, WorldError: _out_of_reach}
    app = Starlette(routes=routes, exception_handlers=faults)
    app.router.redirect_slashes = False  # an address is right or it is not
    if names is not None:
        app.add_middleware(OwnNames, names=names)
    app.add_middleware(SafeHeaders)
    return app


def own_names(host: str) -> frozenset[str] | None:
    """The names of the host that a request may have, where the server listens on `host`.

    None, any, where that is no address of loopback: then others come in by names that are not known here.
    """
    if not _is_loopback(host):
        return None
    address = os.environ.get(REPORTS_URL, "")
    try:
        shown_as = urlsplit(address if "//" in address else f"//{address}").hostname
    except ValueError as error:
        sys.exit(f"{REPORTS_URL}: {error}")
    return frozenset({*LOOPBACK, host.lower(), *([shown_as] if shown_as else [])})


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def index(store: Store, _request: Request) -> Response:
    """The index of runs, as the store is now."""
    damage: list[str] = []
    pages = [(study, f"./{study.report.partition('/')[2]}") for study in studies(store, damage.append)]
    page = index_page(runs(store, damage.append), lineages(store, damage.append), served_links, store.address, pages)
    for line in damage:
        log.warning("%s", line)
    return _page(page)


def served_links(card: Card) -> Links:
    """Addresses relative to the index, which a proxy may serve under any name."""
    key = card.model.partition("/")[2]
    names = ("model.zip", "predictions.csv", PREDICTIONS)
    return Links(f"./{card.report.partition('/')[2]}", [(name, f"model/{key}/{name}") for name in names])


def report_file(store: Store, request: Request) -> Response:
    """The page of a report or a study, or its summary."""
    key, name = request.path_params["key"], request.path_params["name"]
    if name not in REPORT_FILES or not KEY.fullmatch(key):
        raise HTTPException(404)
    step = next((step for step in (REPORT, *STUDIES) if store.read(step, key)), REPORT)
    path = file_in(store, step, key, name)
    if name == "report.html":
        return FileResponse(path, headers={"Content-Security-Policy": policy_of(_head(path))})
    return FileResponse(path, media_type="text/plain; charset=utf-8")


def model_file(store: Store, request: Request) -> Response:
    """A model as a zip archive, one of its files, or the predictions of its training."""
    key, name = request.path_params["key"], request.path_params["name"]
    saved_as = {"Content-Disposition": f'attachment; filename="{name.replace(".", f"-{key[:8]}.", 1)}"'}
    step = step_of(store, key)
    match name:
        case "model.zip":
            known = store.read(step, key)
            names = sorted(file for file in known.files if MODEL_FILE.fullmatch(file)) if known else ["model.json"]
            files = [file_in(store, step, key, file) for file in names]
            return StreamingResponse(zipped(files, f"model-{key[:8]}"), headers=saved_as, media_type="application/zip")
        case "predictions.csv":
            rows = csv_lines(file_in(store, step, key, PREDICTIONS))
            return StreamingResponse(rows, headers=saved_as, media_type="text/csv; charset=utf-8")
        case _ if name == PREDICTIONS or MODEL_FILE.fullmatch(name):
            return FileResponse(file_in(store, step, key, name), headers=saved_as)
    raise HTTPException(404)


def step_of(store: Store, key: str) -> str:
    """The step that made the model with this key: a training, or an ensemble. 404 for what is no key."""
    if not KEY.fullmatch(key):
        raise HTTPException(404)
    return next((step for step in MODELS if store.read(step, key)), MODELS[0])


def file_in(store: Store, step: str, key: str, name: str) -> Path:
    """A file of an artefact; it is fetched first where it was made elsewhere. 404 unless it is one of the store's own.

    A symbolic link below the store's folder is not followed, wherever it leads. Raises InputError if the file has other
    bytes than were written.
    """
    if not KEY.fullmatch(key):
        raise HTTPException(404)
    folder = store.local_folder(step, key)
    path = folder / name
    if any(part.is_symlink() for part in (folder.parent, folder, path)) or not path.is_file():
        raise HTTPException(404)
    artefact = store.read(step, key)
    stored = artefact.files.get(name) if artefact else None
    fault = fault_of(store.root, path, stored) if stored else "belongs to no artefact"
    if fault:
        raise InputError(f"{step}/{key}/{name} {fault}")
    return path


def zipped(files: list[Path], folder: str) -> Iterator[bytes]:
    """An archive of the files in a folder, as it is written. Not compressed: weights are noise."""
    sink = Unseekable()
    with zipfile.ZipFile(sink, "w") as archive:
        for path in files:
            with archive.open(f"{folder}/{path.name}", "w") as target, path.open("rb") as source:
                while block := source.read(CHUNK):
                    target.write(block)
                    yield sink.taken()
    yield sink.taken()


class Unseekable(io.RawIOBase):
    """A stream that keeps what is written until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._kept = bytearray()

    def writable(self) -> bool:
        """It is for writing alone."""
        return True

    def write(self, block: Any) -> int:
        """Keep a block."""
        self._kept += block
        return len(block)

    def taken(self) -> bytes:
        """What was written since the last call."""
        block = bytes(self._kept)
        self._kept.clear()
        return block


def csv_lines(table: Path) -> Iterator[bytes]:
    """A Parquet table as CSV, some rows at a time, without its columns of lists."""
    with pq.ParquetFile(table) as file:
        flat = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type)]
        yield _csv(file.schema_arrow.empty_table().select(flat), header=True)
        for batch in file.iter_batches(batch_size=500, columns=flat):
            yield _csv(batch, header=False)


def _csv(rows: pa.Table | pa.RecordBatch, *, header: bool) -> bytes:
    sink = io.BytesIO()
    pa_csv.write_csv(rows, sink, pa_csv.WriteOptions(include_header=header))
    return sink.getvalue()


def policy_of(page: str) -> str:
    """A page's own Content-Security-Policy as a header, and no base, form or frame. Without one, nothing may run."""
    own = OWN_POLICY.search(page)
    return f"{own[1]}; {NO_WAY_OUT}" if own else NOTHING


def _head(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(2000)  # the page's policy stands before anything that came from a table


def _page(html: str) -> Response:
    return HTMLResponse(html, headers={"Content-Security-Policy": policy_of(html[:2000]), "Cache-Control": "no-store"})


def _not_served(_request: Request, fault: Exception) -> Response:
    """What is wrong with a file or folder of the store, in a line."""
    return PlainTextResponse(f"{fault}\n", 404)


def _out_of_reach(_request: Request, fault: Exception) -> Response:
    """Why the store cannot be read just now, in a line."""
    return PlainTextResponse(f"{fault}\n", 503)


class SafeHeaders:
    """Middleware: no answer's type is guessed, none says where its reader came from, and none may do anything."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and add the headers to its answer."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers.setdefault("Content-Security-Policy", NOTHING)
            await send(message)

        await self._app(scope, receive, send_safely)


class OwnNames:
    """Middleware: a request by another name of the host is refused. It is what a browser sends after DNS rebinding."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer 400."""
        name = re.sub(r":[0-9]*$", "", Headers(scope=scope).get("host", "")).lower()
        if name.removeprefix("[").removesuffix("]") in self._names:
            await self._app(scope, receive, send)
            return
        allowed = f"allowed are {', '.join(sorted(self._names))}; behind a proxy set {REPORTS_URL} to its address"
        await PlainTextResponse(f"this server has another name: {allowed}\n", 400)(scope, receive, send)


class TimedConnection(H11Protocol):
    """A connection that ends when its client is slow: to ask, or to take what was sent. uvicorn waits for ever."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came: its request is due."""
        super().connection_made(transport)
        self._asking: asyncio.TimerHandle | None = self.loop.call_later(REQUEST_SECONDS, transport.abort)
        self._taking: asyncio.TimerHandle | None = None
        transport.set_write_buffer_limits(high=0)  # so that `pause_writing` tells of every byte that is not taken
        self._make_room()

    def data_received(self, data: bytes) -> None:
        """A part of a request came; until it is whole, the clock runs."""
        super().data_received(data)
        whole = self.conn.their_state not in (h11.IDLE, h11.SEND_BODY)
        if whole and self._asking:
            self._asking.cancel()
            self._asking = None
        elif not whole and not self._asking:
            self._asking = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _make_room(self) -> None:
        open_ones = [c for c in self.connections if isinstance(c, TimedConnection) and not c.transport.is_closing()]
        since = {c: c._asking.when() - REQUEST_SECONDS for c in open_ones if c._asking}
        slow = sorted((c for c in since if since[c] < self.loop.time() - 1), key=lambda c: since[c])
        for connection in slow[: max(0, len(slow) - MOST_ASKING)]:
            connection.transport.abort()
        if sum(not c.transport.is_closing() for c in open_ones) > MOST_CONNECTIONS:
            self.transport.abort()

    def pause_writing(self) -> None:
        """The client is to take what was sent."""
        super().pause_writing()
        self._taking = self.loop.call_later(TAKING_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """It has."""
        super().resume_writing()
        if self._taking:
            self._taking.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end, by whomever."""
        super().connection_lost(exc)
        for timer in (self._asking, self._taking):
            if timer:
                timer.cancel()


def main() -> None:
    """Serve until the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", default="store", help="a folder, or its URL")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4280)
    options = parser.parse_args()
    uvicorn.run(
        reports_app(Store.at(options.store), own_names(options.host)),
        host=options.host,
        port=options.port,
        http=TimedConnection,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_level="error",  # not of each client that is refused
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MOST_CLIENTS,
        timeout_graceful_shutdown=2,
        h11_max_incomplete_event_size=1 << 14,
    )


if __name__ == "__main__":
    main()

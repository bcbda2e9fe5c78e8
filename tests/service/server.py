"""A server on loopback that speaks the Materials Project's API as its client expects: `python server.py PORT COUNT`.

Derived from the installed client's requests and from emmet-api's query operators. Tests tell it over `/_control` which
database version to have and which failures to make; it counts what it was asked for.
"""

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import documents
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.responses import StreamingResponse

KEY = "abcdefghijklmnopqrstuvwxyz012345"
MOST, LONGEST_ADDRESS, LONGEST_EXCLUSION = 1000, 8190, 60
PAGING = {"_limit", "_skip", "_page", "_per_page", "_fields", "_all_fields", "_sort_fields"}
RANGES = ("formation_energy_per_atom", "energy_above_hull", "band_gap", "nelements", "nsites")
SWITCHES = ("deprecated", "is_stable", "theoretical")
LISTS = ("material_ids", "elements", "exclude_elements", "has_props", "thermo_types")
OTHERS = ("spacegroup_number", "batch_id_not_eq", *LISTS)
PROPERTIES = {"elasticity": "bulk_modulus", "dielectric": "e_total", "magnetism": "total_magnetization"}


class State:
    """The collection, the failures to make, and what was asked."""

    def __init__(self, count: int) -> None:
        self.count, self.versions, self.changed, self.removed = count, ["2025.09.25"], 0.03, 0
        self.failures: list[dict[str, Any]] = []
        self.asked: Counter[str] = Counter()
        self.patches: dict[str, dict[str, Any]] = {}  # material_id → fields of its document that are otherwise
        self.fill()

    def fill(self) -> None:
        """Make the collection of the last version."""
        found = documents.entries(self.count, self.versions, self.changed, self.removed)
        self.entries = found
        self.by_id = {entry.material_id: entry for entry in found}
        self.found: dict[str, list[documents.Entry]] = {}


def matching(state: State, query: dict[str, str]) -> list[documents.Entry]:
    """The entries that fit, in the collection's order."""
    chosen = {name: value for name, value in query.items() if name not in PAGING}
    key = repr(sorted(chosen.items()))
    if key not in state.found or "material_ids" in chosen:
        ids = chosen.get("material_ids")
        offered = [state.by_id[i] for i in ids.split(",") if i in state.by_id] if ids else state.entries
        state.found[key] = [entry for entry in offered if fits(entry, chosen)]
    return state.found[key]


def fits(entry: documents.Entry, query: dict[str, str]) -> bool:
    """Whether an entry passes every filter."""
    values, elements = entry.values, set(entry.elements)
    for name in RANGES:
        low, high = query.get(f"{name}_min"), query.get(f"{name}_max")
        if (low is not None and values[name] < float(low)) or (high is not None and values[name] > float(high)):
            return False
    if any(name in query and values[name] != (query[name].lower() == "true") for name in SWITCHES):
        return False
    if "elements" in query and not set(query["elements"].split(",")) <= elements:
        return False
    if set(query.get("exclude_elements", "").split(",")) & elements:
        return False
    if "has_props" in query and any(values[PROPERTIES[p]] is None for p in query["has_props"].split(",")):
        return False
    if query.get("batch_id_not_eq", "") == entry.batch:
        return False
    return int(query.get("spacegroup_number", values["spacegroup_number"])) == values["spacegroup_number"]


def patched(state: State, entry: documents.Entry, fields: list[str] | None) -> dict[str, Any]:
    """The entry's document, with what a test made of it."""
    other = state.patches.get(entry.material_id, {})
    return documents.document(entry, fields) | {n: v for n, v in other.items() if fields is None or n in fields}


def refusal(request: Request) -> Response | None:
    """What the service says to a request that it does not take."""
    key, query = request.headers.get("x-api-key"), dict(request.query_params)
    if key != KEY:
        return said({"message": "Invalid authentication credentials"}, 401 if key is None else 403)
    if len(str(request.url)) > LONGEST_ADDRESS:
        return said({"detail": "Request-URI Too Large"}, 414)
    allowed = PAGING | set(SWITCHES) | set(OTHERS) | {f"{n}_{end}" for n in RANGES for end in ("min", "max")}
    unknown = set(query) - allowed
    if unknown:
        return said({"detail": f"Request contains query parameters which cannot be used: {', '.join(unknown)}"}, 400)
    if int(query.get("_limit", 100)) > MOST:
        return said({"detail": f"The max limit is {MOST} entries"}, 400)
    if len(query.get("exclude_elements", "")) > LONGEST_EXCLUSION:
        fault = {"loc": ["query", "exclude_elements"], "msg": "String should have at most 60 characters"}
        return said({"detail": [fault]}, 422)
    return None


def said(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """JSON."""
    return Response(orjson.dumps(body), status, headers, "application/json")


async def spoiled(state: State, route: str, whole: Response, key: str) -> Response:
    """The answer, or what the next failure on that route makes of it."""
    state.asked[route] += 1
    for failure in state.failures:
        if failure["route"] != route or not failure["times"]:
            continue
        if failure.get("after", 0) > 0:
            failure["after"] -= 1
            continue
        failure["times"] -= 1
        state.asked["failures"] += 1
        return await spoil(failure, whole, key)
    return whole


async def spoil(failure: dict[str, Any], whole: Response, key: str) -> Response:
    """One kind of failure."""
    kind, body = failure["kind"], bytes(whole.body)
    if kind == "status":
        return said({"message": f"no, {key}"}, failure["status"], failure.get("headers"))
    if kind == "slow":
        await asyncio.sleep(failure["seconds"])
        return whole
    if kind == "truncated":
        return Response(body[: len(body) // 2], 200, media_type="application/json")
    if kind == "cut":

        async def half() -> AsyncIterator[bytes]:
            yield body[: len(body) // 2]

        return StreamingResponse(half(), 200, {"content-length": str(len(body))}, "application/json")
    told = orjson.loads(body)
    if kind == "empty":
        told = {"data": [], "meta": {"total_doc": 0}}
    if kind == "short":
        told["data"] = told["data"][1:]
    return said(told)


def create(count: int) -> FastAPI:  # noqa: C901  five small routes over one state
    """The application."""
    app, state = FastAPI(), State(count)

    @app.get("/heartbeat")
    async def heartbeat(request: Request) -> Response:
        told = {
            "status": "OK",
            "time": time.time(),
            "version": "0.87.3",
            "db_version": state.versions[-1],
            "access_controlled_batch_ids": [documents.GNOME],
        }
        return await spoiled(state, "heartbeat", said(told), request.headers.get("x-api-key", ""))

    async def collection(request: Request, route: str) -> Response:
        query = dict(request.query_params)
        refused = refusal(request)
        if refused is None:
            found = matching(state, query)
            skip, limit = int(query.get("_skip", 0)), int(query.get("_limit", 100))
            if "_page" in query:
                limit = int(query.get("_per_page", 100))
                skip = max(int(query["_page"]) - 1, 0) * limit
            page = found[skip : skip + limit]
            fields = query["_fields"].split(",") if "_fields" in query else None
            if route == "thermo":
                told = [{"material_id": e.material_id, "energy_type": documents.functional(e)} for e in page]
            else:
                told = [patched(state, e, fields) for e in page]
                state.asked["structures"] += len(told) if fields is None or "structure" in fields else 0
            refused = said({"data": told, "meta": {"total_doc": len(found), "max_limit": MOST}})
        return await spoiled(state, route, refused, request.headers.get("x-api-key", ""))

    @app.get("/materials/summary/")
    async def summary(request: Request) -> Response:
        return await collection(request, "summary")

    @app.get("/materials/thermo/")
    async def thermo(request: Request) -> Response:
        return await collection(request, "thermo")

    @app.post("/_control")
    async def control(request: Request) -> Response:
        told = orjson.loads(await request.body())
        answer = dict(state.asked)
        state.asked.clear()
        state.failures = told.pop("failures", [])
        for name, value in told.items():
            setattr(state, name, value)
        if told:
            state.fill()
        return said(answer)

    @app.api_route("/{rest:path}", methods=["GET", "HEAD", "PUT", "POST"])
    async def elsewhere(rest: str) -> Response:
        state.asked[f"elsewhere {rest}"] += 1
        return said({"detail": "Not Found"}, 404)

    return app


if __name__ == "__main__":
    uvicorn.run(
        create(int(sys.argv[2])), host="127.0.0.1", port=int(sys.argv[1]), log_level="warning", access_log=False
    )

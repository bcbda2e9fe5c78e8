"""Lists the materials that fit a query: ids, stamps and labels, to fetch only what is new or changed."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from crystals.config import MaterialsProjectQuery
from crystals.materials_project.client import Service, chunked
from crystals.materials_project.documents import LABELS, elements_of, stamp_and_labels, unwanted
from storage import schemas
from storage.errors import InputError, WorldError

log = logging.getLogger(__name__)

PAGE = 1000  # the most documents that the service gives at a time
IDS_A_REQUEST = 500  # 6.5 kB of address
EXCLUDED_AT_MOST = 60  # characters of exclude_elements that the service takes (materialsproject/api, issue 1103)

LEFT_OUT = "left_out"
SCHEMA = pa.schema(
    [
        pa.field(schemas.MATERIAL_ID, pa.string(), nullable=False),
        pa.field(schemas.LAST_UPDATED, pa.string()),
        *(pa.field(name, pa.float64()) for name in LABELS),
    ]
)


def listing(service: Service, query: MaterialsProjectQuery, ids: list[str] | None) -> pa.Table:
    """A table with SCHEMA's columns and LEFT_OUT of every material that fits the query, sorted by material_id.

    LEFT_OUT is null for the materials to download. For those that the service's filters let through although they must
    not come in, it is the reason: `deprecated` or `licence`. Their documents are never fetched.
    Raises InputError if no material fits, WorldError if an id is missing or comes twice.
    """
    summary = service.client.materials.summary
    excluded = set(query.exclude_elements or ())
    here = len(",".join(sorted(excluded))) > EXCLUDED_AT_MOST  # then it is not asked for: it is filtered here
    fields = [*SCHEMA.names, "deprecated", "builder_meta", *(["elements"] if here else [])]
    filters = filters_of(query)
    if here:
        del filters["exclude_elements"]
        log.info("exclude_elements is longer than the service takes, and is applied to what it answers")
    found: dict[str, tuple[Any, ...]] = {}  # name → the other columns
    left_out: dict[str, tuple[Any, ...]] = {}
    for arguments in _questions(query, filters, ids):
        if query.limit is not None and not here:
            chunk = min(PAGE, query.limit)
            arguments |= {"chunk_size": chunk, "num_chunks": math.ceil(query.limit / chunk)}
        for document in service.search(summary, fields=fields, **{"chunk_size": PAGE, **arguments}):
            if excluded & elements_of(document):
                continue
            name = document.get("material_id")
            if not isinstance(name, str) or name in found or name in left_out:
                raise WorldError(f"Materials Project: a document came twice, or without an id: material_id {name}")
            reason = unwanted(document, non_commercial=query.include_gnome)
            (found if reason is None else left_out)[name] = (*stamp_and_labels(document).values(), reason)
        if query.limit is not None and len(found) >= query.limit:
            break
    if not found:
        held = f"; {len(left_out):,} that do are deprecated or non-commercial" if left_out else ""
        raise InputError(f"source materials-project: no material fits the query{held}")
    if ids is not None:
        _tell_missing(ids, found)
    rows = [(name, *found[name]) for name in list(found)[: query.limit]]
    rows += [(name, *others) for name, others in left_out.items()]
    schema = SCHEMA.append(pa.field(LEFT_OUT, pa.string()))
    columns = [pa.array(c, f.type) for c, f in zip(zip(*rows, strict=True), schema, strict=True)]
    return pa.table(columns, schema=schema).sort_by(schemas.MATERIAL_ID)


def filters_of(query: MaterialsProjectQuery) -> dict[str, Any]:
    """The arguments for the client's `search`.

    `deprecated` is always among them, because without any filter the client takes its bulk route: the whole collection
    from object storage, deprecated and non-commercial rows included.
    """
    return {
        "deprecated": False,
        **query.model_dump(exclude_none=True, exclude={"material_ids", "limit", "spacegroup_number"}),
    }


def _questions(
    query: MaterialsProjectQuery, filters: dict[str, Any], ids: list[str] | None
) -> Iterator[dict[str, Any]]:
    """The arguments of each search. Several space groups, and long lists of ids, take one search each."""
    for group in query.spacegroup_number or [None]:
        chosen = filters if group is None else {**filters, "spacegroup_number": group}
        if ids is None:
            yield chosen
        else:
            for chunk in chunked(ids, IDS_A_REQUEST):
                yield {**chosen, "material_ids": chunk}


def _tell_missing(ids: list[str], found: dict[str, Any]) -> None:
    missing = [name for name in ids if name not in found]
    if missing:
        named = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        log.info("%s of %s material_ids are not there, or do not fit: %s", f"{len(missing):,}", f"{len(ids):,}", named)


class Changes:
    """Which materials of a listing must be fetched, given the table of an earlier download (or none).

    `removed` counts the materials that no longer fit, if the earlier download had the same query. `unreadable` counts
    the unchanged ones that could not be read; they are fetched again.
    """

    def __init__(self, now: pa.Table, before: Path | None, *, same_query: bool) -> None:
        self.unchanged: pa.Array = pa.array([], pa.string())
        self.names: pa.ChunkedArray = now[schemas.MATERIAL_ID]
        self.new, self.changed, self.removed, self.unreadable = len(now), 0, 0, 0
        self.to_fetch: pa.Table = now
        if before is None:
            return
        known = pq.read_table(before, columns=[*SCHEMA.names, "fault_rule"])
        position = pc.index_in(self.names, known[schemas.MATERIAL_ID])
        matched = known.take(position.combine_chunks())
        same = pc.is_valid(position)
        self.new = len(now) - pc.sum(same).as_py()
        for name in SCHEMA.names[1:]:
            left, right = now[name], matched[name]
            equal = pc.fill_null(pc.equal(left, right), False)
            same = pc.and_(same, pc.or_(equal, pc.and_(pc.is_null(left), pc.is_null(right))))
        readable = pc.and_(same, pc.is_null(matched["fault_rule"]))
        self.changed = len(now) - self.new - pc.sum(same).as_py()
        self.removed = len(known) - (len(now) - self.new) if same_query else 0
        self.unreadable = pc.sum(same).as_py() - pc.sum(readable).as_py()
        self.unchanged = self.names.filter(readable).combine_chunks()
        # What could not be read is asked for again: a newer client may understand it.
        self.to_fetch = now.filter(pc.invert(readable))

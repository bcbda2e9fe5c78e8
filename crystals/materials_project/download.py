"""The program of the download step for the Materials Project: it turns documents into the structures table.

Documents are written in chunks as they arrive, and the next attempt continues with the chunks of a killed one. A
material whose stamp and labels did not change is copied from the table of an earlier download.
"""

import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from mp_api.client.core.settings import DEFAULT_THERMOTYPE

from crystals.config import MaterialsProjectQuery
from crystals.materials_project.client import Service, chunked
from crystals.materials_project.documents import FIELDS, rows_of, unwanted
from crystals.materials_project.environment import key_from_environment
from crystals.materials_project.listing import IDS_A_REQUEST, LEFT_OUT, PAGE, Changes, listing
from crystals.materials_project.retry import RetryPolicy
from crystals.materials_project.targets import TARGETS
from crystals.sources.batches import batches_of
from crystals.sources.materials_project import MaterialsProject, ids_of
from storage import schemas
from storage.artefact import digest_of
from storage.errors import InputError, WorldError
from storage.program import Facts, Spec, main, progress

log = logging.getLogger(__name__)

STRUCTURES = "structures.parquet"


class DatabaseSpec(Spec):
    """The query, the database version at the start of the run, and an earlier download's table and query, if any."""

    query: MaterialsProjectQuery
    version: str
    before: Path | None = None
    before_query: MaterialsProjectQuery | None = None
    retry: RetryPolicy = RetryPolicy()


def build(spec: DatabaseSpec) -> Facts:
    """Write structures.parquet, sorted by material_id.

    Raises InputError if nothing fits the query or the database version changes meanwhile.
    Raises WorldError if the service fails.
    """
    began = time.perf_counter()
    service = Service(key_from_environment(), spec.retry)
    _same_version(spec.version, service.version)
    listed = _listed(service, spec)
    fitting = listed.filter(pc.is_null(listed[LEFT_OUT])).drop_columns([LEFT_OUT])
    if len(fitting) < len(listed):
        log.info(
            "Materials Project %s: %s documents fit, but are deprecated or non-commercial; they are left out",
            *(spec.version, f"{len(listed) - len(fitting):,}"),
        )
    changes = Changes(fitting, spec.before, same_query=spec.query == spec.before_query)
    counts = {name: getattr(changes, name) for name in ("new", "changed", "removed", "unreadable")}
    counts |= {"unchanged": len(changes.unchanged), "fetched": len(changes.to_fetch)}
    message = "{new:,} new, {changed:,} changed, {removed:,} removed, {unchanged:,} unchanged; {fetched:,} to fetch"
    again = ", {unreadable:,} of them because they could not be read before" if changes.unreadable else ""
    log.info("Materials Project %s: %s", spec.version, (message + again).format(**counts))
    chunks = Chunks(service, spec, changes.to_fetch)
    chunks.fetch()
    _same_version(spec.version, service.version_now())
    rows, unreadable = _merge(spec, changes, chunks.paths)
    source = MaterialsProject(spec.query)
    return {
        "title": source.title,
        "note": source.note_of(spec.version),
        "material_page": source.material_page,
        "targets": source.targets(),
        "splits": source.splits(),
        "rows": rows,
        "unreadable": unreadable,
        **{name: count for name, count in counts.items() if name != "unreadable"},
        "left_out": len(listed) - rows,
        "seconds": time.perf_counter() - began,
    }


def _same_version(expected: str, found: str) -> None:
    if found != expected:
        raise InputError(f"Materials Project moved from database version {expected} to {found}; run again")


def _listed(service: Service, spec: DatabaseSpec) -> pa.Table:
    """The listing. It is kept in the scratch folder, so that the next attempt does not request it again."""
    path = spec.scratch / "listed.parquet"
    if not path.exists():
        log.info("Materials Project %s: asking which materials fit", spec.version)
        _write(listing(service, spec.query, ids_of(spec.query)), path)
    return pq.read_table(path)


class Chunks:
    """The documents to fetch, split into one file a chunk. A file's name is the digest of the ids and stamps in it."""

    def __init__(self, service: Service, spec: DatabaseSpec, wanted: pa.Table) -> None:
        self._service, self._spec, self._schema = service, spec, schemas.database(list(TARGETS))
        self._total = len(wanted)
        stamped = (wanted[name].to_pylist() for name in (schemas.MATERIAL_ID, schemas.LAST_UPDATED))
        self._asked = {
            spec.scratch / f"chunk-{digest_of(chunk)[:16]}.parquet": [name for name, _ in chunk]
            for chunk in chunked(list(zip(*stamped, strict=True)), IDS_A_REQUEST)
        }
        self._functional_known = True

    @property
    def paths(self) -> list[Path]:
        """The files of all chunks, ordered by material_id."""
        return list(self._asked)

    def fetch(self) -> None:
        """Fetch the chunks that no earlier attempt has written. The next chunk downloads while one is parsed."""
        missing = {path: ids for path, ids in self._asked.items() if not path.exists()}
        done = self._total - sum(map(len, missing.values()))
        if done:
            log.info("%s documents are here from an earlier attempt", f"{done:,}")
        with ThreadPoolExecutor(1) as ahead:
            coming = None
            for chunk in [*missing.items(), None]:
                following = chunk and (*chunk, ahead.submit(self._documents, chunk[1]))
                if coming:
                    path, ids, answer = coming
                    _write(self._table(*answer.result()), path)
                    done += len(ids)
                    progress("documents", done, self._total)
                coming = following

    def _table(self, documents: list[dict[str, Any]], functionals: dict[str, str]) -> pa.Table:
        gnome = self._spec.query.include_gnome
        kept = [document for document in documents if unwanted(document, non_commercial=gnome) is None]
        return pa.Table.from_batches(batches_of(rows_of(kept, functionals), self._schema), self._schema)

    def _documents(self, ids: list[str]) -> tuple[list[dict[str, Any]], dict[str, str]]:
        """The summary documents of these ids, and the functional of each energy as far as the service has it."""
        found = self._service.search(
            self._service.client.materials.summary,
            material_ids=ids,
            deprecated=False,
            include_gnome=self._spec.query.include_gnome,
            fields=FIELDS,
            chunk_size=PAGE,
        )
        by_id = {document.get("material_id"): document for document in found if isinstance(document, dict)}
        lost = set(ids) - set(by_id)
        if lost:
            raise WorldError(f"Materials Project: {len(lost)} of {len(ids)} documents did not come: {min(lost)}, …")
        return [by_id[name] for name in ids], self._functionals(ids)

    def _functionals(self, ids: list[str]) -> dict[str, str]:
        if not self._functional_known:
            return {}
        try:
            found = self._service.search(
                self._service.client.materials.thermo,
                material_ids=ids,
                thermo_types=[DEFAULT_THERMOTYPE.value],
                fields=["material_id", "energy_type"],
                chunk_size=PAGE,
            )
        except InputError as refused:
            log.warning("the functional of the energies is not known: %s", refused)
            self._functional_known = False
            return {}
        return {str(d.get("material_id")): str(d["energy_type"]) for d in found if d.get("energy_type")}


def _merge(spec: DatabaseSpec, changes: Changes, chunks: list[Path]) -> tuple[int, int]:
    """Write structures.parquet from the unchanged rows and the chunks. Returns how many rows, and unreadable ones."""
    schema = schemas.database(list(TARGETS))
    fresh = SortedStream((pq.read_table(path) for path in chunks), schema)
    old = SortedStream(_unchanged_rows(spec.before, changes.unchanged), schema)
    rows = unreadable = 0
    with pq.ParquetWriter(spec.output / STRUCTURES, schema, compression="zstd") as writer:
        for names in chunked(changes.names, PAGE):
            table = pa.concat_tables(stream.up_to(names[-1].as_py()) for stream in (fresh, old))
            writer.write_table(table.sort_by(schemas.MATERIAL_ID))
            rows += len(table)
            unreadable += len(table) - table["fault_rule"].null_count
    if not rows:
        raise InputError("source materials-project: no material fits the query")
    return rows, unreadable


def _unchanged_rows(before: Path | None, unchanged: pa.Array) -> Iterator[pa.Table]:
    if before is not None and len(unchanged):
        for batch in pq.ParquetFile(before).iter_batches(PAGE):
            table = pa.Table.from_batches([batch])
            yield table.filter(pc.is_in(table[schemas.MATERIAL_ID], unchanged))


class SortedStream:
    """Reads tables one after the other, as far as needed. Their rows are sorted by material_id across all tables."""

    def __init__(self, tables: Iterable[pa.Table], schema: pa.Schema) -> None:
        self._tables, self._schema = iter(tables), schema
        self._ahead: pa.Table | None = None

    def up_to(self, name: str) -> pa.Table:
        """The rows after those returned before, up to and including the material_id `name`."""
        given = [self._schema.empty_table()]
        while (table := next(self._tables, None) if self._ahead is None else self._ahead) is not None:
            within = table.filter(pc.less_equal(table[schemas.MATERIAL_ID], name))
            given.append(within.select(self._schema.names).cast(self._schema))
            self._ahead = table.slice(len(within)) if len(within) < len(table) else None
            if self._ahead is not None:
                break
        return pa.concat_tables(given)


def _write(table: pa.Table, path: Path) -> None:
    """Write the table completely or not at all."""
    aside = path.with_suffix(".part")
    pq.write_table(table, aside, compression="zstd")
    aside.replace(path)


if __name__ == "__main__":
    main(DatabaseSpec, build)

"""The program of the download step for tables, folders and the alloys: any source becomes one structures table."""

import logging
import time

import pyarrow.parquet as pq

from crystals.sources.registry import open_source
from storage import schemas
from storage.errors import InputError
from storage.program import Facts, Spec, main

log = logging.getLogger(__name__)


class DownloadSpec(Spec):
    """The source (a name or a path), and the digest of its contents when the run began."""

    source: str
    contents: str


def build(spec: DownloadSpec) -> Facts:
    """Write structures.parquet batch by batch, so that memory does not grow with the source.

    Raises InputError if the source has no rows, or if its contents changed while it was read.
    """
    began = time.perf_counter()
    source = open_source(spec.source)
    schema = schemas.structures(source.targets(), source.splits())
    rows = unreadable = 0
    with pq.ParquetWriter(spec.output / "structures.parquet", schema, compression="zstd") as writer:
        for batch in source.batches(schema):
            writer.write_batch(batch)
            rows += len(batch)
            unreadable += len(batch) - batch.column("fault_rule").null_count
    if not rows:
        raise InputError(f"{spec.source}: has no rows")
    if source.contents() != spec.contents:
        raise InputError(f"{spec.source}: changed while it was read; run again when it is finished")
    log.info("%s: %s rows", source.title, f"{rows:,}")
    return {
        "title": source.title,
        "note": source.note,
        "targets": source.targets(),
        "splits": source.splits(),
        "rows": rows,
        "unreadable": unreadable,
        "seconds": time.perf_counter() - began,
    }


if __name__ == "__main__":
    main(DownloadSpec, build)

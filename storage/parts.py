"""The rows of a prediction as they are finished: a folder of numbered parts, each written whole or not at all.

A part has as many rows as a row group of our Parquet files; the last may have fewer.
"""

import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from storage.schemas import ROW_GROUP

ROWS = ROW_GROUP
FACTS = b"facts"  # in the metadata of a part's schema


def finished(folder: Path) -> tuple[int, int]:
    """How many parts there are, without a gap, and how many rows they have."""
    number = rows = 0
    while (path := _path(folder, number)).is_file():
        try:
            rows += pq.read_metadata(path).num_rows
        except (pa.ArrowException, OSError):
            break  # damaged by whatever stopped the machine: it is written again
        number += 1
    return number, rows


def write_part(folder: Path, number: int, table: pa.Table, facts: dict[str, Any]) -> None:
    """Write a part with the facts that its rows do not tell. Its bytes are on the disk before it has its name."""
    aside = folder / f".{number:08}-{os.getpid()}"
    with aside.open("wb") as file:
        pq.write_table(table.replace_schema_metadata({FACTS: json.dumps(facts)}), file, compression="zstd")
        file.flush()
        os.fsync(file.fileno())
    aside.rename(_path(folder, number))


def read_part(folder: Path, number: int) -> tuple[pa.Table, dict[str, Any]]:
    """A part's rows and facts."""
    table = pq.read_table(_path(folder, number))
    return table.replace_schema_metadata(None), json.loads(table.schema.metadata[FACTS])


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:08}.parquet"

"""Rows of a table file as dictionaries, whatever its format; and the errors of five parsers as one."""

import csv
import gzip
import itertools
import json
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import ijson
import pyarrow as pa
import pyarrow.parquet as pq

from storage.errors import InputError

FORMATS = (".parquet", ".csv", ".json", ".jsonl")
BROKEN_LINE = "\0broken line"  # the key under which a line of a .jsonl that is no JSON object passes its reason

FORMAT_ERRORS = (
    *(pa.ArrowException, OSError, EOFError, zlib.error, UnicodeDecodeError, OverflowError),
    *(csv.Error, ijson.JSONError, json.JSONDecodeError),
)


def form_of(path: Path) -> str:
    """The format that a file's name tells, `.gz` aside; "" where it tells none of ours."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in FORMATS else ""


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except FORMAT_ERRORS as error:
        if getattr(error, "errno", None) is not None:
            raise  # the disk's, not the file's fault
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{path}: is not what its name says, {form_of(path)[1:]}: {reason}") from None


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """Every row of the file, a batch in memory at a time."""
    readers = {".parquet": _parquet, ".csv": _csv, ".json": _json, ".jsonl": _jsonl}
    with _translated(path):
        yield from readers[form_of(path)](path)


def numeric_columns(path: Path) -> tuple[list[str], list[str]]:
    """All columns, and those that hold numbers: by type in Parquet, elsewhere by most of their first values."""
    if form_of(path) == ".parquet":
        with _translated(path), _parquet_file(path) as file:
            schema = pq.read_schema(file)
        kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)
        return schema.names, [f.name for f in schema if any(is_kind(f.type) for is_kind in kinds)]
    rows = rows_of(path)
    first = list(itertools.islice(rows, 200))
    names = list(dict.fromkeys(name for row in first for name in row if name != BROKEN_LINE))
    values = {name: [row[name] for row in first if not _is_blank(row.get(name))] for name in names}
    blank = {name for name in names if not values[name]}
    for row in itertools.islice(rows, 20_000 if blank else 0):
        said = {name for name in blank if not _is_blank(row.get(name))}
        values |= {name: [row[name]] for name in said}
        blank -= said
        if not blank:
            break
    return names, [name for name in names if _is_numeric(values[name])]


def _is_blank(value: Any) -> bool:
    return value is None or value == ""


def _is_numeric(values: list[Any]) -> bool:
    try:
        return 2 * sum(map(_is_number, values)) > len(values)
    except OverflowError:
        return False


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


@contextmanager
def _parquet_file(path: Path) -> Iterator[Any]:
    if path.suffix != ".gz":
        yield path
        return
    with gzip.open(path) as packed, tempfile.NamedTemporaryFile(suffix=".parquet") as plain:
        shutil.copyfileobj(packed, plain)  # Parquet is read from its end: it cannot be streamed out of gzip
        plain.flush()
        yield plain.name


def _parquet(path: Path) -> Iterator[dict[str, Any]]:
    with _parquet_file(path) as file, pq.ParquetFile(file) as table:
        for batch in table.iter_batches(1024):
            yield from batch.to_pylist()


def _open(path: Path, mode: str) -> IO[Any]:
    # A byte that is no UTF-8 spoils its own cell, not the file.
    how = {} if "b" in mode else {"encoding": "utf-8-sig", "errors": "replace"}
    return gzip.open(path, mode, **how) if path.suffix == ".gz" else path.open(mode, **how)  # type: ignore[call-overload,no-any-return]


def _csv(path: Path) -> Iterator[dict[str, Any]]:
    csv.field_size_limit(sys.maxsize)  # a cell may hold a whole CIF
    with _open(path, "rt") as file:
        reader = csv.DictReader(file)
        names = reader.fieldnames or []
        if len(set(names)) < len(names):
            raise InputError(f"{path}: two columns have the same name: {', '.join(names)}")
        for row in reader:
            cut = row.pop(None, None)
            problem = f"line {reader.line_num} has {len(names) + len(cut or ())} cells, the header {len(names)}"
            yield {**row, BROKEN_LINE: problem} if cut else row


def _jsonl(path: Path) -> Iterator[dict[str, Any]]:
    with _open(path, "rt") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                row = {BROKEN_LINE: f"line {number} is not JSON: {error}"}
            yield row if isinstance(row, dict) else {BROKEN_LINE: f"line {number} is not a JSON object"}


def _json(path: Path) -> Iterator[dict[str, Any]]:
    """A list of objects, or Matbench's {"index": […], "columns": […], "data": [[…], …]}."""
    with _open(path, "rb") as file:
        start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        file.seek(0)
        if start == b"[":
            for number, row in enumerate(_items(path, "item"), start=1):
                yield row if isinstance(row, dict) else {BROKEN_LINE: f"item {number} is not an object"}
            return
    names = [str(name) for name in _items(path, "columns.item")]
    if not names:
        raise InputError(f'{path}: expected a list of objects, or Matbench\'s {{"index", "columns", "data"}}')
    index = _items(path, "index.item")
    for cells in _items(path, "data.item"):
        name = {"material_id": str(next(index, "")) or None}
        fits = isinstance(cells, list) and len(cells) == len(names)
        yield name | (dict(zip(names, cells, strict=True)) if fits else {BROKEN_LINE: f"has not {len(names)} cells"})


def _items(path: Path, prefix: str) -> Iterator[Any]:
    done = 0
    with _open(path, "rb") as file:
        try:
            for item in ijson.items(file, prefix, use_float=True):
                yield item
                done += 1
        except ijson.JSONError:
            # NaN and Infinity are no JSON, but Python writes them, and reads them: a whole file at a time.
            file.seek(0)
            found = json.load(file)
            for key in prefix.split(".")[:-1]:
                found = found[key]
            yield from itertools.islice(found, done, None)

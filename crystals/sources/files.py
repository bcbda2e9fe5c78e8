"""Reads the rows of a table file as dictionaries, whatever its format, and translates its parser's errors."""

import csv
import errno
import gzip
import itertools
import json
import shutil
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import ijson
import pyarrow as pa
import pyarrow.parquet as pq

from crystals.sources.json_depth import DepthLimited
from storage.errors import InputError

FORMATS = (".parquet", ".csv", ".json", ".jsonl")
BUFFER = 1_000_000  # bytes of a Parquet column that are read at a time
BROKEN_LINE = "\0broken line"  # the key under which a line of a .jsonl that is no JSON object passes its reason

# What the parsers raise on a file that is none of theirs; pyarrow and json also raise plain ValueError, on a value
# that Python has no object for.
FORMAT_ERRORS = (
    *(pa.ArrowException, OSError, EOFError, zlib.error, ValueError, OverflowError, RecursionError),
    *(csv.Error, ijson.JSONError),
)
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EIO}


def form_of(path: Path) -> str:
    """The table format by a file's name, ignoring `.gz`; "" if it is not one of FORMATS."""
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    return suffix if suffix in FORMATS else ""


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except FORMAT_ERRORS as error:
        number = getattr(error, "errno", None)
        if number in DISK_ERRORS:
            raise  # the disk's, not the file's fault
        if number is not None:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from None  # type: ignore[union-attr]
        reason = " ".join(str(error).split())[:150]
        raise InputError(f"{path}: is not what its name says, {form_of(path)[1:]}: {reason}") from None


def rows_of(path: Path, columns: Collection[str]) -> Iterator[dict[str, Any]]:
    """Every row of the file, with one batch in memory at a time.

    Only `columns` are read from a Parquet file; rows of other formats have all their columns.
    Raises InputError if the file is not what its name says.
    """
    with _translated(path):
        if form_of(path) == ".parquet":
            yield from _parquet(path, columns)
        else:
            yield from READERS[form_of(path)](path)


def numeric_columns(path: Path) -> tuple[list[str], list[str]]:
    """All column names, and the names of those that hold numbers.

    Parquet has types; in other formats a column is numeric if most of its first 200 values are numbers.
    Raises InputError if the file cannot be read or two columns have the same name.
    """
    if form_of(path) == ".parquet":
        with _translated(path), _parquet_file(path) as file:
            schema = pq.read_schema(file)
        _check_unique(path, schema.names)
        kinds = (pa.types.is_floating, pa.types.is_integer, pa.types.is_boolean, pa.types.is_decimal)
        return schema.names, [f.name for f in schema if any(is_kind(f.type) for is_kind in kinds)]
    rows = rows_of(path, ())
    first = list(itertools.islice(rows, 200))
    names = list(dict.fromkeys(name for row in first for name in row if name != BROKEN_LINE))
    if first and not names:
        raise InputError(f"{path}: no row can be read: {first[0].get(BROKEN_LINE, 'the first has no columns')}")
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


def _check_unique(path: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{path}: two columns have the same name: {shortened(map(repr, twice))}")


def shortened(names: Iterable[str]) -> str:
    """The first twelve names as text, and how many more there are."""
    listed = list(names)
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12:,} more" if len(listed) > 12 else "")


def _is_numeric(values: list[Any]) -> bool:
    return 2 * sum(map(_is_number, values)) > len(values)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
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


def _parquet(path: Path, columns: Collection[str]) -> Iterator[dict[str, Any]]:
    # By default whole row groups are read; so only some pages of each column.
    reading = {"pre_buffer": False, "buffer_size": BUFFER}
    with _parquet_file(path) as file, pq.ParquetFile(file, **reading) as table:
        _check_unique(path, table.schema_arrow.names)
        wanted = [name for name in table.schema_arrow.names if name in columns]
        for batch in table.iter_batches(1024, columns=wanted or None):
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
        if any("\0" in name for name in names):
            raise InputError(f"{path}: is not UTF-8: its first line has NUL bytes, as UTF-16 has")
        _check_unique(path, names)
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


def matbench_index(path: Path, most: int) -> list[str] | None:
    """The first `most` ids of a file in Matbench's layout; None if it has another one, or is no JSON at all."""
    if form_of(path) != ".json":
        return None
    with _translated(path):
        return (
            None if _starts_a_list(path) else [str(name) for name in itertools.islice(_items(path, "index.item"), most)]
        )


def _starts_a_list(path: Path) -> bool:
    with _open(path, "rb") as file:
        return bool(file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["))


def _json(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a list of objects, or of Matbench's {"index": […], "columns": […], "data": [[…], …]}."""
    if _starts_a_list(path):
        for number, row in enumerate(_items(path, "item"), start=1):
            yield row if isinstance(row, dict) else {BROKEN_LINE: f"item {number} is not an object"}
        return
    names = [str(name) for name in _items(path, "columns.item")]
    if not names:
        raise InputError(f'{path}: expected a list of objects, or Matbench\'s {{"index", "columns", "data"}}')
    _check_unique(path, names)
    index = _items(path, "index.item")
    for cells in _items(path, "data.item"):
        name = {"material_id": str(next(index, "")) or None}
        fits = isinstance(cells, list) and len(cells) == len(names)
        yield name | (dict(zip(names, cells, strict=True)) if fits else {BROKEN_LINE: f"has not {len(names)} cells"})


def _items(path: Path, prefix: str) -> Iterator[Any]:
    done = 0
    with _open(path, "rb") as file:
        try:
            for item in ijson.items(DepthLimited(file), prefix, use_float=True):
                yield item
                done += 1
        except ijson.JSONError:
            # NaN and Infinity are no JSON, but Python writes them, and reads them: a whole file at a time.
            file.seek(0)
            found = json.load(file)
            for key in prefix.split(".")[:-1]:
                found = found.get(key) if isinstance(found, dict) else None
            yield from itertools.islice(found if isinstance(found, list) else [], done, None)


READERS: dict[str, Callable[[Path], Iterator[dict[str, Any]]]] = {".csv": _csv, ".json": _json, ".jsonl": _jsonl}

"""Damaged inputs of every kind end as a rejected row or as one line that says what is wrong, never as a traceback.

Each source goes through the programs of the first three steps in this process: check, download, validate, graphs.
What the check refuses is shown by the command line too: one line on stderr, exit code 2, before Prefect starts.
A warning is an error here, as everywhere in the tests.
"""

import gzip
import json
import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure

from crystals import download, graphs, validate
from crystals.config import ChecksConfig, GraphConfig
from crystals.sources.registry import check_source
from flows import cli
from storage.errors import InputError

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CIF, DICT = SALT.to(fmt="cif"), SALT.as_dict()
ARRAYS: dict[str, Any] = {
    "lattice": [4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0],
    "species": ["Cs", "Cl"],
    "frac_coords": [0, 0, 0, 0.5, 0.5, 0.5],
}
NAN, INF = float("nan"), float("inf")
DEEP = "[" * 100_000

Expected = str | tuple[str, str]
READ = "read"  # it looks odd, but there is nothing wrong with it: every row is accepted


def row(rule: str) -> Expected:
    """One row is rejected, by this rule; the others are accepted."""
    return "row", rule


def line(text: str) -> Expected:
    """The run ends with one line that has this text in it."""
    return "line", text


def rows_with(change: dict[str, Any]) -> list[dict[str, Any]]:
    """Three good rows, and between them one with the change."""
    good = [{"material_id": f"good-{n}", **ARRAYS, "gap": float(n)} for n in range(3)]
    return [*good[:2], {"material_id": "bad", **ARRAYS, "gap": 7.0} | change, good[2]]


def of_table(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def as_parquet(columns: dict[str, Any]) -> bytes:
    made = {name: [each[name] for each in rows_with({})] for name in rows_with({})[0]} | columns
    kept = {name: column for name, column in made.items() if column is not None}
    return of_table(pa.table(list(kept.values()), names=list(kept)))


def as_csv(rows: list[dict[str, Any]]) -> str:
    def cell(value: Any) -> str:
        return '"' + (value if isinstance(value, str) else json.dumps(value)).replace('"', '""') + '"'

    return "\n".join([",".join(rows[0]), *(",".join(map(cell, each.values())) for each in rows)]) + "\n"


def as_matbench(more: Any, **changes: Any) -> bytes:
    rows = [[DICT, float(n)] for n in range(3)]
    document = {"index": ["a", "b", "c"], "columns": ["structure", "gap"], "data": rows + more} | changes
    return json.dumps({name: value for name, value in document.items() if value is not None}).encode()


def site(**changes: Any) -> dict[str, Any]:
    """A structure whose only site is changed."""
    return {"structure": DICT | {"sites": [DICT["sites"][0] | changes]}}


def occupied(element: Any, occupancy: Any, **more: Any) -> dict[str, Any]:
    return site(species=[{"element": element, "occu": occupancy, **more}])


def numbers(*atomic_numbers: Any) -> dict[str, Any]:
    return {"species": None, "atomic_numbers": list(atomic_numbers)}


def utf8(*texts: bytes) -> pa.Array:
    """A column of strings that are none."""
    return pa.Array.from_buffers(pa.string(), len(texts), pa.array(texts, pa.binary()).buffers())


ROWS: dict[str, tuple[dict[str, Any], Expected]] = {
    "nothing": ({}, READ),
    "lattice of NaN": ({"lattice": [NAN] * 9}, row("lattice")),
    "lattice of infinity": ({"lattice": [INF] * 9}, row("lattice")),
    "lattice of zeros": ({"lattice": [0] * 9}, row("lattice")),
    "lattice of 1e300 Å": ({"lattice": [1e300, 0, 0, 0, 1e300, 0, 0, 0, 1e300]}, row("lattice")),
    "lattice of 1e-300 Å": ({"lattice": [1e-300, 0, 0, 0, 1e-300, 0, 0, 0, 1e-300]}, row("lattice")),
    "one vector of 1e200 Å": ({"lattice": [1e200, 0, 0, 0, 4, 0, 0, 0, 4]}, row("lattice")),
    "cell of 1e6 Å": ({"lattice": [1e6, 0, 0, 0, 1e6, 0, 0, 0, 1e6]}, row("volume")),
    "singular lattice": ({"lattice": [1, 2, 3, 2, 4, 6, 0, 0, 1]}, row("lattice")),
    "lattice with a null": ({"lattice": [None] + [1.0] * 8}, row("lattice")),
    "lattice of 8 numbers": ({"lattice": [1.0] * 8}, row("unreadable")),
    "lattice as text": ({"lattice": "cubic"}, row("unreadable")),
    "lattice of texts": ({"lattice": ["a"] * 9}, row("unreadable")),
    "ragged lattice": ({"lattice": [[1, 2], [3], [4, 5, 6]]}, row("unreadable")),
    "lattice as an object": ({"lattice": {"a": 4, "b": 4}}, row("unreadable")),
    "lattice as a number": ({"lattice": True}, row("unreadable")),
    "lattice of integers without a float": ({"lattice": [10**400] + [0] * 8}, row("unreadable")),
    "no lattice": ({"lattice": None}, row("unreadable")),
    "coordinates too few": ({"frac_coords": [0, 0, 0, 0.5]}, row("unreadable")),
    "no coordinates": ({"frac_coords": None}, row("unreadable")),
    "coordinates as an object": ({"frac_coords": {"x": 1}}, row("unreadable")),
    "coordinates of NaN": ({"frac_coords": [0, 0, 0, NAN, 0, 0]}, row("coordinates")),
    "coordinates of infinity": ({"frac_coords": [0, 0, 0, INF, 0, 0]}, row("coordinates")),
    "coordinates of 1e300": ({"frac_coords": [0, 0, 0, 1e300, 1e300, 1e300]}, row("coordinates")),
    "coordinates whose place in the cell is lost": ({"frac_coords": [0, 0, 0, 1e17, 0.5, 0.5]}, row("coordinates")),
    "coordinates as texts": ({"frac_coords": ["0", "0", "0", "0.5", "0.5", "0.5"]}, READ),
    "a coordinate just below 0": ({"frac_coords": [-1e-17, 0, 0, 0.5, 0.5, 0.5]}, READ),
    "atomic number 0": (numbers(0, 17), row("elements")),
    "atomic number 119": (numbers(119, 17), row("elements")),
    "atomic number 300": (numbers(300, 17), row("elements")),
    "atomic number -1": (numbers(-1, 17), row("elements")),
    "atomic number 1.5": (numbers(1.5, 17), row("elements")),
    "atomic number NaN": (numbers(NAN, 17), row("elements")),
    "atomic number null": (numbers(None, 17), row("elements")),
    "atomic number 1e20": (numbers(1e20, 17), row("elements")),
    "atomic numbers that are symbols": (numbers("Cs", "Cl"), row("unreadable")),
    "no atoms": ({"species": [], "frac_coords": []}, row("unreadable")),
    "neither species nor atomic numbers": ({"species": None}, row("unreadable")),
    "species null": ({"species": [None, "Cl"]}, row("unreadable")),
    "species that are numbers": ({"species": [55, 17]}, row("unreadable")),
    "species Xx": ({"species": ["Xx", "Cl"]}, row("elements")),
    "species X": ({"species": ["X", "X"]}, row("elements")),
    "species empty": ({"species": ["", "Cl"]}, row("elements")),
    "species with a NUL": ({"species": ["C\0s", "Cl"]}, row("elements")),
    "species as a formula": ({"species": "CsCl"}, row("elements")),
    "300 species": ({"species": ["Cs"] * 300}, row("unreadable")),
    "species with charges": ({"species": ["Cs+", "Cl-"]}, READ),
    "an id twice": ({"material_id": "good-0"}, row("unique")),
    "an empty id": ({"material_id": ""}, READ),
    "an id that is a list": ({"material_id": [[1]]}, row("unreadable")),
    "an id with a newline and a NUL": ({"material_id": "a\nb\r\0\x1b[31m"}, READ),
    "an id of 10 kB": ({"material_id": "x" * 10_000}, READ),
    "an id that is half a surrogate pair": ({"material_id": "\ud800"}, READ),
    "target as text": ({"gap": "high"}, row("target")),
    "target nan": ({"gap": "nan"}, row("target")),
    "target 1e400": ({"gap": "1e400"}, row("target")),
    "target null": ({"gap": None}, row("target")),
    "target blank": ({"gap": "  "}, row("target")),
    "target complex": ({"gap": "1+2j"}, row("target")),
    "target with a decimal comma": ({"gap": "1,5"}, row("target")),
    "target a list": ({"gap": [1.0]}, row("target")),
    "target an object": ({"gap": {"value": 1}}, row("target")),
    "target an integer without a float": ({"gap": 10**400}, row("target")),
    "target true": ({"gap": True}, READ),
    "target 1e300": ({"gap": 1e300}, READ),
    "structure a text": ({"structure": "NaCl"}, row("unreadable")),
    "structure a number": ({"structure": 5}, row("unreadable")),
    "structure a list": ({"structure": [1]}, row("unreadable")),
    "structure broken JSON": ({"structure": "{"}, row("unreadable")),
    "structure of 100,000 levels": ({"structure": DEEP}, row("unreadable")),
    "structure without sites": ({"structure": {"@module": "x", "@class": "y"}}, row("unreadable")),
    "structure with sites null": ({"structure": DICT | {"sites": None}}, row("unreadable")),
    "structure with no site": ({"structure": DICT | {"sites": []}}, row("unreadable")),
    "structure of another class": ({"structure": DICT | {"@class": "Molecule", "lattice": None}}, row("unreadable")),
    "structure without lattice": ({"structure": {"sites": DICT["sites"]}}, row("unreadable")),
    "structure with a text as lattice": ({"structure": DICT | {"lattice": "a"}}, row("unreadable")),
    "structure with 8 numbers": ({"structure": DICT | {"lattice": {"matrix": [1.0] * 8}}}, row("unreadable")),
    "structure of NaN": ({"structure": DICT | {"lattice": {"matrix": [[NAN] * 3] * 3}}}, row("lattice")),
    "site with 2 coordinates": (site(abc=[0, 0]), row("unreadable")),
    "site with NaN": (site(abc=[NAN] * 3), row("coordinates")),
    "site without coordinates": (site(abc=None), row("unreadable")),
    "site without species": (site(species=None), row("unreadable")),
    "site with no species": (site(species=[]), row("ordered")),
    "site of no element": (occupied("Qq", 1), row("unreadable")),
    "site of a dummy species": (occupied("X", 1, oxidation_state=0), row("elements")),
    "site occupied by a half": (occupied("Na", 0.5), row("ordered")),
    "site occupied by -1": (occupied("Na", -1), row("unreadable")),
    "site occupied by NaN": (occupied("Na", NAN), row("ordered")),
    "site occupied by a text": (occupied("Na", "1"), row("unreadable")),
    "site with odd properties": (
        {"structure": DICT | {"sites": [s | {"properties": "x"} for s in DICT["sites"]]}},
        READ,
    ),
    "CIF a number": ({"cif": 5}, row("unreadable")),
    "CIF without atoms": ({"cif": CIF.split("loop_\n _atom_site")[0]}, row("unreadable")),
    "CIF cut in half": ({"cif": CIF[: len(CIF) // 2]}, row("unreadable")),
    "CIF with a broken loop": ({"cif": CIF.replace(" _atom_site_fract_x\n", "")}, row("unreadable")),
    "CIF of NULs": ({"cif": "\0\1\2"}, row("unreadable")),
    "CIF of half-occupied sites": ({"cif": CIF.rstrip()[:-1] + "0.5\n"}, row("ordered")),
    "CIF of doubly occupied sites": ({"cif": CIF.rstrip()[:-1] + "2\n"}, row("unreadable")),
    "CIF of negative occupancy": ({"cif": CIF.rstrip()[:-1] + "-1\n"}, row("unreadable")),
    "CIF with an operation of words": ({"cif": CIF.replace("'x, y, z'", "'x, banana, z'")}, row("unreadable")),
    "CIF with 9**9**9": ({"cif": CIF.replace("'x, y, z'", "'x, y, 9**9**9'")}, row("unreadable")),
    "CIF with a length of 0": ({"cif": CIF.replace("5.64", "0.0")}, row("unreadable")),
    "CIF with a length of 1e300": ({"cif": CIF.replace("5.64", "1e300")}, row("lattice")),
    "CIF with angles of 180°": ({"cif": CIF.replace("90.0", "180.0")}, row("unreadable")),
    "CIF with a coordinate ?": ({"cif": CIF.replace("0.50000000", "?")}, row("unreadable")),
    "CIF of no element": ({"cif": CIF.replace("Na  Na", "Qq  Qq")}, row("elements")),
}

TRUNCATED = "t.parquet: is not what its name says, parquet"
NO_TARGET = "has no column of numbers that could be a target"
ALL_UNREADABLE = "unreadable 4; the first by unreadable is good-0: lattice is not a list of numbers"
PARQUET: dict[str, tuple[dict[str, Any], Expected]] = {
    "struct lattice": ({"lattice": [{"a": 1}] * 4}, line(ALL_UNREADABLE)),
    "map lattice": (
        {"lattice": pa.array([[("a", 1.0)]] * 4, pa.map_(pa.string(), pa.float64()))},
        line(ALL_UNREADABLE),
    ),
    "binary lattice": ({"lattice": [b"\xff\0"] * 4}, line(ALL_UNREADABLE)),
    "lists with nulls": ({"lattice": [*[ARRAYS["lattice"]] * 3, [None] * 9]}, row("lattice")),
    "fixed-size and large lists": ({"lattice": pa.array([ARRAYS["lattice"]] * 4, pa.list_(pa.float32(), 9))}, READ),
    "dictionary-encoded columns": ({"gap": pa.array([1.0, 2, 3, 4]).dictionary_encode()}, READ),
    "dictionary-encoded ids": ({"material_id": pa.array(list("abcd")).dictionary_encode()}, READ),
    "binary ids": ({"material_id": [b"a", b"\xff", b"c", b"d"]}, READ),
    "decimal target": ({"gap": [Decimal("1.5"), Decimal(2), None, Decimal(3)]}, row("target")),
    "target beyond int64": ({"gap": pa.array([2**64 - 1, 1, 2, 3], pa.uint64())}, READ),
    "half-precision target": ({"gap": pa.array([1, 2, 3, 4], pa.float16())}, READ),
    "boolean target": ({"gap": [True, False, True, None]}, row("target")),
    "timestamp target": ({"gap": pa.array([1, 2, 3, 4], pa.timestamp("s"))}, line(NO_TARGET)),
    "binary target": ({"gap": [b"1"] * 4}, line(NO_TARGET)),
    "list target": ({"gap": [[1.0]] * 4}, line(NO_TARGET)),
    "struct target": ({"gap": [{"value": 1.0}] * 4}, line(NO_TARGET)),
    "null target": ({"gap": pa.nulls(4)}, line(NO_TARGET)),
    "constant target": (
        {"gap": [2.5] * 4},
        line("target gap: all 4 accepted rows have the value 2.5; nothing to learn"),
    ),
    "dates that Python does not have": ({"when": pa.array([2**31 - 1] * 4, pa.date32())}, READ),
    "durations that Python does not have": ({"when": pa.array([2**62] * 4, pa.duration("s"))}, READ),
    "a struct with one name twice": (
        {"more": pa.StructArray.from_arrays([pa.array([1] * 4), pa.array([2] * 4)], names=["a", "a"])},
        READ,
    ),
    "strings that are none": ({"note": utf8(*[b"\xff\xfe"] * 4)}, READ),
    "ids that are no strings": ({"material_id": utf8(*[b"\xff\xfe"] * 4)}, line("codec can't decode byte 0xff")),
    "odd space groups": ({"spacegroup_number": [NAN, INF, 1e300, -1]}, READ),
    "columns of our own": ({"fault_rule": ["x"] * 4, "fault_message": ["y"] * 4, "formula": [1] * 4}, READ),
}

WHOLE = as_parquet({})
TEXT = as_csv(rows_with({}))
LINES = "\n".join(map(json.dumps, rows_with({})))
LIST = json.dumps(rows_with({}))
NOT_JSON = "t.json: is not what its name says, json"
FILES: dict[str, tuple[str, bytes | str, Expected]] = {
    "truncated Parquet": ("t.parquet", WHOLE[: len(WHOLE) // 2], line(TRUNCATED)),
    "Parquet without footer": ("t.parquet", WHOLE[:-8], line(TRUNCATED)),
    "Parquet with a torn page": ("t.parquet", WHOLE[:100] + bytes(300) + WHOLE[400:], line(TRUNCATED)),
    "Parquet with a torn footer": ("t.parquet", WHOLE[:-200] + bytes(192) + WHOLE[-8:], line(TRUNCATED)),
    "encrypted Parquet": ("t.parquet", WHOLE[:-4] + b"PARE", line(TRUNCATED)),
    "empty Parquet": ("t.parquet", b"", line(TRUNCATED)),
    "Parquet without rows": ("t.parquet", of_table(pa.table({"cif": [""], "gap": [1.0]})[:0]), line("has no rows")),
    "Parquet without columns": ("t.parquet", of_table(pa.table({})), line("has no rows")),
    "Parquet with one name twice": (
        "t.parquet",
        of_table(pa.table([["x"], [1.0], [2.0]], names=["cif", "gap", "gap"])),
        line("t.parquet: two columns have the same name: 'gap'"),
    ),
    "Parquet of 5,000 columns": (
        "t.parquet",
        of_table(pa.table({"cif": ["x"]} | {f"c{n}": [1.0] for n in range(5_000)})),
        line("c10, c11 and 4,988 more"),
    ),
    "packed Parquet, truncated": ("t.parquet.gz", gzip.compress(WHOLE)[:-50], line("Compressed file ended")),
    "packed Parquet that is not packed": ("t.parquet.gz", WHOLE, line("Not a gzipped file")),
    "packed Parquet of junk": ("t.parquet.gz", gzip.compress(b"junk"), line("is not what its name says")),
    "empty CSV": ("t.csv", "", line("has no rows")),
    "CSV with a header alone": ("t.csv", TEXT.split("\n")[0], line("has no rows")),
    "CSV with its header twice": ("t.csv", TEXT.replace("\n", "\n" + TEXT.split("\n")[0] + "\n", 1), row("unreadable")),
    "CSV with a quote that never ends": ("t.csv", TEXT + '"x', row("unreadable")),
    "CSV with a NUL": ("t.csv", TEXT.replace("good-1", "go\0d"), READ),
    "CSV in UTF-16": ("t.csv", TEXT.encode("utf-16"), line("t.csv: is not UTF-8")),
    "CSV in Latin-1": ("t.csv", TEXT.replace("good-1", "gö").encode("latin-1"), READ),
    "CSV with a BOM": ("t.csv", "\ufeff" + TEXT, READ),
    "CSV with a row too short": ("t.csv", TEXT + "x,y\n", row("unreadable")),
    "CSV with a row too long": ("t.csv", TEXT + ",".join("abcdefgh"), row("unreadable")),
    "CSV with blank lines": ("t.csv", TEXT.replace("\n", "\n\n"), READ),
    "CSV of commas": ("t.csv", ",,,\n,,,\n", line("two columns have the same name: ''")),
    "CSV with semicolons": ("t.csv", TEXT.replace(",", ";"), line("no structure, cif or lattice column; it has")),
    "CSV of bytes": ("t.csv", bytes(range(256)) * 9, line("is not UTF-8")),
    "CSV that is a page of HTML": (
        "t.csv",
        "<html>\n<p>404, not found</p>\n",
        line("no structure, cif or lattice column"),
    ),
    "CSV of 20,000 columns": (
        "t.csv",
        ",".join(["cif", *map(str, range(20_000))]) + "\nx" + ",1" * 20_000,
        line("and 19,988 more"),
    ),
    "CSV with a cell of 3 MB": ("t.csv", TEXT.replace("good-1", "x" * 3_000_000), READ),
    "packed CSV, truncated": ("t.csv.gz", gzip.compress(TEXT.encode())[:-30], line("Compressed file ended")),
    "packed CSV with a wrong sum": ("t.csv.gz", gzip.compress(TEXT.encode())[:-8] + bytes(8), line("CRC check failed")),
    "packed CSV with a tail": ("t.csv.gz", gzip.compress(TEXT.encode()) + b"junk", line("Not a gzipped file")),
    "packed CSV that is not packed": ("t.csv.gz", TEXT, line("t.csv.gz: is not what its name says, csv")),
    "JSON number": ("t.json", "5", line("expected a list of objects, or Matbench's")),
    "JSON string": ("t.json", '"x"', line("expected a list of objects, or Matbench's")),
    "JSON object": ("t.json", '{"lattice": [1], "gap": [2]}', line("expected a list of objects, or Matbench's")),
    "JSON list of numbers": ("t.json", "[1, 2]", line("t.json: no row can be read: item 1 is not an object")),
    "JSON list of nothing": ("t.json", "[{}, {}]", line("t.json: no row can be read")),
    "empty JSON": ("t.json", "", line(NOT_JSON)),
    "empty JSON list": ("t.json", "[]", line("has no rows")),
    "truncated JSON": ("t.json", LIST[:-20], line(NOT_JSON)),
    "JSON with a trailing comma": ("t.json", LIST[:-1] + ",]", line(NOT_JSON)),
    "JSON with single quotes": ("t.json", LIST.replace('"', "'"), line(NOT_JSON)),
    "two JSON documents": ("t.json", LIST + LIST, line(NOT_JSON)),
    "JSON of 100,000 levels": ("t.json", DEEP, line("nests deeper than 200 levels")),
    "JSON with a deep value": ("t.json", f'[{{"gap": {DEEP}', line("nests deeper than 200 levels")),
    "JSON with brackets in its texts": ("t.json", LIST.replace("good-1", r"\\\"" + DEEP), READ),
    "JSON with one key twice": ("t.json", LIST.replace('"gap": 0.0', '"gap": 0.0, "gap": 5.0'), READ),
    "JSON with NaN": ("t.json", LIST.replace("7.0", "NaN"), row("target")),
    "JSON with an integer of 5,000 digits": ("t.json", LIST.replace("7.0", "1" * 5000), line(NOT_JSON)),
    "JSON in UTF-16": ("t.json", LIST.encode("utf-16"), line("t.json: ")),
    "JSON in Latin-1": ("t.json", LIST.replace("good-1", "g\xf6").encode("latin-1"), line(NOT_JSON)),
    "JSON with a number among its rows": ("t.json", LIST[:-1] + ", 5]", row("unreadable")),
    "packed JSON, truncated": ("t.json.gz", gzip.compress(LIST.encode())[:-20], line("Compressed file ended")),
    "packed JSON that is not packed": ("t.json.gz", LIST, line("Not a gzipped file")),
    "JSON lines with blank ones": ("t.jsonl", LINES.replace("\n", "\n\n"), READ),
    "JSON lines with a list": ("t.jsonl", LINES + "\n[1, 2]", row("unreadable")),
    "JSON lines with a null": ("t.jsonl", LINES + "\nnull", row("unreadable")),
    "JSON lines, truncated": ("t.jsonl", LINES + '\n{"material_id": "x', row("unreadable")),
    "JSON lines of 100,000 levels": ("t.jsonl", LINES + "\n" + DEEP, row("unreadable")),
    "JSON lines with 5,000 digits": ("t.jsonl", LINES + '\n{"gap": ' + "1" * 5000 + "}", row("unreadable")),
    "JSON lines with NULs": ("t.jsonl", LINES + "\n\0\0", row("unreadable")),
    "JSON lines in UTF-16": ("t.jsonl", LINES.encode("utf-16"), line("no row can be read: line 1 is not JSON")),
    "packed JSON lines, truncated": ("t.jsonl.gz", gzip.compress(LINES.encode())[:-20], line("Compressed file ended")),
    "Matbench": ("t.json", as_matbench([]), READ),
    "Matbench without columns": ("t.json", as_matbench([], columns=None), line("expected a list of objects")),
    "Matbench without data": ("t.json", as_matbench([], data=None), line("has no rows")),
    "Matbench without index": ("t.json", as_matbench([], index=None), READ),
    "Matbench with NaN and without index": ("t.json", as_matbench([[DICT, NAN]], index=None), row("target")),
    "Matbench with NaN and an object as data": ("t.json", as_matbench([], data={"a": NAN}), line("has no rows")),
    "Matbench with a cell too few": ("t.json", as_matbench([[DICT]]), row("unreadable")),
    "Matbench with a cell too many": ("t.json", as_matbench([[DICT, 1, 2]]), row("unreadable")),
    "Matbench with a row that is none": ("t.json", as_matbench([None]), row("unreadable")),
    "Matbench with a structure null": ("t.json", as_matbench([[None, 1.0]]), row("unreadable")),
    "Matbench with one name twice": ("t.json", as_matbench([], columns=["gap", "gap"]), line("the same name: 'gap'")),
    "Matbench with other columns": ("t.json", as_matbench([], columns=[1, 2]), line("it has material_id, 1, 2")),
    "Matbench, truncated": ("t.json", as_matbench([])[:-30], line(NOT_JSON)),
    "no format": ("t.xlsx", b"PK", line("t.xlsx: unknown kind of file; allowed are")),
}

LINKED_OUT = "is a link that leads out of the folder"
TABLE = "good-0,0\ngood-1,1\ngood-2,2\nbad,3\n"


def linked_out(path: Path) -> None:
    """A link to a good file outside of the folder."""
    outside = path.parent.parent / f"outside{path.suffix}"
    outside.write_text(CIF if path.suffix == ".cif" else TABLE)
    path.symlink_to(outside)


Made = bytes | str | Callable[[Path], None] | None
FOLDERS: dict[str, tuple[dict[str, Made], Expected]] = {
    "a CIF that is not there": ({}, row("unreadable")),
    "a link that leads nowhere": ({"bad.cif": lambda path: path.symlink_to("nowhere")}, row("unreadable")),
    "a link to itself": ({"bad.cif": lambda path: path.symlink_to(path)}, row("unreadable")),
    "a link that leads out": ({"bad.cif": linked_out}, row("unreadable")),
    "a link that stays inside": ({"bad.cif": lambda path: path.symlink_to("good-0.cif")}, READ),
    "a folder named as a CIF": ({"bad.cif": lambda path: path.mkdir()}, row("unreadable")),
    "a pipe named as a CIF": ({"bad.cif": os.mkfifo}, row("unreadable")),
    "an empty CIF": ({"bad.cif": ""}, row("unreadable")),
    "a CIF of bytes": ({"bad.cif": bytes(range(256))}, row("unreadable")),
    "a packed CIF": ({"bad.cif": gzip.compress(CIF.encode())}, row("unreadable")),
    "an id out of the folder": ({"id_prop.csv": TABLE.replace("bad", "../bad")}, row("unreadable")),
    "an id longer than a name": ({"id_prop.csv": TABLE.replace("bad", "ü" * 200)}, row("unreadable")),
    "an id with a NUL": ({"id_prop.csv": TABLE.replace("bad", "b\0d")}, row("unreadable")),
    "an empty id": ({"id_prop.csv": TABLE.replace("bad", "")}, row("unreadable")),
    "an id without a value": ({"id_prop.csv": TABLE.replace("bad,3", "good-3"), "good-3.cif": CIF}, row("target")),
    "a value that is none": ({"id_prop.csv": TABLE.replace("3", "x"), "bad.cif": CIF}, row("target")),
    "an id twice": ({"id_prop.csv": TABLE.replace("bad", "good-0")}, row("unique")),
    "a cell of 200 kB": ({"id_prop.csv": TABLE + "x" * 200_000 + ",1\n", "bad.cif": CIF}, row("unreadable")),
    "three cells": ({"id_prop.csv": TABLE + "a,b,c\n"}, line("id_prop.csv: line 5 has 3 cells, expected id,value")),
    "semicolons": ({"id_prop.csv": TABLE.replace(",", ";")}, line("there is no good-0;0.cif in the folder")),
    "commas": ({"id_prop.csv": ",\n,\n"}, line("id_prop.csv: has no lines")),
    "an empty table": ({"id_prop.csv": ""}, line("id_prop.csv: has no lines")),
    "no table": ({"id_prop.csv": None}, line("a folder needs an id_prop.csv with lines id,value")),
    "a folder as table": ({"id_prop.csv": lambda path: path.mkdir()}, line("a folder needs an id_prop.csv")),
    "a table that leads out": ({"id_prop.csv": linked_out}, line(f"id_prop.csv {LINKED_OUT}")),
    "a table in UTF-16": ({"id_prop.csv": TABLE.encode("utf-16")}, line("rows were rejected")),
}


def make(path: Path, content: Made) -> None:
    """What `content` says, at that path."""
    if callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def of_file(name: str, content: Made) -> Callable[[Path], Path]:
    def source(folder: Path) -> Path:
        make(folder / name, content)
        return folder / name

    return source


def of_folder(files: dict[str, Made]) -> Callable[[Path], Path]:
    def source(folder: Path) -> Path:
        (folder / "cifs").mkdir()
        usual: dict[str, Made] = {f"good-{n}.cif": CIF for n in range(3)} | {"id_prop.csv": TABLE}
        for name, content in (usual | files).items():
            make(folder / "cifs" / name, content)
        return folder / "cifs"

    return source


def nowhere(name: str) -> Callable[[Path], Path]:
    return lambda folder: folder / name


CASES: dict[str, tuple[Callable[[Path], Path], Expected]] = {
    **{f"row: {n}": (of_file("t.jsonl", "\n".join(map(json.dumps, rows_with(c)))), e) for n, (c, e) in ROWS.items()},
    **{f"Parquet: {name}": (of_file("t.parquet", as_parquet(c)), e) for name, (c, e) in PARQUET.items()},
    **{f"file: {name}": (of_file(file, content), e) for name, (file, content, e) in FILES.items()},
    **{f"folder: {name}": (of_folder(files), e) for name, (files, e) in FOLDERS.items()},
    "path: a folder named as a table": (of_file("x.csv", lambda path: path.mkdir()), line("needs an id_prop.csv")),
    "path: a pipe": (of_file("x.csv", os.mkfifo), line("unknown kind of file")),
    "path: a link that leads nowhere": (of_file("x.csv", lambda path: path.symlink_to("no")), line("no such file")),
    "path: a link to itself": (of_file("x.csv", lambda path: path.symlink_to(path)), line("no such file")),
    "path: a name too long": (nowhere("x" * 300 + ".csv"), line("no such file")),
    "path: a name with a newline": (nowhere("a\nb.csv"), line("no such file")),
    "path: a name with a NUL": (nowhere("a\0b.csv"), line("no such file")),
}


def one_line(text: str) -> bool:
    """Not empty, printable, and short enough to be read."""
    return text.isprintable() and 20 < len(text) < 800


def outcome(source: Path, work: Path) -> tuple[dict[str, str], int]:
    """The rule by which each rejected row was rejected, and how many rows became graphs."""
    found = check_source(str(source), None)
    for name in ("down", "out", "graphs"):
        (work / name).mkdir(parents=True)
    spec = download.DownloadSpec(output=work / "down", scratch=work, source=found.source, contents=str(found.contents))
    download.build(spec)
    checks = ChecksConfig(max_rejected=1.0)
    structures = work / "down/structures.parquet"
    facts = validate.build(
        validate.ValidateSpec(
            output=work / "out", scratch=work, structures=structures, target=found.target, checks=checks
        )
    )
    rejected = pq.read_table(work / "out/rejected.parquet").to_pylist()
    (shard,) = (work / "out").glob("structures-*.parquet")
    counts = graphs.build(
        graphs.GraphsSpec(
            output=work / "graphs", scratch=work, structures=shard, target=found.target, config=GraphConfig()
        )
    )
    rejected += pq.read_table(work / "graphs/rejected.parquet").to_pylist()
    assert facts["rows"] == len(rejected) + counts["accepted"]
    assert all(len(each["message"].strip()) > 10 for each in rejected)
    return {each["material_id"]: each["rule"] for each in rejected}, counts["accepted"]


@pytest.mark.parametrize("name", CASES)
def test_a_damaged_source(name, tmp_path, capsys):
    build, expected = CASES[name]
    (tmp_path / "in").mkdir()
    source = build(tmp_path / "in")
    if expected[0] != "line":
        rejected, accepted = outcome(source, tmp_path / "work")
        assert list(rejected.values()) == ([] if expected == READ else [expected[1]])
        assert accepted >= 3
        return
    with pytest.raises(InputError) as fault:
        outcome(source, tmp_path / "work")
    assert expected[1] in str(fault.value)
    assert one_line(str(fault.value))
    if not (tmp_path / "work").exists():  # the check refused it
        with pytest.raises(SystemExit) as end:
            cli.main(["retrain", f"--source={source}", f"--store={tmp_path / 'store'}"])
        assert end.value.code == 2
        assert capsys.readouterr().err.strip().removeprefix("cgcnn: ") == str(fault.value)

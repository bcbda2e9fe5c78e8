"""Whatever the client's model raises on one document is that row's rejection, and nobody else's."""

import copy
import json
import math
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crystals.materials_project.targets import TARGETS
from storage import schemas

JUNK: list[Any] = [None, 0, -1, 1e400, math.nan, True, "", "x", [], [[]], [None], {}, {"x": None}, 10**400, "\ud800"]


@pytest.fixture(scope="session")
def document(generated) -> dict[str, Any]:
    """A document that the model takes, with every field that is asked for."""
    from crystals.materials_project.documents import FIELDS

    (entry, *_) = [e for e in generated.entries(200, ["2025.09.25"], 0, 0) if e.values["bulk_modulus"]]
    return generated.document(entry, list(FIELDS))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of everything inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inside:
        yield (*path, key)
        yield from places(each, (*path, key))


def changed(document: dict[str, Any], path: tuple[Any, ...], value: Any, *, remove: bool = False) -> dict[str, Any]:
    """A copy with something else at the path, or without what is there."""
    made = copy.deepcopy(document)
    inside: Any = made
    for key in path[:-1]:
        inside = inside[key]
    if remove:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return made


def table(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the structures table that the documents give."""
    from crystals.materials_project.documents import rows_of
    from crystals.sources.batches import batches_of

    batches = list(batches_of(rows_of(documents, {}), schemas.database(list(TARGETS))))
    return pa.Table.from_batches(batches).to_pylist()


STRUCTURES = {
    "no sites": {"@module": "x", "@class": "y"},
    "a text": "NaCl",
    "a list": [1, 2],
    "a number": 5,
    "empty": {},
    "a molecule": {"@module": "pymatgen.core.structure", "@class": "Molecule", "sites": [], "charge": 0},
}


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_that_is_none(document, name):
    (row,) = table([document | {"structure": STRUCTURES[name]}])
    assert row["fault_rule"] == "unreadable"
    assert row["fault_message"].startswith("not as emmet's SummaryDoc has it: ")
    assert len(row["fault_message"]) > 45
    assert row["material_id"] == document["material_id"]
    assert row["last_updated"] == document["last_updated"]


@settings(max_examples=300)
@given(data=st.data(), junk=st.sampled_from(JUNK), remove=st.booleans())
def test_a_document_that_is_broken_anywhere_is_a_row(document, data, junk, remove):
    """Something in it is missing, or is something else: it is a row all the same, and its neighbour is read."""
    # Nobody gets a document without its id: the download asks by id, and says that it did not come.
    somewhere = [path for path in places(document) if path != ("material_id",)]
    path = data.draw(st.sampled_from(somewhere))
    other = document | {"material_id": "mp-2"}
    rows = {row["material_id"]: row for row in table([changed(document, path, junk, remove=remove), other])}
    assert set(rows) == {document["material_id"], "mp-2"}
    assert rows["mp-2"]["fault_rule"] is None
    broken = rows[document["material_id"]]
    if broken["fault_rule"]:
        assert broken["fault_message"].strip()
        assert broken["lattice"] is None


@pytest.mark.parametrize("properties", [{"a": {"@module": "no.such.module", "@class": "X"}}, "x", [1]])
def test_a_site_with_properties_that_nobody_can_read(document, properties):
    sites = [site | {"properties": properties} for site in document["structure"]["sites"]]
    (row,) = table([document | {"structure": document["structure"] | {"sites": sites}}])
    assert row["fault_rule"] in {None, "unreadable"}


def test_one_such_document_costs_one_row_of_a_download(run, spec, materials_project):
    usual = run(spec())
    patches: dict[str, Any] = {usual.ids[n]: {"structure": s} for n, s in enumerate(STRUCTURES.values(), start=20)}
    patches[usual.ids[40]] = {"builder_meta": "none", "symmetry": 7}
    patches[usual.ids[41]] = {"elements": 5, "last_updated": [], "band_gap": "wide"}
    try:
        materials_project.tell(patches=patches)
        made = run(spec())
    finally:
        materials_project.tell(patches={})
    faults = {row["material_id"]: row["fault_message"] for row in made.table.to_pylist() if row["fault_rule"]}
    before = {row["material_id"] for row in usual.table.to_pylist() if row["fault_rule"]}
    assert made.ids == usual.ids
    assert set(faults) == before | set(patches)
    assert "KeyError: 'sites'" in faults[usual.ids[20]], json.dumps(faults, indent=1)

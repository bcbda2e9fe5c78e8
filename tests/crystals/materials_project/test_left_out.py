"""Documents that must not come are left out by the listing: nobody fetches them, at this release or the next."""

from collections.abc import Callable, Iterator

import pytest

from crystals.config import MaterialsProjectQuery
from storage.errors import InputError

RESTRICTED = {"builder_meta": {"license": "BY-NC"}}


@pytest.fixture
def patch(materials_project) -> Iterator[Callable[..., None]]:
    """patch(material_id={field: value}): the service's documents of these ids are otherwise, until the test ends."""

    def make(patches: dict) -> None:
        materials_project.tell(patches=patches)
        materials_project.tell()

    yield make
    materials_project.tell(patches={})


def test_what_is_left_out_for_its_licence_is_never_fetched(run, spec, materials_project, patch):
    usual = run(spec())
    restricted = usual.ids[3:40:5]
    patch(dict.fromkeys(restricted, RESTRICTED) | {usual.ids[50]: {"deprecated": True}})
    first = run(spec())
    asked = materials_project.tell()
    assert first.ids == [name for name in usual.ids if name not in {*restricted, usual.ids[50]}]
    assert first.facts["left_out"] == len(restricted) + 1
    assert asked["structures"] == first.facts["fetched"] == first.facts["new"] == len(first.ids)

    version = materials_project.moves_on(changed=0)
    patch(dict.fromkeys(restricted, RESTRICTED) | {usual.ids[50]: {"deprecated": True}})
    second = run(spec(version=version, before=first.path, before_query=MaterialsProjectQuery()))
    assert (second.facts["new"], second.facts["changed"], second.facts["removed"]) == (0, 0, 0)
    assert second.facts["left_out"] == len(restricted) + 1
    # What cannot be read is asked for again, in case that the client has learned to; nothing else is.
    assert materials_project.tell().get("structures", 0) == second.facts["fetched"] == first.facts["unreadable"] < 10
    assert second.path.read_bytes() == first.path.read_bytes()


def test_a_licence_that_changes_without_a_stamp_is_seen(run, spec, patch):
    """Neither what an earlier download has of a material, nor that it was left out, outlives its licence."""
    free = run(spec())
    name = free.ids[7]
    patch({name: RESTRICTED})
    held = run(spec(before=free.path, before_query=MaterialsProjectQuery()))
    assert held.ids == [each for each in free.ids if each != name]
    assert held.facts["removed"] == 1
    patch({})
    again = run(spec(before=held.path, before_query=MaterialsProjectQuery()))
    assert again.facts["new"] == 1
    assert again.path.read_bytes() == free.path.read_bytes()


def test_non_commercial_documents_come_when_they_are_asked_for(run, spec, patch):
    name = run(spec(query={"limit": 5})).ids[0]
    patch({name: RESTRICTED})
    assert name in run(spec(query={"limit": 5, "include_gnome": True})).ids
    with pytest.raises(InputError, match="no material fits the query; 1 that do are deprecated or non-commercial"):
        run(spec(query={"material_ids": [name]}))

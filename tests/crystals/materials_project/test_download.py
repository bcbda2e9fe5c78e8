"""From the service to the structures table: complete, exact, and only what is asked for."""

import inspect
import itertools
from typing import get_args

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError
from pymatgen.core import Structure

from crystals import validate
from crystals.config import ChecksConfig, MaterialsProjectQuery, Property
from crystals.table import crystals_of
from storage import schemas
from storage.errors import InputError


def wanted(entry):
    """What a query without filters takes."""
    return not entry.values["deprecated"] and entry.batch is None


def ids(entries):
    """As the table has them."""
    return sorted(entry.material_id for entry in entries)


def test_the_documents_are_what_emmet_says_they_are(generated, collection):
    from emmet.core.summary import SummaryDoc

    for entry in collection[:200]:
        if entry.fault is None:
            SummaryDoc.model_validate(generated.document(entry, None))
    (broken, *_) = [e for e in collection if e.fault == "not as the model has it"]
    with pytest.raises(ValidationError):
        SummaryDoc.model_validate(generated.document(broken, None))


def test_every_material_comes_once_with_what_is_known_of_it(run, spec, collection, generated):
    made = run(spec())
    entries = {e.material_id: e for e in collection if wanted(e)}
    assert made.ids == sorted(entries)
    readable = made.table.filter(made.table["fault_rule"].is_null())
    assert len(readable) > 540
    batch = readable.combine_chunks().to_batches()[0]
    for row, crystal in zip(batch.to_pylist(), crystals_of(batch), strict=True):
        entry = entries[row["material_id"]]
        document = generated.document(entry, None)
        structure = Structure.from_dict(document["structure"])
        assert crystal.lattice == pytest.approx(structure.lattice.matrix)
        assert crystal.atomic_numbers.tolist() == list(structure.atomic_numbers)
        assert crystal.frac_coords == pytest.approx(structure.frac_coords)
        assert row["formula"] == structure.composition.reduced_formula
        assert row["spacegroup_number"] == document["symmetry"]["number"]
        assert row["last_updated"] == document["last_updated"]
        assert row["functional"] == ("GGA+U" if "O" in entry.elements else "GGA")
        assert row["formation_energy_per_atom"] == document["formation_energy_per_atom"]
        assert row["is_metal"] == float(document["is_metal"])
        assert row["k_vrh"] == (document["bulk_modulus"] or {}).get("vrh")
        assert row["homogeneous_poisson"] == document["homogeneous_poisson"]
    assert made.facts["rows"] == made.facts["new"] == len(entries)
    assert "2025.09.25" in made.facts["note"]


def test_targets_have_units(run, spec):
    schema = run(spec(query={"limit": 5})).table.schema
    units = {name: (schema.field(name).metadata or {}).get(b"unit", b"").decode() for name in schema.names}
    assert (units["formation_energy_per_atom"], units["band_gap"], units["k_vrh"]) == ("eV/atom", "eV", "GPa")
    assert (units["total_magnetization"], units["n"]) == ("μB", "")


QUERIES = {
    "elements": ({"elements": ["Li", "O"]}, lambda e: {"Li", "O"} <= set(e.elements)),
    "without": ({"exclude_elements": ["O", "F"]}, lambda e: not {"O", "F"} & set(e.elements)),
    "binary": ({"num_elements": 2}, lambda e: e.values["nelements"] == 2),
    "counts": ({"num_elements": [3, 4], "num_sites": [1, 5]}, lambda e: e.values["nelements"] == 3),
    "energy": ({"formation_energy": [-1.0, 0.0]}, lambda e: -1 <= e.values["formation_energy_per_atom"] <= 0),
    "half-open": ({"band_gap": [0.5, None]}, lambda e: e.values["band_gap"] >= 0.5),
    "hull": ({"energy_above_hull": [0, 0.02]}, lambda e: e.values["energy_above_hull"] <= 0.02),
    "stable": ({"is_stable": True}, lambda e: e.values["is_stable"]),
    "made": ({"theoretical": False}, lambda e: not e.values["theoretical"]),
    "group": ({"spacegroup_number": 216}, lambda e: e.values["spacegroup_number"] == 216),
    "groups": ({"spacegroup_number": [216, 221]}, lambda e: e.values["spacegroup_number"] in {216, 221}),
    "computed": ({"has_props": ["elasticity"]}, lambda e: e.values["bulk_modulus"] is not None),
    "chapter": (
        {"num_elements": [1, 4], "formation_energy": [-10, 0]},
        lambda e: e.values["formation_energy_per_atom"] <= 0,
    ),
}


@pytest.mark.parametrize("name", QUERIES)
def test_a_filter_takes_what_fits_it(name, run, spec, collection):
    query, fits = QUERIES[name]
    made = run(spec(query=query))
    assert made.ids == ids(e for e in collection if wanted(e) and fits(e))


def test_more_excluded_elements_than_the_service_takes(run, spec, collection, generated):
    many = [*generated.CATIONS[3:], *generated.ANIONS[:11]]
    assert len(",".join(many)) > 60
    made = run(spec(query={"exclude_elements": many}))
    assert made.ids == ids(e for e in collection if wanted(e) and not set(many) & set(e.elements))


def test_material_ids_from_a_list_or_a_file(run, spec, collection, tmp_path, caplog):
    caplog.set_level("INFO")
    asked = [e.material_id for e in collection[:400]]
    (tmp_path / "ids.csv").write_text("material_id,more\n" + "\n".join(f"{i},x" for i in [*asked, "mp-999999999"]))
    by_file = run(spec(query={"material_ids": str(tmp_path / "ids.csv")}))
    by_list = run(spec(query={"material_ids": asked}))
    assert by_file.ids == by_list.ids == ids(e for e in collection[:400] if wanted(e))
    assert by_file.path.read_bytes() == by_list.path.read_bytes()
    gone = 401 - len(by_file.ids)
    assert f"{gone} of 401 material_ids are not there" in caplog.text


def test_a_limit_takes_the_first_in_the_service_s_order(run, spec, collection, materials_project):
    materials_project.tell()
    made = run(spec(query={"limit": 7}))
    assert made.ids == ids([e for e in collection if wanted(e)][:7])
    assert materials_project.tell()["structures"] == 7


def test_gnome_comes_when_it_is_asked_for(run, spec, collection):
    made = run(spec(query={"include_gnome": True}))
    assert made.ids == ids(e for e in collection if not e.values["deprecated"])
    functionals = set(made.table["functional"].to_pylist())
    assert functionals == {"GGA", "GGA+U", "R2SCAN"}
    assert "CC BY-NC" in made.facts["note"]


def test_what_a_server_lets_through_is_still_left_out(generated, collection):
    from crystals.materials_project.documents import unwanted

    for entry in collection[:200]:
        document = generated.document(entry, None)
        told = unwanted(document, non_commercial=False)
        assert told == ("deprecated" if entry.values["deprecated"] else "licence" if entry.batch else None)


def test_no_query_falls_into_the_bulk_route(run, spec, materials_project):
    """The route that the client takes without filters: object storage, which is this service here."""
    run(spec())
    asked = materials_project.tell()
    assert set(asked) == {"heartbeat", "summary", "thermo", "structures"}
    from mp_api.client import MPRester

    from crystals.materials_project.listing import filters_of

    taken = inspect.signature(MPRester(materials_project.key).materials.summary.search).parameters
    for query in ({}, {"limit": 5}, {"include_gnome": True}):
        assert filters_of(MaterialsProjectQuery(**query)).keys() <= set(taken)
        assert filters_of(MaterialsProjectQuery(**query))["deprecated"] is False


def test_every_filter_is_one_that_the_client_knows():
    from emmet.core.summary import HasProps
    from mp_api.client.routes.materials.summary import SummaryRester

    known = inspect.signature(SummaryRester.search).parameters
    assert set(MaterialsProjectQuery.model_fields) - {"limit"} <= set(known)
    assert set(get_args(Property)) <= {prop.value for prop in HasProps}


def test_documents_that_cannot_be_read_are_rows_with_a_fault(run, spec, collection):
    made = run(spec())
    faults = {r["material_id"]: r["fault_message"] for r in made.table.to_pylist() if r["fault_rule"]}
    expected = {e.material_id: e.fault for e in collection if e.fault and wanted(e)}
    assert set(faults) == set(expected)
    assert made.facts["unreadable"] == len(expected) >= 4
    for name, fault in expected.items():
        told = "has no structure" if fault == "no structure" else "not as emmet's SummaryDoc has it: band_gap"
        assert told in faults[name]


def test_a_property_that_few_materials_have_rejects_the_others_without_stopping(run, spec, collection, tmp_path):
    made = run(spec())
    task = validate.ValidateSpec(
        output=tmp_path, scratch=tmp_path, structures=made.path, target="k_vrh", checks=ChecksConfig()
    )
    facts = validate.build(task)
    has = [e for e in collection if wanted(e) and not e.fault and e.values["bulk_modulus"] is not None]
    assert facts["accepted"] == len(has)
    assert facts["accepted"] + facts["rejected"] == facts["rows"] == len(made.ids)
    assert facts["by_rule"]["not_computed"] > 420
    rejected = pq.read_table(tmp_path / "rejected.parquet")
    assert len(rejected) == facts["rejected"]
    with pytest.raises(InputError, match=r"not_computed 5\d\d|none of"):
        validate.build(task.model_copy(update={"target": "efermi"}))


def test_an_updated_database_gives_what_a_download_from_nothing_gives(run, spec, materials_project, generated):
    first = run(spec())
    version = materials_project.moves_on(new=40, removed=20)
    materials_project.tell()
    query = MaterialsProjectQuery()
    second = run(spec(version=version, before=first.path, before_query=query))
    asked = materials_project.tell()
    entries = generated.entries(materials_project.count + 40, [materials_project.version, version], 0.03, 20)
    now = {e.material_id: e for e in entries if wanted(e)}
    changed = [e for e in now.values() if e.stamp.startswith("2025-11-01") and e.material_id in first.ids]
    expected = {
        "new": len(set(now) - set(first.ids)),
        "changed": len(changed),
        "removed": len(set(first.ids) - set(now)),
    }
    assert {name: second.facts[name] for name in expected} == expected
    assert min(expected.values()) > 10
    assert asked["structures"] == second.facts["fetched"] < 100
    fresh = run(spec(version=version))
    assert second.path.read_bytes() == fresh.path.read_bytes()
    assert second.ids == sorted(now)


def test_a_new_version_without_changes_fetches_nothing_and_gives_the_same_bytes(run, spec, materials_project):
    first = run(spec())
    version = materials_project.moves_on(changed=0)
    materials_project.tell()
    second = run(spec(version=version, before=first.path, before_query=MaterialsProjectQuery()))
    assert second.path.read_bytes() == first.path.read_bytes()
    assert second.facts["fetched"] == second.facts["unreadable"]  # a newer client may read what this one cannot


def test_a_label_that_moved_without_its_stamp_is_a_change(run, spec, tmp_path):
    """A new neighbour lowers the hull under materials whose own calculations are years old."""
    first = run(spec())
    place = first.table.schema.get_field_index("energy_above_hull")
    values = first.table["energy_above_hull"].to_pylist()
    values[3] += 0.01
    table = first.table.set_column(place, first.table.schema.field(place), [values])
    pq.write_table(table, tmp_path / "older.parquet")
    second = run(spec(before=tmp_path / "older.parquet", before_query=MaterialsProjectQuery()))
    assert (second.facts["new"], second.facts["changed"]) == (0, 1)
    assert second.path.read_bytes() == first.path.read_bytes()


def test_a_wider_query_fetches_what_the_narrower_one_does_not_have(run, spec, materials_project):
    narrow = MaterialsProjectQuery(elements=["O"])
    first = run(spec(query={"elements": ["O"]}))
    materials_project.tell()
    second = run(spec(before=first.path, before_query=narrow))
    assert second.facts["removed"] == 0
    assert second.facts["new"] == len(second.ids) - len(first.ids)
    assert second.path.read_bytes() == run(spec()).path.read_bytes()


def test_rows_in_are_rows_out_whatever_the_size_of_the_pieces():
    """SortedStream gives every row once, in order, wherever tables begin and whatever is asked for."""
    import pyarrow as pa

    from crystals.materials_project.download import SortedStream

    names = [f"mp-{n:04}" for n in range(60)]
    for piece, step in itertools.product((1, 7, 25, 60), (1, 9, 60)):
        tables = [pa.table({schemas.MATERIAL_ID: names[n : n + piece]}) for n in range(0, 60, piece)]
        rows = SortedStream(tables, tables[0].schema)
        given = []
        for upper in [*names[step - 1 :: step], names[-1]]:
            part = rows.up_to(upper)
            given += part[schemas.MATERIAL_ID].to_pylist()
            assert given == [n for n in names if n <= upper]

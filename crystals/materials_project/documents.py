"""Which fields of a summary document are requested, and how a document becomes a row of the structures table."""

import copy
import json
import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

from emmet.core.summary import SummaryDoc
from pydantic import BaseModel, ValidationError, create_model

from crystals.crystal import Crystal
from crystals.materials_project.targets import TARGETS
from crystals.sources.batches import Row
from crystals.sources.reading import PARSER_ERRORS, Unreadable, from_pymatgen, one_line, parsing
from storage import schemas

NON_COMMERCIAL = "BY-NC"
# With the stamp they tell whether a material changed. They may do so though its own calculations did not: a new
# neighbour lowers the convex hull.
LABELS = ("formation_energy_per_atom", "energy_above_hull", "band_gap")
FIELDS = (
    *("material_id", "structure", "symmetry", "last_updated", "deprecated", "builder_meta"),
    *dict.fromkeys(target.field for target in TARGETS.values()),
)


@cache
def asked_model() -> type[BaseModel]:
    """emmet's SummaryDoc reduced to FIELDS, all of them optional: the model that the client would use."""
    fields: dict[str, Any] = {}
    for name in FIELDS:
        field = copy.copy(SummaryDoc.model_fields[name])
        field.default, field.default_factory = None, None
        fields[name] = (field.annotation | None, field)  # type: ignore[operator]
    return create_model("AskedSummary", **fields)


def unwanted(document: dict[str, Any], *, non_commercial: bool) -> str | None:
    """Why a document must be left out even if the server's filters let it through: `deprecated` or `licence`.

    None if it may come in. With `non_commercial`, documents under CC BY-NC may.
    """
    if document.get("deprecated") is True:
        return "deprecated"
    meta = document.get("builder_meta")
    license_of = meta.get("license") if isinstance(meta, dict) else None
    return "licence" if license_of == NON_COMMERCIAL and not non_commercial else None


def elements_of(document: dict[str, Any]) -> set[str]:
    """The element symbols that a document lists; empty if it has no list."""
    listed = document.get("elements")
    return set(map(str, listed)) if isinstance(listed, list) else set()


def row_of(document: dict[str, Any], functional: str | None) -> Row:
    """The row of a raw document. Where emmet's model raises, the row carries that fault instead of a crystal."""
    known: dict[str, Any] = {**stamp_and_labels(document), schemas.FUNCTIONAL: functional}
    name = document["material_id"]
    try:
        asked: Any = asked_model().model_validate(document)
        values = {name: target.value_in(asked) for name, target in TARGETS.items()}
    except PARSER_ERRORS as error:
        refused = Unreadable("unreadable", f"not as emmet's SummaryDoc has it: {_first_fault(error)}"[:200])
        return Row(name, known, lambda: _refuse(refused))
    group = asked.symmetry.number if asked.symmetry else None
    return Row(name, {**known, **values, "spacegroup_number": group}, lambda: _crystal_of(asked))


def stamp_and_labels(document: dict[str, Any]) -> dict[str, Any]:
    """`last_updated` as text, exactly as the server writes it, and LABELS as floats; None for anything else."""
    stamp = document.get("last_updated")
    text = stamp if stamp is None or isinstance(stamp, str) else json.dumps(stamp, sort_keys=True)
    labels = {name: document.get(name) for name in LABELS}
    return {schemas.LAST_UPDATED: text, **{name: _finite(value) for name, value in labels.items()}}


def _finite(value: Any) -> float | None:
    # Not NaN: it would be another one at each release. Nor an integer that no float can hold.
    return float(value) if isinstance(value, int | float) and abs(value) <= sys.float_info.max else None


def rows_of(documents: Iterable[dict[str, Any]], functionals: dict[str, str]) -> list[Row]:
    """The rows of the documents, sorted by material_id. `functionals` maps material_id to the functional."""
    rows = [row_of(document, functionals.get(document["material_id"])) for document in documents]
    return sorted(rows, key=lambda row: row.material_id)


def _crystal_of(asked: Any) -> Crystal:
    if asked.structure is None:
        raise Unreadable("unreadable", "has no structure")
    with parsing("structure"):
        return from_pymatgen(asked.structure)


def _refuse(reason: Unreadable) -> Crystal:
    raise reason


def _first_fault(error: Exception) -> str:
    if not isinstance(error, ValidationError):  # emmet's own adapters raise what they meet: KeyError, TypeError, …
        return f"{type(error).__name__}: {one_line(error).removeprefix(f'{type(error).__name__}: ')}"
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in fault["loc"][:3])
    return f"{where}: {fault['msg']}"

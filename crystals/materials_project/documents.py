"""What is asked of a summary document, and how it becomes a row of the structures table."""

import copy
import json
from collections.abc import Iterable
from functools import cache
from typing import Any

from emmet.core.summary import SummaryDoc
from pydantic import BaseModel, ValidationError, create_model

from crystals.crystal import Crystal
from crystals.materials_project.targets import TARGETS
from crystals.sources.batches import Row
from crystals.sources.reading import Unreadable, from_pymatgen
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
    """emmet's own model of a summary document, narrowed to FIELDS, none of them required: what the client would use."""
    fields: dict[str, Any] = {}
    for name in FIELDS:
        field = copy.copy(SummaryDoc.model_fields[name])
        field.default, field.default_factory = None, None
        fields[name] = (field.annotation | None, field)  # type: ignore[operator]
    return create_model("AskedSummary", **fields)


def unwanted(document: dict[str, Any], *, non_commercial: bool) -> str | None:
    """Why a document must not come in, whatever the server's filters let through: `deprecated` or `licence`."""
    if document.get("deprecated") is True:
        return "deprecated"
    license_of = (document.get("builder_meta") or {}).get("license")
    return "licence" if license_of == NON_COMMERCIAL and not non_commercial else None


def row_of(document: dict[str, Any], functional: str | None) -> Row:
    """The row of a raw document. One that the client's model refuses becomes a row with the fault in it."""
    known: dict[str, Any] = {**stamp_and_labels(document), schemas.FUNCTIONAL: functional}
    try:
        asked: Any = asked_model().model_validate(document)
    except ValidationError as error:
        refused = Unreadable("unreadable", _first_fault(error))
        return Row(str(document["material_id"]), known, lambda: _refuse(refused))
    known |= {name: target.value_in(asked) for name, target in TARGETS.items()}
    known["spacegroup_number"] = asked.symmetry.number if asked.symmetry else None
    return Row(str(document["material_id"]), known, lambda: _crystal_of(asked))


def stamp_and_labels(document: dict[str, Any]) -> dict[str, Any]:
    """`last_updated` as text, as the server writes it, and LABELS; None for what is no number."""
    stamp = document.get("last_updated")
    text = stamp if stamp is None or isinstance(stamp, str) else json.dumps(stamp, sort_keys=True)
    labels = {name: document.get(name) for name in LABELS}
    numbers = {name: float(v) if isinstance(v, int | float) else None for name, v in labels.items()}
    return {schemas.LAST_UPDATED: text, **numbers}


def rows_of(documents: Iterable[dict[str, Any]], functionals: dict[str, str]) -> list[Row]:
    """Rows sorted by material_id."""
    rows = [row_of(document, functionals.get(str(document["material_id"]))) for document in documents]
    return sorted(rows, key=lambda row: row.material_id)


def _crystal_of(asked: Any) -> Crystal:
    if asked.structure is None:
        raise Unreadable("unreadable", "has no structure")
    return from_pymatgen(asked.structure)


def _refuse(reason: Unreadable) -> Crystal:
    raise reason


def _first_fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in fault["loc"][:3])
    return f"not as emmet's SummaryDoc has it: {where}: {fault['msg']}"[:200]

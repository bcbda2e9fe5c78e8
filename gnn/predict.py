"""The program of prediction: a model and batches of graphs in, one number a structure out."""

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv
import torch
from torch import nn

from gnn.applicability import unseen_elements, warnings_of
from gnn.batches import Graphs
from gnn.checkpoint import load_members
from gnn.device import select_device
from gnn.elements import symbol_of
from gnn.model_card import ModelCard
from gnn.outputs import outputs_of
from gnn.uncertainty import predictions_of
from storage import parts, schemas
from storage.errors import InputError
from storage.exchange import Tables, taken
from storage.program import Facts, Spec, main, progress

PREDICTIONS = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("formula", pa.string(), nullable=False),
        pa.field("predicted", pa.float64()),
        pa.field("error", pa.string()),
        pa.field("warning", pa.string()),
    ]
)
UNCERTAINTY = {"standard_deviation": "uncertainty", "low": "low", "high": "high"}  # as it is computed → column


class PredictSpec(Spec):
    """The model's folder, the folder in which batches of inputs and graphs are offered, and the form of the answer.

    `parts` is the folder that finished rows go to; the first `first_part` parts are there already.
    """

    model: Path
    batches: Path
    parts: Path
    form: Literal[".csv", ".parquet"]
    first_part: int = 0
    device: str = "auto"
    trust_code: bool = False


class Predictor(NamedTuple):
    """The members of a model on a device, its card, and the folder that it came from."""

    folder: Path
    models: list[nn.Module]
    card: ModelCard
    device: torch.device

    @property
    def schema(self) -> pa.Schema:
        """Of the table that it gives: a calibrated model's has the columns of its uncertainty, too."""
        if self.card.calibration is None:
            return PREDICTIONS
        place = PREDICTIONS.get_field_index("predicted") + 1
        fields = list(PREDICTIONS)
        return pa.schema([*fields[:place], *(pa.field(n, pa.float64()) for n in UNCERTAINTY.values()), *fields[place:]])


def build(spec: PredictSpec) -> Facts:
    """Write predictions.csv or .parquet: id, formula, predicted, error, warning; one row an input, in their order.

    A calibrated model's have uncertainty, low and high after `predicted`.
    """
    device = select_device(spec.device)
    predictor = Predictor(spec.model, *load_members(spec.model, device, trust_code=spec.trust_code), device)
    number = spec.first_part
    for table, facts in _parts(predictor, spec):
        parts.write_part(spec.parts, number, table, facts)
        number += 1
    card = predictor.card
    classes = card.task == "classification"
    quantity = f"{card.target}, probability" if classes else f"{card.target} {card.unit}".strip()
    return {
        **_assemble(spec, number, predictor.schema),
        "quantity": quantity,
        "has_ranges": card.ranges is not None,
        "coverage": card.calibration and card.calibration.coverage,
    }


def _parts(predictor: Predictor, spec: PredictSpec) -> Iterator[tuple[pa.Table, Facts]]:
    """The rows of each part, how many of them have each kind of warning, and which elements were never seen."""
    first, pending = spec.first_part * parts.ROWS, Pending()
    cold = spec.first_part > 0
    for batch in taken(spec.batches):
        if cold and len(batch["graphs"]):
            # A process's first product of two small matrices may differ from all later ones in the last bit (MKL). In a
            # run that was not stopped this batch would not be the first.
            _predicted(predictor, batch, Pending())
            cold = False
        pending.tables.append(_predicted(predictor, batch, pending))
        progress("predicted", first + pending.rows, 0)
        if pending.rows >= parts.ROWS:
            yield pending.part()
            first, pending = first + pending.rows, Pending()
    if pending.rows:
        yield pending.part()


@dataclass
class Pending:
    """The batches of a part that is not whole yet, its kinds of warnings, and its elements that were never seen."""

    tables: list[pa.Table] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    unseen: set[int] = field(default_factory=set)

    @property
    def rows(self) -> int:
        """Of all tables."""
        return sum(map(len, self.tables))

    def part(self) -> tuple[pa.Table, Facts]:
        """All rows, and what they do not tell."""
        return pa.concat_tables(self.tables), {"warnings": dict(self.kinds), "unseen": sorted(self.unseen)}


def _predicted(predictor: Predictor, batch: Tables, pending: Pending) -> pa.Table:
    """The rows of a batch of inputs and graphs. What they are warned of is counted in `pending`."""
    inputs, table = batch["inputs"], batch["graphs"]
    schema, empty = predictor.schema, [None] * len(inputs)
    found: dict[str, list[Any]] = {
        n: list(empty) for n in schema.names if n == "warning" or n not in inputs.column_names
    }
    if len(table):
        graphs = Graphs.of(table)
        folder, models, card, device = predictor
        outputs = outputs_of(models, graphs, torch.arange(len(graphs)), card.head.width, device)
        values = {UNCERTAINTY.get(n, n): v.tolist() for n, v in predictions_of(outputs, card).items()}
        positions = list(map(int, table[schemas.MATERIAL_ID].to_pylist()))
        for position, value, warnings in zip(positions, values["predicted"], warnings_of(graphs, card), strict=True):
            if not math.isfinite(value):
                raise InputError(f"{folder}: the model's prediction for {inputs['id'][position]} is {value}")
            found["warning"][position] = "; ".join(warnings.values()) or None
            pending.kinds.update(warnings.keys())
        for name, column in values.items():
            for position, value in zip(positions, column, strict=True):
                found[name][position] = value
        pending.unseen.update(*unseen_elements(graphs, card).values())
    columns = [pa.array(found[f.name], f.type) if f.name in found else inputs[f.name] for f in schema]
    return pa.table(columns, schema=schema)


def _assemble(spec: PredictSpec, number: int, schema: pa.Schema) -> Facts:
    """Write the parts to one file, with one of them in memory at a time; what they count together."""
    counts: Counter[str] = Counter(rows=0, refused=0, warned=0)
    kinds: Counter[str] = Counter()
    unseen: set[int] = set()
    with _writer(spec.output / f"predictions{spec.form}", schema) as write:
        for table, facts in (parts.read_part(spec.parts, each) for each in range(number)):
            write(table)
            refused, warned = (len(table) - table[name].null_count for name in ("error", "warning"))
            counts.update(rows=len(table), refused=refused, warned=warned)
            kinds.update(facts["warnings"])
            unseen.update(facts["unseen"])
    return {**counts, "warnings": dict(kinds), "unseen_elements": [symbol_of(z) for z in sorted(unseen)]}


@contextmanager
def _writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[pa.Table], None]]:
    if path.suffix == ".csv":
        with pa_csv.CSVWriter(path, schema) as writer:
            yield writer.write_table
    else:
        with schemas.table_writer(path, schema) as write:
            yield write


if __name__ == "__main__":
    main(PredictSpec, build)

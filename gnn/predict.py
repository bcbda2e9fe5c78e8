"""The program of prediction: a model and graph shards in, one number a structure out."""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import torch

from gnn.applicability import unseen_elements, warnings_of
from gnn.batches import Graphs
from gnn.checkpoint import load_model
from gnn.elements import symbol_of
from gnn.loop import predict
from gnn.train import select_device
from storage import schemas
from storage.errors import InputError
from storage.program import Facts, Spec, main, progress


class PredictSpec(Spec):
    """The model's folder, the graphs, the table of inputs that they came from, and the form of the answer."""

    model: Path
    graphs: list[Path]
    inputs: Path
    form: Literal[".csv", ".parquet"]
    device: str = "auto"
    trust_code: bool = False


def build(spec: PredictSpec) -> Facts:
    """Write predictions.csv or .parquet: id, formula, predicted, error, warning; one row an input, in their order."""
    device = select_device(spec.device)
    model, card = load_model(spec.model, device, trust_code=spec.trust_code)
    inputs = pq.read_table(spec.inputs)
    predicted: list[float | None] = [None] * len(inputs)
    warned: list[str | None] = [None] * len(inputs)
    kinds: Counter[str] = Counter()
    unseen: set[int] = set()
    total, done = sum(pq.read_metadata(path).num_rows for path in spec.graphs), 0
    for table in _parts(spec.graphs):
        graphs = Graphs.of(table)
        values = predict(model, graphs, torch.arange(len(graphs)), card.scaling, device).tolist()
        positions = map(int, table[schemas.MATERIAL_ID].to_pylist())
        for position, value, warnings in zip(positions, values, warnings_of(graphs, card), strict=True):
            if not math.isfinite(value):
                raise InputError(f"{spec.model}: the model's prediction for {inputs['id'][position]} is {value}")
            predicted[position] = value
            warned[position] = "; ".join(warnings.values()) or None
            kinds.update(warnings.keys())
        unseen.update(*unseen_elements(graphs, card).values())
        done += len(graphs)
        progress("predicted", done, total)
    columns = {"predicted": pa.array(predicted, pa.float64()), "warning": pa.array(warned, pa.string())}
    table = inputs.select(["id", "formula", "error"]).add_column(2, "predicted", columns["predicted"])
    _write(table.append_column("warning", columns["warning"]), spec.output / f"predictions{spec.form}")
    return {
        "predicted": done,
        "target": card.target,
        "unit": card.unit,
        "warned": len(warned) - warned.count(None),
        "warnings": dict(kinds),
        "unseen_elements": [symbol_of(z) for z in sorted(unseen)],
        "has_ranges": card.ranges is not None,
    }


def _parts(shards: Sequence[Path]) -> Iterator[pa.Table]:
    """The graphs of the shards, a row group in memory at a time; row groups without rows are left out."""
    for path in shards:
        with pq.ParquetFile(path) as file:
            names = [name for name in file.schema_arrow.names if name != "edge_image"]
            for group in range(file.num_row_groups):
                if file.metadata.row_group(group).num_rows:
                    yield file.read_row_group(group, columns=names)


def _write(table: pa.Table, path: Path) -> None:
    if path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        schemas.write_table(table, path)


if __name__ == "__main__":
    main(PredictSpec, build)

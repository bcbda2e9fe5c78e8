"""The program of prediction: a model and graph shards in, one number a structure out."""

from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import torch

from gnn.batches import Graphs
from gnn.checkpoint import load_model
from gnn.elements import symbol_of
from gnn.loop import predict
from gnn.train import chosen_device
from storage import schemas
from storage.program import Facts, Spec, main


class PredictSpec(Spec):
    """The model's folder, the graphs, the table of inputs that they came from, and the form of the answer."""

    model: Path
    graphs: list[Path]
    inputs: Path
    form: Literal[".csv", ".parquet"]
    device: str = "auto"


def build(spec: PredictSpec) -> Facts:
    """Write predictions.csv or .parquet: id, formula, predicted, error; one row an input, in the inputs' order."""
    device = chosen_device(spec.device)
    model, card = load_model(spec.model, device)
    graphs = Graphs.read(spec.graphs)
    positions = [int(name) for name in graphs.table[schemas.MATERIAL_ID].to_pylist()]
    values = predict(model, graphs, torch.arange(len(graphs)), card.scaling, device).tolist()
    by_position = dict(zip(positions, values, strict=True))
    inputs = pq.read_table(spec.inputs)
    predicted = pa.array([by_position.get(n) for n in range(len(inputs))], pa.float64())
    table = inputs.select(["id", "formula", "error"]).add_column(2, "predicted", predicted)
    path = spec.output / f"predictions{spec.form}"
    if spec.form == ".csv":
        pa_csv.write_csv(table, path)
    else:
        schemas.write_table(table, path)
    unseen = [symbol_of(z) for z in sorted(set(graphs.z.unique().tolist()) - set(card.elements))]
    return {"predicted": len(values), "target": card.target, "unit": card.unit, "unseen_elements": unseen}


if __name__ == "__main__":
    main(PredictSpec, build)

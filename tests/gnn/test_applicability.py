"""What is unlike the training structures is warned of; what is like them is not."""

import json
import tempfile
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from gnn import predict, train
from gnn.applicability import training_elements, training_ranges, warnings_of
from gnn.batches import Graphs
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from gnn.model_card import ModelCard, read_card
from storage.exchange import offer

TARGET = "energy_ev"


@pytest.fixture(scope="module")
def graphs(table) -> Graphs:
    return Graphs.of(table)


@pytest.fixture(scope="module")
def card(graphs) -> ModelCard:
    """Of a model trained on every graph of up to three atoms."""
    rows = torch.tensor([n for n in range(120) if n % 6 < 3])
    return ModelCard(
        model=ModelConfig(),
        graph_config={},
        target=TARGET,
        unit="eV",
        task="regression",
        threshold=0.0,
        mean=0.0,
        deviation=1.0,
        elements=training_elements(graphs, rows),
        ranges=training_ranges(graphs, rows),
    )


def changed(table: pa.Table, row: int, **columns) -> Graphs:
    """The graph of one row with other values."""
    return Graphs.of(pa.Table.from_pylist([table.slice(row, 1).to_pylist()[0] | columns], schema=table.schema))


def test_ranges_are_those_of_the_training_rows(card, table):
    rows = [row for n, row in enumerate(table.to_pylist()) if n % 6 < 3]
    assert card.ranges.atoms == (1, 3)
    assert card.ranges.volume_per_atom == (16.0, 18.0)
    assert card.ranges.shortest_distance == (
        min(min(row["edge_distance"]) for row in rows),
        max(min(row["edge_distance"]) for row in rows),
    )
    assert card.elements == sorted({z for row in rows for z in row["atomic_numbers"]})


def test_training_structures_are_not_warned_of(card, graphs):
    found = warnings_of(graphs, card)
    assert all(not found[n] for n in range(120) if n % 6 < 3)


@pytest.mark.parametrize(
    ("columns", "kind", "message"),
    [
        ({"atomic_numbers": [74, 8]}, "elements never seen", "elements never seen in training: W"),
        ({"cell_volume_per_atom": 40.0}, "volume per atom", "volume per atom 40 Å³, in training 16 to 18"),
        (
            {"edge_distance": [2.5, 2.5, 0.9, 2.5, 2.5, 2.5]},
            "shortest distance",
            "shortest distance 0.9 Å, in training",
        ),
        ({"edge_distance": [8.0] * 6}, "shortest distance", "shortest distance 8 Å, in training"),
    ],
)
def test_each_kind_of_difference_is_named(card, table, columns, kind, message):
    (found,) = warnings_of(changed(table, 1, **columns), card)
    assert list(found) == [kind]
    assert found[kind].startswith(message)


def test_a_larger_cell_than_any_in_training_is_named(card, graphs):
    assert warnings_of(graphs, card)[5]["number of atoms"] == "number of atoms 6, in training 1 to 3"


def test_rounded_coordinates_are_no_reason(card, table):
    assert warnings_of(changed(table, 1, cell_volume_per_atom=18.0 * 1.0005), card) == [{}]


def test_a_model_without_ranges_warns_of_elements_alone(card, graphs, table):
    old = card.model_copy(update={"ranges": None})
    assert all(not found for found in warnings_of(graphs, old))
    assert list(warnings_of(changed(table, 5, atomic_numbers=[74] * 6), old)[0]) == ["elements never seen"]


def test_a_training_stores_what_its_training_rows_have_and_predictions_are_compared_with_it(table, tmp_path):
    """Uranium in the validation and test rows alone is an element that the model never saw."""
    names = np.array(["train", "validation", "test", "train", "train", "train"])[np.arange(120) % 6]
    numbers = [
        [3] * len(row) if split == "train" else [92] * len(row)
        for row, split in zip(table["atomic_numbers"].to_pylist(), names, strict=True)
    ]
    where, field = table.schema.get_field_index("atomic_numbers"), table.schema.field("atomic_numbers")
    rows = table.set_column(where, field, pa.array(numbers, field.type)).append_column("split", pa.array(names))
    shard = tmp_path / "graphs.parquet"
    pq.write_table(rows, shard)
    model = tmp_path / "model"
    model.mkdir()
    train.build(
        train.TrainSpec(
            output=model,
            scratch=tmp_path,
            graphs=[shard],
            graph_config={"cutoff": 8.0},
            target=TARGET,
            unit="eV",
            model=ModelConfig(atom_fea_len=8, h_fea_len=8, n_conv=1),
            train=TrainConfig(epochs=1),
            split=SplitConfig(),
            device="cpu",
        )
    )
    card = read_card(model)
    assert card.elements == [3]
    assert card.ranges.atoms == (1, 6)

    answer = predicted(model, rows, tmp_path)
    assert answer["warned"] == 40
    assert answer["warnings"] == {"elements never seen": 40}
    assert answer["unseen_elements"] == ["U"]
    found = pq.read_table(tmp_path / "predictions.parquet")
    assert [w is not None for w in found["warning"].to_pylist()] == (names != "train").tolist()

    old = json.loads((model / "model.json").read_text())
    del old["ranges"]
    (model / "model.json").write_text(json.dumps(old))
    assert predicted(model, rows, tmp_path)["has_ranges"] is False


def predicted(model, rows: pa.Table, folder) -> dict:
    """The facts of predicting `rows`, in batches of 50."""
    work = Path(tempfile.mkdtemp(dir=folder))
    columns = rows.select(["material_id", "formula"]).rename_columns(["id", "formula"])
    inputs = columns.append_column("error", [pa.nulls(len(rows), pa.string())])
    batches = []
    for start in range(0, len(rows), 50):
        graphs = rows.slice(start, 50)
        names = [str(n) for n in range(len(graphs))]
        graphs = graphs.set_column(0, rows.schema.field(0), [names])
        batches.append({"inputs": inputs.slice(start, 50), "graphs": graphs})
    offering = threading.Thread(target=offer, args=[work, batches], daemon=True)
    offering.start()
    spec = predict.PredictSpec(
        output=folder, scratch=folder, model=model, batches=work, parts=work, form=".parquet", device="cpu"
    )
    return predict.build(spec)

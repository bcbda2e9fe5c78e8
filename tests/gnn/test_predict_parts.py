"""The parts of a prediction: the table has the same bytes wherever an attempt has stopped."""

import shutil
import subprocess
import sys
import threading

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest
import torch

from crystals.table import list_column
from gnn import predict
from gnn.checkpoint import save_model
from gnn.config import ModelConfig
from gnn.model_card import ModelCard, TrainingRanges
from gnn.models.registry import build_model
from storage import parts, schemas
from storage.exchange import offer

BATCH, PART, BATCHES = 4, 8, 5  # rows, rows, and batches of which the last is shorter


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS", PART)
        patch.setattr(schemas, "ROW_GROUP", PART)
        yield


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of random weights that was trained on hydrogen."""
    torch.manual_seed(0)
    config = ModelConfig(atom_fea_len=32, h_fea_len=32)
    folder = tmp_path_factory.mktemp("model")
    ranges = TrainingRanges(volume_per_atom=(1, 100), atoms=(1, 2), shortest_distance=(1, 9))
    card = ModelCard(
        model=config,
        graph_config={},
        target="energy_ev",
        unit="eV",
        task="regression",
        threshold=0.0,
        mean=1.0,
        deviation=2.0,
        elements=[1],
        ranges=ranges,
    )
    save_model(build_model(config).state_dict(), card, folder)
    return folder


def batch(number: int) -> dict[str, pa.Table]:
    """Rings of atoms; every third input has no graph, and the second batch none at all."""
    rows = range(BATCH if number < BATCHES - 1 else BATCH - 1)
    there = [row for row in rows if row % 3 and number != 1]
    sizes = [row + 1 for row in there]
    edges = [np.arange(size, dtype=np.int32) for size in sizes]
    graphs = {
        "material_id": [str(row) for row in there],
        "atomic_numbers": list_column([np.full(size, 1 + number, np.uint8) for size in sizes], pa.uint8()),
        "multiplicity": list_column([np.ones(size, np.uint16) for size in sizes], pa.uint16()),
        "edge_source": list_column([np.roll(edge, 1) for edge in edges], pa.int32()),
        "edge_target": list_column(edges, pa.int32()),
        "edge_distance": list_column([np.full(size, 2.0, np.float32) for size in sizes], pa.float32()),
        "edge_image": list_column([np.zeros(3 * size, np.int16) for size in sizes], pa.int16()),
        schemas.CELL_VOLUME_PER_ATOM: pa.array([20.0] * len(there), pa.float64()),
    }
    errors = pa.array([None if row in there else f"reason {row}" for row in rows], pa.string())
    inputs = pa.table({"id": [f"{number}-{row}" for row in rows], "formula": ["H"] * len(rows), "error": errors})
    return {"inputs": inputs, "graphs": pa.table(graphs)}


def prepared(model, folder, form, first_part):
    """The spec of an attempt; the batches after `first_part` parts that are there are being offered."""
    number = len(list(folder.glob("attempt-*")))
    offered, output = folder / f"attempt-{number}", folder / f"output-{number}"
    for path in (offered, output, folder / "parts"):
        path.mkdir(exist_ok=True)
    batches = [batch(n) for n in range(first_part * PART // BATCH, BATCHES)]
    threading.Thread(target=offer, args=[offered, batches], daemon=True).start()
    return predict.PredictSpec(
        output=output,
        scratch=output,
        model=model,
        batches=offered,
        parts=folder / "parts",
        form=form,
        first_part=first_part,
        device="cpu",
    )


def run(model, folder, form=".csv", first_part=0):
    """The bytes of the table, and the facts."""
    spec = prepared(model, folder, form, first_part)
    facts = predict.build(spec)
    return (spec.output / f"predictions{form}").read_bytes(), facts


@pytest.mark.parametrize("form", [".csv", ".parquet"])
def test_wherever_an_attempt_has_stopped_the_table_has_the_same_bytes_and_the_counts_are_the_same(
    model, tmp_path, form
):
    run(model, tmp_path)  # a process's first prediction may differ in the last bit
    whole, facts = run(model, tmp_path, form)
    kept = shutil.copytree(tmp_path / "parts", tmp_path / "kept")
    assert parts.finished(kept) == (3, BATCHES * BATCH - 1)
    assert facts["rows"] == BATCHES * BATCH - 1
    assert facts["unseen_elements"] == ["Li", "Be", "B"]
    for done in range(4):
        shutil.rmtree(tmp_path / "parts")
        (tmp_path / "parts").mkdir()
        for number in range(done):
            shutil.copy(kept / f"{number:08}.parquet", tmp_path / "parts")
        assert run(model, tmp_path, form, first_part=done) == (whole, facts)


def test_the_table_is_written_by_parts_as_it_would_be_at_once(model, tmp_path):
    _, facts = run(model, tmp_path)
    rows = pa.concat_tables([parts.read_part(tmp_path / "parts", number)[0] for number in range(3)])
    assert rows["error"].null_count == facts["rows"] - facts["refused"]
    pa_csv.write_csv(rows, tmp_path / "at_once.csv")
    schemas.write_table(rows, tmp_path / "at_once.parquet")
    assert run(model, tmp_path)[0] == (tmp_path / "at_once.csv").read_bytes()
    assert run(model, tmp_path, ".parquet")[0] == (tmp_path / "at_once.parquet").read_bytes()
    assert pq.read_metadata(tmp_path / "at_once.parquet").num_row_groups == 3


def test_a_finished_part_is_not_computed_again(model, tmp_path):
    """Another number in it stays."""
    run(model, tmp_path)
    table, facts = parts.read_part(tmp_path / "parts", 0)
    column = table.schema.get_field_index("predicted")
    other = table.set_column(column, table.schema.field(column), pa.array([123.5] * len(table)))
    parts.write_part(tmp_path / "parts", 0, other, facts)
    written, _ = run(model, tmp_path, first_part=1)
    assert [b"123.5" in line for line in written.splitlines()[1:]] == [True] * PART + [False] * (
        BATCHES * BATCH - 1 - PART
    )


def test_the_first_batch_of_a_new_process_has_the_bits_that_it_has_in_an_old_one(model, tmp_path):
    """Without care a process's first product of small matrices, of 5 atoms here, differs in the last bit."""
    run(model, tmp_path)
    whole, _ = run(model, tmp_path)
    spec = prepared(model, tmp_path, ".csv", 1)
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    subprocess.run([sys.executable, "-m", "gnn.predict", tmp_path / "spec.json"], check=True, timeout=120)
    assert (spec.output / "predictions.csv").read_bytes() == whole

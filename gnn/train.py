"""The program of the training step: graph shards in, weights, history, predictions and gates out."""

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from tqdm import tqdm

from gnn.applicability import training_elements, training_ranges
from gnn.batches import Graphs
from gnn.checkpoint import save_model
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from gnn.gates import gate_table
from gnn.loop import Data, EpochMetrics, fit, predict
from gnn.model_card import ModelCard
from gnn.models.registry import build_model
from gnn.scores import Scaling
from gnn.splits import NAMES, assign
from storage import schemas
from storage.checkpoints import CHECKPOINTS
from storage.errors import InputError
from storage.program import Facts, Spec, main

log = logging.getLogger(__name__)


class TrainSpec(Spec):
    """The training's inputs: graph shards, the configuration they were built with, the target and its unit, the model,
    the training and the split, and the device (auto, cpu, cuda).
    """

    graphs: list[Path]
    graph_config: dict[str, Any]
    target: str
    unit: str
    model: ModelConfig
    train: TrainConfig
    split: SplitConfig
    device: str = "auto"


def build(spec: TrainSpec) -> Facts:
    """Write model.safetensors, model.json, history, predictions and, where the model has gates, gates.parquet."""
    device = select_device(spec.device)
    graphs = Graphs.read(spec.graphs)
    splits, split_by = assign(graphs.table, spec.split)
    data = data_of(graphs, splits, spec, device)
    torch.manual_seed(spec.train.seed)
    # Whoever starts a training says which code it is of; a model's folder, from wherever, cannot say so for its reader.
    model = build_model(spec.model, trust_code=True).to(device)
    parameters = sum(p.numel() for p in model.parameters())
    log.info(
        "%s: %s parameters, %s training rows, on %s", spec.model.name, f"{parameters:,}", f"{len(data.train):,}", device
    )
    began = time.perf_counter()
    weights, state, resumed_from = fit(
        model, data, spec.train, spec.scratch / CHECKPOINTS, epoch_logger(spec.train.epochs)
    )
    seconds = time.perf_counter() - began
    model.load_state_dict(weights)
    save_model(weights, card_of(spec, data), spec.output)
    schemas.write_table(history_table(state.history), spec.output / "history.parquet")
    schemas.write_table(predictions_table(model, data, splits), spec.output / "predictions.parquet")
    watched = [row for row, split in enumerate(splits) if split in {"validation", "test"}]
    gates = gate_table(model, graphs, torch.tensor(watched), device)
    if gates is not None:
        schemas.write_table(gates, spec.output / "gates.parquet")
    epochs = state.epoch - resumed_from
    return {
        "target": spec.target,
        "unit": spec.unit,
        "parameters": parameters,
        "epochs": state.epoch,
        "kept_epoch": state.kept_epoch,
        "seconds": seconds,
        "structures_per_second": len(data.train) * epochs / seconds,
        "device": device_name(device),
        "split": {name: splits.count(name) for name in sorted(set(splits))},
        "split_by": split_by,
        "resumed_from": resumed_from,
    }


def select_device(wanted: str) -> torch.device:
    """The device named cpu or cuda; for `auto` cuda where there is one. Raises InputError for cuda where there is none.

    Also sets torch for it: deterministic sums on a GPU, denormal numbers as zero on a CPU.
    """
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device {wanted}: this machine has no CUDA device; allowed are auto and cpu")
    if wanted == "auto":
        wanted = "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda"):
        # Sums in one order always: a resumed training ends as an undisturbed one. cuBLAS reads this when it starts.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    # Gaussians far from their centre are denormal numbers, on which an x86 core multiplies several times slower.
    # Threads inherit this, so it has to stand before the first parallel operation.
    torch.set_flush_denormal(True)
    return torch.device(wanted)


def device_name(device: torch.device) -> str:
    """The device's name in a report: the GPU's, or CPU and the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} threads"


def data_of(graphs: Graphs, splits: list[str], spec: TrainSpec, device: torch.device) -> Data:
    """The targets of all rows, their scaling from the training rows, and the indices of the rows of each split.

    For a classification the target becomes 1 above the threshold, else 0. Raises InputError where all training rows
    lie on one side of it.
    """
    target = torch.from_numpy(graphs.table[spec.target].to_numpy().astype(np.float64))
    if spec.train.task == "classification":
        target = (target > spec.train.threshold).double()
    rows = {name: torch.tensor([n for n, split in enumerate(splits) if split == name]) for name in NAMES}
    classification = spec.train.task == "classification"
    if classification and len(target[rows["train"]].unique()) < 2:
        raise InputError(f"train.threshold {spec.train.threshold:g}: all training rows lie on one side of it")
    scaling = Scaling.fit(target[rows["train"]], classification=classification)
    return Data(graphs, target, scaling, rows["train"], rows["validation"], device)


def card_of(spec: TrainSpec, data: Data) -> ModelCard:
    """The model.json of this training. All that describes data in it is of the training rows alone."""
    return ModelCard(
        model=spec.model,
        graph_config=spec.graph_config,
        target=spec.target,
        unit=spec.unit,
        task=spec.train.task,
        threshold=spec.train.threshold,
        mean=data.scaling.mean,
        deviation=data.scaling.deviation,
        elements=training_elements(data.graphs, data.train),
        ranges=training_ranges(data.graphs, data.train),
    )


def history_table(history: list[EpochMetrics]) -> pa.Table:
    """The HISTORY table: one row an epoch."""
    return pa.Table.from_pylist(history, schema=schemas.HISTORY)


def predictions_table(model: torch.nn.Module, data: Data, splits: list[str]) -> pa.Table:
    """The PREDICTIONS table: every row of every split, sorted by material_id."""
    predicted = predict(model, data.graphs, torch.arange(len(data.graphs)), data.scaling, data.device)
    table = data.graphs.table
    columns = {
        **{name: table[name] for name in (schemas.MATERIAL_ID, "formula", "atomic_numbers", "spacegroup_number")},
        "split": splits,
        "target": data.target.numpy(),
        "predicted": predicted.numpy(),
    }
    found = pa.table([columns[f.name] for f in schemas.PREDICTIONS], schema=schemas.PREDICTIONS)
    return found.sort_by(schemas.MATERIAL_ID)


def epoch_logger(epochs: int) -> Callable[[EpochMetrics], None]:
    """A callback for the end of an epoch: one JSON line, or a bar where the standard output is a terminal."""
    if not sys.stdout.isatty():
        return lambda metrics: print(json.dumps(metrics), flush=True)
    bar = tqdm(total=epochs, unit="epoch")

    def show(metrics: EpochMetrics) -> None:
        bar.set_postfix(loss=metrics["train_loss"], validation=metrics["validation_mae"])
        bar.update(metrics["epoch"] - bar.n)

    return show


if __name__ == "__main__":
    main(TrainSpec, build)

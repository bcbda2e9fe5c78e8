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
import pyarrow.parquet as pq
import torch
from torch import Tensor
from tqdm import tqdm

from gnn import distributed, launch
from gnn.applicability import training_elements, training_ranges
from gnn.auxiliary import Auxiliary, add_auxiliary, remove_auxiliary
from gnn.checkpoint import save_model
from gnn.config import ModelConfig, Placement, SplitConfig, TrainConfig
from gnn.cost import peak_memory
from gnn.device import device_name, select_device
from gnn.gates import gate_table
from gnn.graph_files import RowGroups, auxiliary_values, decode, open_graphs, streams
from gnn.heads import kind_of_head, powers_of_ten
from gnn.initial import start_from
from gnn.loop import Data, EpochMetrics, TrainingState, fit
from gnn.model_card import ModelCard, check_start
from gnn.models.registry import build_model
from gnn.outputs import outputs_of
from gnn.progress import SparseProgress
from gnn.recipe import CHOSEN, Recipe, recipe_for
from gnn.splits import NAMES, TEST, TRAIN, VALIDATION, Codes, assign
from storage import schemas
from storage.checkpoints import CHECKPOINTS
from storage.errors import InputError, WorldError
from storage.program import Facts, Spec, main

log = logging.getLogger(__name__)

MANY_POWERS = 2  # of ten; less, and an error counts about as much for small values as for large ones


class TrainSpec(Spec):
    """The training's inputs: graph shards, the configuration they were built with, the target and its unit, the model,
    the training and the split, the device (auto, cpu, cuda), how it runs, and the folder of the model it starts from.
    """

    graphs: list[Path]
    graph_config: dict[str, Any]
    target: str
    auxiliary: tuple[str, ...] = ()
    unit: str
    model: ModelConfig
    train: TrainConfig
    split: SplitConfig
    device: str = "auto"
    placement: Placement = Placement()
    start: Path | None = None


def build(spec: TrainSpec) -> Facts:
    """Write model.safetensors, model.json, history, predictions and, where the model has gates, gates.parquet.

    Where the training is of several processes, this starts them, and each of them comes here again as a rank.
    """
    if not distributed.is_rank():
        processes = processes_of(spec)
        if processes > 1 or launch.RENDEZVOUS in os.environ:
            return launch.launch(spec, "gnn.train", processes)
        return train(spec)
    launch.end_with_launcher()
    if launch.give_up_before(spec):
        sys.exit()
    try:
        facts = train(spec)
    except (InputError, WorldError) as error:
        launch.give_up(spec, error)
        sys.exit(1)  # it may be this rank's alone: the others would wait for it
    if not distributed.writes():
        sys.exit()
    return facts


def processes_of(spec: TrainSpec) -> int:
    """How many processes `train.processes` asks for on this machine."""
    if spec.placement.processes != "auto":
        return spec.placement.processes
    return max(1, torch.cuda.device_count()) if spec.device in {"auto", "cuda"} else 1


def train(spec: TrainSpec) -> Facts:
    """Train as the only process, or as one rank of several; all ranks return the same, and one writes."""
    device = select_device(spec.device)
    with distributed.process_group(device):
        if not distributed.writes():
            logging.getLogger().setLevel(logging.WARNING)
        folder = spec.scratch / f"arrays-{os.environ.get('GROUP_RANK', '0')}"  # a folder a machine
        decode(spec.graphs, spec.target, folder, spec.auxiliary)
        codes, split_by = assign(RowGroups(spec.graphs, _split_columns(spec.graphs[0])), spec.split)
        data, streaming = data_of(folder, codes, spec, device)
        recipe = recipe_for(spec.train, spec.model.name, len(data.train))
        torch.manual_seed(spec.train.seed)
        # Whoever starts a training says which code it is of; a model's folder, from wherever, cannot say so for its
        # reader.
        model = build_model(spec.model, trust_code=True).to(device)
        learned: Facts = {}
        if spec.start is not None:
            check_start(spec.start, spec.model, spec.train, spec.graph_config)
            keep = spec.train.readout == "kept"
            target = start_from(model, data.head, spec.start, keep_readout=keep)
            learned["start_from"] = f"{target}, weights {spec.start.name[:8]}"
        if data.auxiliary is not None:
            add_auxiliary(model, data.auxiliary)
        parameters = sum(p.numel() for p in model.parameters())
        log.info("%s: %s parameters, %s", spec.model.name, f"{parameters:,}", _how(data, streaming=streaming))
        log.info("%s", describe(recipe))
        if spec.train.task == "regression" and spec.model.head == "point":
            powers = powers_of_ten(data.target[data.train])
            if powers > MANY_POWERS:
                log.info("the targets lie over %.1f powers of ten: model.head=log may err less", powers)
        costs: list[EpochMetrics] = []
        show = epoch_logger(recipe.epochs)

        def on_epoch_end(metrics: EpochMetrics) -> None:
            costs.append(metrics)
            show(metrics)

        began = time.perf_counter()
        weights, state, resumed_from = fit(model, data, recipe, spec.scratch / CHECKPOINTS, on_epoch_end)
        seconds = time.perf_counter() - began
        model.load_state_dict(weights)
        width = data.head.width + len(spec.auxiliary)
        speak = SparseProgress("structures predicted", len(codes))
        outputs = outputs_of([model], data.graphs, torch.arange(len(codes)), width, device, speak)[0]
        if data.auxiliary is not None:
            remove_auxiliary(model)
            learned["auxiliary"] = data.auxiliary.errors(outputs[data.validation, data.head.width :], data.validation)
        if distributed.writes():
            write(spec, model, data, state, codes, outputs[:, : data.head.width])
    # By what was counted, not by the number of epochs: a time may have ended the last one early.
    rates = ("structures_per_second", "edges_per_second", "data_wait")
    return {
        "target": spec.target,
        "unit": spec.unit,
        "parameters": parameters,
        "epochs": state.epoch,
        "kept_epoch": state.kept_epoch,
        "recipe": recipe.model_dump(include=CHOSEN - ({"epochs"} if recipe.minutes else set())),
        "seconds": seconds,
        **{name: sum(each[name] * each["seconds"] for each in costs) / seconds for name in rates},
        "peak_memory_mib": peak_memory(device) // 2**20,
        "processes": int(os.environ.get("WORLD_SIZE", "1")),
        "data": "streaming" if streaming else "resident",
        "device": device_name(device),
        "split": {name: int((codes == code).sum()) for code, name in enumerate(NAMES) if (codes == code).any()},
        "split_by": split_by,
        "resumed_from": resumed_from,
        **learned,
    }


def write(
    spec: TrainSpec, model: torch.nn.Module, data: Data, state: TrainingState, codes: Codes, outputs: Tensor
) -> None:
    """Write the files of the artefact into `spec.output`. `codes` (M,) are splits, `outputs` (M, W) the network's."""
    save_model(model.state_dict(), card_of(spec, data), spec.output)
    schemas.write_table(history_table(state.history), spec.output / "history.parquet")
    write_predictions(spec, data, codes, outputs)
    watched = torch.from_numpy(np.flatnonzero((codes == VALIDATION) | (codes == TEST)))
    gates = gate_table(model, data.graphs, watched, data.device)
    if gates is not None:
        schemas.write_table(gates, spec.output / "gates.parquet")


def _how(data: Data, *, streaming: bool) -> str:
    """The rest of the log line that says what is trained on what."""
    ranks = distributed.world_size()
    kind = "streaming" if streaming else "resident"
    parts = [f"{len(data.train):,} training rows", f"{kind} data", f"on {data.device}"]
    parts += [f"{ranks} processes"] if ranks > 1 else []
    attempt = int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
    return ", ".join([*parts, *([f"restart {attempt} after a process died"] if attempt else [])])


def describe(recipe: Recipe) -> str:
    """The log line of a recipe."""
    length = f"{recipe.minutes:g} minutes" if recipe.minutes else f"{recipe.epochs:,} epochs"
    return f"recipe: {length}, batches of {recipe.batch_size}, learning rate {recipe.learning_rate:g}"


def _split_columns(shard: Path) -> list[str]:
    splitting = schemas.splitting_columns(pq.read_schema(shard).names)
    return [schemas.MATERIAL_ID, "formula", schemas.SPACEGROUP.name, *splitting]


def data_of(folder: Path, codes: Codes, spec: TrainSpec, device: torch.device) -> tuple[Data, bool]:
    """The graphs in `folder`, the targets of all rows, the head with their scale, the rows of each split.

    Also whether graphs are streamed from the disk. For a classification the target becomes 1 above the threshold, else
    0. Raises InputError where all training rows lie on one side of it.
    """
    streaming = streams(folder, spec.placement.data, device)
    graphs, target = open_graphs(folder, streaming=streaming)
    if spec.model.max_l and not spec.graph_config.get("vectors"):
        raise InputError("model.max_l: these graphs have no vectors, between which angles are; make them with vectors")
    edges = graphs.edge_counts()
    if device.type == "cuda" and not streaming:
        graphs = graphs.to(device)
    classification = spec.train.task == "classification"
    if classification:
        target = (target > spec.train.threshold).double()
    train, validation = (torch.from_numpy(np.flatnonzero(codes == code)) for code in (TRAIN, VALIDATION))
    if classification and len(target[train].unique()) < 2:
        raise InputError(f"train.threshold {spec.train.threshold:g}: all training rows lie on one side of it")
    kind = kind_of_head(spec.model.head, spec.train.task)
    kind.check(target)
    head = kind.fit(target[train])
    auxiliary = None
    if spec.auxiliary:
        values = auxiliary_values(folder, len(spec.auxiliary))
        auxiliary = Auxiliary.fit(spec.auxiliary, values, train, spec.train.auxiliary_weight)
    return Data(graphs, target, head, train, validation, device, edges, auxiliary), streaming


def card_of(spec: TrainSpec, data: Data) -> ModelCard:
    """The model.json of this training. All that describes data in it is of the training rows alone."""
    return ModelCard(
        model=spec.model,
        graph_config=spec.graph_config,
        target=spec.target,
        unit=spec.unit,
        task=spec.train.task,
        threshold=spec.train.threshold,
        mean=data.head.mean,
        deviation=data.head.deviation,
        elements=training_elements(data.graphs, data.train),
        ranges=training_ranges(data.graphs, data.train),
    )


def history_table(history: list[EpochMetrics]) -> pa.Table:
    """The HISTORY table: one row an epoch."""
    return pa.Table.from_pylist(history, schema=schemas.HISTORY)


def write_predictions(spec: TrainSpec, data: Data, codes: Codes, outputs: Tensor) -> None:
    """Write the PREDICTIONS table, or PREDICTED_DEVIATIONS: every row of every split, some rows at a time."""
    names = np.array(NAMES)[codes]
    predicted, deviation = data.head.value(outputs), data.head.predicted_deviation(outputs)
    schema = schemas.PREDICTIONS if deviation is None else schemas.PREDICTED_DEVIATIONS
    known = [schemas.MATERIAL_ID, "formula", "atomic_numbers", "spacegroup_number"]
    first = 0
    with pq.ParquetWriter(spec.output / "predictions.parquet", schema, compression="zstd") as writer:
        for table in RowGroups(spec.graphs, known):
            rows = slice(first, first + len(table))
            columns = {
                **{name: table[name] for name in known},
                "split": names[rows],
                "target": data.target[rows].numpy(),
                "predicted": predicted[rows].numpy(),
            }
            if deviation is not None:
                columns["predicted_deviation"] = deviation[rows].numpy()
            writer.write_table(pa.table([columns[name] for name in schema.names], schema=schema))
            first += len(table)


def epoch_logger(epochs: int) -> Callable[[EpochMetrics], None]:
    """A callback for the end of an epoch: one JSON line, or a bar where the standard output is a terminal.

    Of several ranks the one that writes speaks.
    """
    if not distributed.writes():
        return lambda _metrics: None
    if not sys.stdout.isatty():
        return lambda metrics: print(json.dumps(metrics), flush=True)
    bar = tqdm(total=epochs, unit="epoch")

    def show(metrics: EpochMetrics) -> None:
        bar.set_postfix(loss=metrics["train_loss"], validation=metrics["validation_mae"])
        bar.total = metrics["epochs"]
        bar.update(metrics["epoch"] - bar.n)

    return show


if __name__ == "__main__":
    main(TrainSpec, build)

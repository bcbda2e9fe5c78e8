"""A loaded model at work in somebody else's process: predictions and crystal features of graphs in memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gnn.batches import Graphs
from gnn.checkpoint import load_members
from gnn.device import select_device
from gnn.elements import symbol_of
from gnn.models.registry import ExternalModel
from gnn.outputs import EVALUATED, outputs_of
from gnn.release_weights import as_model_folder
from gnn.uncertainty import predictions_of
from storage.errors import InputError

Floats = NDArray[np.float64]


@contextmanager
def _computing_on(wanted: str) -> Iterator[torch.device]:
    """The device, with the settings that `select_device` makes; what the process had before is restored."""
    flushed = bool((torch.tensor(1e-42) * 1 == 0).item())
    deterministic = torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        yield select_device(wanted)
    finally:
        torch.set_flush_denormal(flushed)
        torch.use_deterministic_algorithms(deterministic, warn_only=only_warns)


class Predictor:
    """A model and its card, on a device, from its folder or a `.pth.tar` file of CGCNN's release.

    Graphs are tables of crystals.structures.graph_tables' columns.
    """

    def __init__(self, folder: Path, device: str, *, trust_code: bool = False) -> None:
        self._wanted = device
        with _computing_on(device) as chosen, as_model_folder(folder) as usable:
            self._models, self.card = load_members(usable, chosen, trust_code=trust_code)

    @property
    def elements(self) -> list[str]:
        """The elements that the model was trained on, by atomic number."""
        return [symbol_of(z) for z in sorted(self.card.elements)]

    def unseen(self, numbers: set[int]) -> list[str]:
        """Those of the atomic numbers that the model was not trained on, as symbols."""
        return [symbol_of(z) for z in sorted(numbers - set(self.card.elements))]

    def predict(self, table: pa.Table) -> Floats:
        """(B,) in the target's unit, or probabilities: what `cgcnn predict` writes, from the same batches."""
        return self._combined(table)["predicted"]

    def check_calibrated(self) -> None:
        """Raise InputError where the model has no uncertainty."""
        if self.card.calibration is None:
            raise InputError(
                "the model has no uncertainty: a regression has one with train.members, or model.head mean-variance"
            )

    def predict_intervals(self, table: pa.Table) -> Floats:
        """(B, 4) of a calibrated model, in the target's unit: predicted, standard deviation, low, high."""
        return np.stack(list(self._combined(table).values()), axis=1)

    def _combined(self, table: pa.Table) -> dict[str, Floats]:
        with _computing_on(self._wanted) as device:
            graphs = Graphs.of(table)
            rows = torch.arange(len(graphs))
            return predictions_of(outputs_of(self._models, graphs, rows, self.card.head.width, device), self.card)

    @property
    def features(self) -> int:
        """F, the length of a crystal's features. Raises InputError for an external model, and for an ensemble."""
        if len(self._models) > 1:
            raise InputError(f"an ensemble of {len(self._models)} models has no features of its own; load one of them")
        if isinstance(self._models[0], ExternalModel):
            raise InputError(f"model.name {self.card.model.name}: only cgcnn and cogn have crystal features to give")
        return int(self._last.in_features)

    @property
    def _last(self) -> Any:
        return self._models[0].out

    def embed(self, table: pa.Table) -> NDArray[np.float32]:
        """(B, F): what the last linear layer turns into the prediction."""
        with _computing_on(self._wanted) as device, torch.no_grad(), _inputs_of(self._last) as found:
            graphs = Graphs.of(table)
            for batch in graphs.batches(torch.arange(len(graphs)), EVALUATED, device):
                self._models[0](batch)
            return np.asarray(torch.cat(found).cpu().numpy())


@contextmanager
def _inputs_of(layer: Any) -> Iterator[list[Tensor]]:
    """What the layer is given in each call."""
    found: list[Tensor] = []

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        found.append(inputs[0])

    hook = layer.register_forward_pre_hook(keep)
    try:
        yield found
    finally:
        hook.remove()

"""Where a training stands, and the model that it leaves."""

import os
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gnn.config import ModelConfig
from gnn.models.registry import build_model
from gnn.scores import Scaling
from storage.errors import InputError

WEIGHTS, CARD = "model.safetensors", "model.json"


class ModelCard(BaseModel):
    """What lies beside the weights: all that `predict` needs to use them."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: ModelConfig
    graph_config: dict[str, Any]
    target: str
    unit: str
    task: str
    threshold: float
    mean: float
    deviation: float
    elements: list[int]

    @property
    def scaling(self) -> Scaling:
        """From the network's numbers to the target."""
        return Scaling(self.mean, self.deviation, classification=self.task == "classification")


def save_model(weights: dict[str, Tensor], card: ModelCard, folder: Path) -> None:
    """Write model.safetensors and model.json."""
    save_file({name: value.contiguous().cpu() for name, value in weights.items()}, folder / WEIGHTS)
    (folder / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")


def load_model(folder: Path, device: torch.device) -> tuple[nn.Module, ModelCard]:
    """The model in `folder`, ready to predict."""
    try:
        card = ModelCard.model_validate_json((folder / CARD).read_text(encoding="utf-8"))
        weights = load_file(folder / WEIGHTS)
    except (SafetensorError, ValidationError) as error:
        raise InputError(f"{folder}: the model is damaged: {str(error).splitlines()[0]}") from None
    except FileNotFoundError as error:
        raise InputError(f"{folder}: is no model: there is no {Path(error.filename or WEIGHTS).name}") from None
    model = build_model(card.model)
    model.load_state_dict(weights)
    return model.to(device).eval(), card


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """All or nothing: a kill while writing leaves the former checkpoint."""
    aside = path.with_suffix(".aside")
    with aside.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load_checkpoint(path: Path, device: torch.device) -> dict[str, Any] | None:
    """The last checkpoint, if there is one."""
    return torch.load(path, map_location=device, weights_only=True) if path.exists() else None

"""Reads and writes the checkpoint of a training, and the folder of a trained model."""

import logging
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gnn.config import ModelConfig
from gnn.model_card import CARD, ModelCard, read_card
from gnn.models.registry import build_model
from storage.checkpoints import add_checkpoint, whole_checkpoints
from storage.errors import InputError
from storage.registry import WEIGHTS, weights_of

log = logging.getLogger(__name__)

CENTRES = "basis.centres"  # of the Gaussians


def save_model(weights: dict[str, Tensor], card: ModelCard, folder: Path) -> None:
    """Write model.safetensors (the `state_dict`) and model.json (the card) into `folder`."""
    save_file({name: value.contiguous().cpu() for name, value in weights.items()}, folder / WEIGHTS)
    (folder / CARD).write_text(card.model_dump_json(indent=1), encoding="utf-8")


def load_members(folder: Path, device: torch.device, *, trust_code: bool = False) -> tuple[list[nn.Module], ModelCard]:
    """The members of the ensemble in `folder`, ready to predict, and its card. A single model is one of one member.

    Nothing in the folder is unpickled, and no code that it names is imported unless `trust_code` is true. Raises
    InputError where the folder has no model, a damaged one, or one whose code is not trusted.
    """
    card = read_card(folder)
    members = zip(weights_of(card.members), card.models, strict=True)
    return [_loaded(folder, name, model, trust_code=trust_code).to(device).eval() for name, model in members], card


def load_model(folder: Path, device: torch.device, *, trust_code: bool = False) -> tuple[nn.Module, ModelCard]:
    """As `load_members`, for the folder of a single model. Raises InputError for an ensemble's, too."""
    models, card = load_members(folder, device, trust_code=trust_code)
    if len(models) > 1:
        raise InputError(f"{folder}: is an ensemble of {len(models)} models")
    return models[0], card


def _loaded(folder: Path, weights: str, config: ModelConfig, *, trust_code: bool) -> nn.Module:
    model = build_model(config, trust_code=trust_code)
    centres = model.state_dict().get(CENTRES, torch.empty(0)).clone()
    try:
        model.load_state_dict(load_file(folder / weights))
    except FileNotFoundError:
        raise InputError(f"{folder}: is no model: there is no {weights}") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{folder / weights}: cannot be read: {_one_line(error)}") from None
    except RuntimeError as error:  # names or shapes differ
        raise InputError(f"{folder}: {weights} does not fit {CARD}: {_one_line(error)}") from None
    damaged = [name for name, value in model.state_dict().items() if not value.isfinite().all()]
    if damaged:
        raise InputError(f"{folder / weights}: {damaged[0]} has numbers that are not finite")
    if not torch.allclose(model.state_dict().get(CENTRES, centres), centres, atol=1e-4):
        raise InputError(
            f"{folder}: was trained by a version that put the Gaussians elsewhere, because model.gaussian_step "
            f"{config.gaussian_step:g} does not divide gaussian_stop {config.gaussian_stop:g}; train it again"
        )
    return model


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


def save_checkpoint(state: dict[str, Any], folder: Path) -> None:
    """Write tensors and plain values as a checkpoint of `folder`, all or nothing; `state["state"]["epoch"]` numbers it.

    A kill while writing leaves the former checkpoints.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / ".aside"
    with aside.open("wb") as file:
        torch.save(state, file)
    add_checkpoint(aside, state["state"]["epoch"])


def load_checkpoint(folder: Path, device: torch.device) -> dict[str, Any] | None:
    """The newest whole checkpoint of `folder`; None if there is none. Damaged ones are skipped, with a line in the log.

    Only tensors and plain values are unpickled: a file with anything else in it counts as damaged.
    """
    for checkpoint in whole_checkpoints(folder, log.warning):
        try:
            return dict(torch.load(folder / checkpoint.name, map_location=device, weights_only=True))
        except UnpicklingError:
            log.warning("%s: is no checkpoint of a training, and skipped", folder / checkpoint.name)
    return None

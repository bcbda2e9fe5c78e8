"""Fine-tuning: a training that starts from the weights of a trained model instead of random ones.

As a program it copies a model's folder, wherever it lies, into the store, after a look at whether it can be loaded.
"""

import logging
import shutil
from pathlib import Path

import torch
from torch import nn

from gnn.checkpoint import load_model
from gnn.heads import Head
from gnn.model_card import CARD
from storage.program import Facts, Spec, main
from storage.registry import WEIGHTS

log = logging.getLogger(__name__)


class InitialSpec(Spec):
    """The folder of a trained model."""

    folder: Path


def build(spec: InitialSpec) -> Facts:
    """Copy model.json and model.safetensors. Raises InputError if they are no model."""
    _, card = load_model(spec.folder, torch.device("cpu"))
    for name in (CARD, WEIGHTS):
        shutil.copyfile(spec.folder / name, spec.output / name)
    return {"target": card.target, "unit": card.unit, "elements": len(card.elements)}


def is_readout(name: str) -> bool:
    """Whether the weight of this name belongs to the readout, not to the body."""
    return name.startswith(("hidden.", "out."))


def start_from(model: nn.Module, head: Head, folder: Path, *, keep_readout: bool) -> str:
    """Overwrite the weights of `model` with those of the trained model in `folder`; returns the target of that.

    The two are alike, as `check_start` says. A readout that is kept predicts what it predicted, in the scale of `head`;
    without `keep_readout` it stays as it is.
    """
    trained, card = load_model(folder, torch.device("cpu"))
    known = trained.state_dict()
    model.load_state_dict({n: v for n, v in known.items() if keep_readout or not is_readout(n)}, strict=False)
    readout = getattr(model, "out", None)
    if keep_readout and isinstance(readout, nn.Linear):
        head.rescale(readout, card.head)
    log.info(
        "starts from the weights of a model of %s, trained on %s elements; readout %s",
        card.target,
        len(card.elements),
        "kept" if keep_readout else "fresh",
    )
    return card.target


if __name__ == "__main__":
    main(InitialSpec, build)

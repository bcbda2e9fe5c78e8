"""The program that makes a model folder of a `.pth.tar` file of CGCNN's released code.

The file holds the state dict of the network and the mean and standard deviation of its targets; what describes an
element lies beside it in atom_init.json. Xie & Grossman, PRL 120, 145301 (2018), github.com/txie-93/cgcnn.
"""

import logging
import re
import struct
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, FiniteFloat, TypeAdapter, ValidationError
from torch import Tensor

from gnn.checkpoint import save_model
from gnn.config import ModelConfig
from gnn.elements import HIGHEST
from gnn.layers import EMBEDDING_SCALE
from gnn.model_card import ModelCard
from gnn.models.cgcnn_2018 import NEIGHBORS
from gnn.models.registry import build_model
from storage.errors import InputError
from storage.program import Facts, Spec, main
from storage.registry import is_release_checkpoint

log = logging.getLogger(__name__)

ATOM_FEATURES = "atom_init.json"
STEP = 0.2  # Å, of the Gaussians' centres
BETWEEN_CLASSES = 0.5  # they are 0 and 1

# The released files by their names: what they predict, and its unit. Moduli are decadic logarithms.
TARGETS = {
    "band-gap": ("band_gap", "eV"),
    "bulk-moduli": ("bulk_modulus", "log10(GPa)"),
    "efermi": ("fermi_energy", "eV"),
    "final-energy-per-atom": ("energy_per_atom", "eV/atom"),
    "formation-energy-per-atom": ("formation_energy_per_atom", "eV/atom"),
    "poisson-ratio": ("poisson_ratio", ""),
    "semi-metal-classification": ("metal", ""),
    "shear-moduli": ("shear_modulus", "log10(GPa)"),
}

GRAPHS = {"cutoff": 8.0, "max_neighbors": NEIGHBORS, "shell_tolerance": None, "reduce_symmetry": False}

RENAMED: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"^convs\.(\d+)\.fc_full\.", r"convolutions.\1.edges.linear."),
    (r"^convs\.(\d+)\.bn1\.", r"convolutions.\1.norm_edges."),
    (r"^convs\.(\d+)\.bn2\.", r"convolutions.\1.norm."),
    (r"^conv_to_fc\.", "hidden.0."),
    (r"^fcs\.(\d+)\.", lambda found: f"hidden.{int(found[1]) + 1}."),
    (r"^fc_out\.", "out."),
]

# Beside tensors and plain values the files may hold NumPy's float64, as numpy 1 or numpy 2 writes it.
_scalar: Any = np.float64(0).__reduce__()[0]
NUMBERS: list[Any] = [
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
    np.dtype,
    type(np.dtype(np.float64)),
]

# What torch and its unpickler raise on a file that is damaged, or something else.
NOT_READABLE = (
    UnpicklingError, RuntimeError, EOFError, ValueError, LookupError, AssertionError, TypeError, AttributeError,
    struct.error,
)  # fmt: skip

Features = TypeAdapter(dict[Annotated[int, Field(ge=1, le=HIGHEST)], list[FiniteFloat]])


class ReleaseSpec(Spec):
    """The `.pth.tar` file."""

    checkpoint: Path


def build(spec: ReleaseSpec) -> Facts:
    """Write model.json and model.safetensors."""
    convert(spec.checkpoint, spec.output)
    return {}


def convert(checkpoint: Path, folder: Path) -> None:
    """Write the network of `checkpoint` into `folder` as a model that predicts the same.

    What the network makes of an element's features is a vector an element: that vector is the embedding of ours. Its
    log-softmax of two classes is the logit of the second one. Nothing but tensors and numbers is unpickled. Raises
    InputError where the file, or the atom_init.json beside it, is not the release's.
    """
    state, mean, deviation = _content(checkpoint)
    features = _atom_features(checkpoint.with_name(ATOM_FEATURES))
    target, unit = TARGETS.get(checkpoint.name.partition(".")[0], ("value", ""))
    try:
        card = ModelCard(
            model=_sizes(state),
            graph_config=GRAPHS,
            target=target,
            unit=unit,
            task="classification" if len(state["fc_out.bias"]) == 2 else "regression",
            threshold=BETWEEN_CLASSES,
            mean=mean,
            deviation=deviation,
            elements=sorted(features),
        )
        model = build_model(card.model)
        centres = {name: value for name, value in model.state_dict().items() if name.startswith("basis.")}
        model.load_state_dict(centres | _weights(state, features))
    except ValidationError as error:
        raise InputError(f"{checkpoint}: {_fault(error)}") from None
    except (LookupError, TypeError, ValueError, RuntimeError) as error:  # names or shapes differ
        raise InputError(f"{checkpoint}: is no network of CGCNN's release: {_one_line(error)}") from None
    save_model(model.state_dict(), card, folder)
    log.info(
        "%s: nothing says which elements it was trained on: those in %s are not warned of", checkpoint, ATOM_FEATURES
    )


@contextmanager
def as_model_folder(path: Path) -> Iterator[Path]:
    """The model folder `path`; of a `.pth.tar` file one that is made here, and gone afterwards."""
    if not is_release_checkpoint(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="cgcnn-model-") as folder:
        convert(path, Path(folder))
        yield Path(folder)


def _content(checkpoint: Path) -> tuple[dict[str, Tensor], float, float]:
    """The state dict, and the mean and standard deviation of the targets."""
    try:
        with torch.serialization.safe_globals(NUMBERS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other pickle protocols; a file that cannot be read is an error
            content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        state, normalizer = content["state_dict"], content["normalizer"]
        tensors = {str(name): value.detach().double() for name, value in state.items()}
        scaling = float(normalizer["mean"]), float(normalizer["std"])
    except OSError as error:
        raise InputError(f"{checkpoint}: cannot be read: {error.strerror}") from None
    except NOT_READABLE as error:
        raise InputError(f"{checkpoint}: is no file of CGCNN's released code: {_one_line(error)}") from None
    damaged = [name for name, value in tensors.items() if not value.isfinite().all()]
    if damaged:
        raise InputError(f"{checkpoint}: {damaged[0]} has numbers that are not finite")
    return tensors, *scaling


def _atom_features(path: Path) -> dict[int, list[float]]:
    """Atomic number → what describes the element to the network."""
    try:
        return Features.validate_json(path.read_bytes())
    except FileNotFoundError:
        raise InputError(
            f"{path}: there is no such file; it describes the elements, and lies beside the weights"
        ) from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {_fault(error)}") from None


def _fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return ": ".join([*map(str, fault["loc"]), fault["msg"]])[:300]


def _one_line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


def _sizes(state: dict[str, Tensor]) -> ModelConfig:
    return ModelConfig(
        name="cgcnn-2018",
        atom_fea_len=len(state["embedding.weight"]),
        n_conv=sum(name.endswith(".fc_full.bias") for name in state),
        h_fea_len=len(state["conv_to_fc.weight"]),
        n_h=1 + sum(bool(re.fullmatch(r"fcs\.\d+\.bias", name)) for name in state),
        normalization="gated",
        properties=False,
        gaussian_step=STEP,
        gaussian_sigma=STEP / 2**0.5,  # theirs is exp(−(d − μ)² / step²)
    )


def _weights(state: dict[str, Tensor], features: dict[int, list[float]]) -> dict[str, Tensor]:
    """The state dict of our network."""
    weights = {}
    for name, value in state.items():
        for pattern, ours in RENAMED:
            name = re.sub(pattern, ours, name)
        weights[name] = value
    if len(weights["out.bias"]) == 2:
        weights |= {name: weights[name].diff(dim=0) for name in ("out.weight", "out.bias")}
    linear, bias = weights.pop("embedding.weight"), weights.pop("embedding.bias")
    embedding = bias.repeat(HIGHEST + 1, 1)
    for number, described in features.items():
        if len(described) != linear.shape[1]:
            raise ValueError(f"{ATOM_FEATURES} has {len(described)} numbers of element {number}, not {linear.shape[1]}")
        embedding[number] += linear @ linear.new_tensor(described)
    weights["atoms.embedding.weight"] = embedding / EMBEDDING_SCALE
    return weights


if __name__ == "__main__":
    main(ReleaseSpec, build)

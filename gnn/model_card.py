"""model.json, which lies beside a model's weights: all that predicting with them needs to know. Loads no torch.

A model's folder may come from somebody else, so the file is data that is not trusted: it is checked field by field, and
what does not fit is an InputError of one line.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from gnn.config import MODELS, PUBLISHED, ModelConfig, TrainConfig
from storage.errors import InputError, first_fault

if TYPE_CHECKING:
    from gnn.heads import Head

CARD = "model.json"
LARGEST = 1_000_000  # bytes; written ones have about 2,000

TRUST = "--trust-code (trust_code=True)"


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("the lower bound is above the upper one")
    return bounds


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("has characters that cannot be printed")
    return text


Bounds = Annotated[tuple[float, float], AfterValidator(_ordered)]
Text = Annotated[str, Field(max_length=500), AfterValidator(_printable)]
AtomicNumber = Annotated[int, Field(ge=1, le=118)]


class TrainingRanges(BaseModel):
    """The smallest and the largest value among the training structures."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    volume_per_atom: Bounds  # Å³
    atoms: Bounds  # number of atoms in the cell
    shortest_distance: Bounds  # Å, between an atom and its nearest neighbour


class Calibration(BaseModel):
    """How the spread of an ensemble's members becomes an uncertainty (gnn.uncertainty). Set on the validation rows."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    floor: float = Field(gt=0)  # the members' spread on the training rows, in the target's unit (head log: none)
    factor: float = Field(gt=0)  # from the spread, with its floor, to the standard deviation of the error
    quantile: float = Field(ge=0)  # half of an interval, in standard deviations
    coverage: float = Field(gt=0, lt=1)  # share of new structures whose value lies in the interval, at least
    rows: int = Field(ge=1)  # validation rows


class ModelCard(BaseModel):
    """The network's configuration, the graphs it takes, and what its output means.

    `mean` and `deviation` are those of the training targets, in `unit`, or of their logarithms (head log). `elements`
    are the atomic numbers in the training structures. `ranges` is None in a model.json that was written before ranges
    were kept; `elements` has all elements of its data set then, those of validation and test rows too. `members` above
    1 are an ensemble's, each with a file of weights; `calibration` is None for a single model, and for a
    classification. `member_models` is None where all members are of the same network; else it has the configuration of
    each, and `model` is that of the first.
    """

    model_config = ConfigDict(frozen=True, protected_namespaces=(), allow_inf_nan=False)

    model: ModelConfig
    graph_config: dict[str, Any]
    target: Text
    unit: Text
    task: Literal["regression", "classification"]
    threshold: float
    mean: float
    deviation: float = Field(gt=0)
    elements: list[AtomicNumber] = Field(max_length=118)
    ranges: TrainingRanges | None = None
    members: int = Field(1, ge=1, le=100, exclude_if=lambda members: members == 1)
    calibration: Calibration | None = Field(None, exclude_if=lambda calibration: calibration is None)
    member_models: list[ModelConfig] | None = Field(None, max_length=100, exclude_if=lambda models: models is None)

    @model_validator(mode="after")
    def _has_what_is_calibrated(self) -> Self:
        if self.calibration is not None and self.members == 1 and self.model.head != "mean-variance":
            raise ValueError("calibration: a single model has no spread, and this one predicts no deviation")
        return self

    @model_validator(mode="after")
    def _one_network_a_member(self) -> Self:
        if self.member_models is not None and len(self.member_models) != self.members:
            raise ValueError(f"member_models: has {len(self.member_models)} networks for {self.members} members")
        if self.member_models is not None and self.member_models[0] != self.model:
            raise ValueError("member_models: the first one is not `model`")
        return self

    @model_validator(mode="after")
    def _has_vectors_for_angles(self) -> Self:
        if any(model.max_l for model in self.models) and not self.graph_config.get("vectors"):
            raise ValueError("graph_config: has no vectors, and a model with max_l above 0 sees angles between them")
        return self

    @field_validator("graph_config")
    @classmethod
    def _whole_graphs(cls, config: dict[str, Any]) -> dict[str, Any]:
        """A card from before symmetry was reduced is of a model that was trained on whole graphs."""
        return {"reduce_symmetry": False, **config}

    @property
    def models(self) -> list[ModelConfig]:
        """The network's configuration of each member."""
        return self.member_models or [self.model] * self.members

    @property
    def relative(self) -> bool:
        """Whether an error counts relative to the value, and so its uncertainty."""
        return self.model.head == "log"

    @property
    def head(self) -> Head:
        """From the network's numbers to the target."""
        from gnn.heads import kind_of_head  # loads torch

        return kind_of_head(self.model.head, self.task)(self.mean, self.deviation)


def read_card(folder: Path) -> ModelCard:
    """The card of the model in `folder`. Raises InputError where there is none, or none that can be used."""
    path = folder / CARD
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(f"{path}: is larger than {LARGEST:,} bytes: no model.json of cgcnn")
        return ModelCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        where, message = first_fault(error)
        raise InputError(f"{path}: {f'{where}: ' if where else ''}{message}"[:500]) from None
    except FileNotFoundError:
        raise InputError(f"{folder}: is no model: there is no {CARD}") from None
    except (IsADirectoryError, NotADirectoryError, PermissionError) as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


READOUT = ("n_h", "h_fea_len", "head", "pooling")  # of what makes a number of the atoms' features
NEIGHBOURS = ("cutoff", "max_neighbors")  # of the configuration of graphs: who is whose neighbour


def check_start(folder: Path, model: ModelConfig, train: TrainConfig, graphs: Mapping[str, Any]) -> None:
    """Raise InputError where the weights of the trained model in `folder` are not for such a `model` and `graphs`.

    The readouts may differ, unless it is kept.
    """
    card, keep_readout = read_card(folder), train.readout == "kept"
    if card.members > 1:
        raise InputError(f"start_from: {folder} is an ensemble of {card.members} models; start from a single one")
    free = () if keep_readout else READOUT
    names = (name for name in ModelConfig.model_fields if name not in free)
    differ = {f"model.{n}": getattr(card.model, n) for n in names if getattr(card.model, n) != getattr(model, n)}
    others = {n: card.graph_config[n] for n in NEIGHBOURS if n in card.graph_config}
    differ |= {f"graphs.{name}": value for name, value in others.items() if value != graphs.get(name)}
    if keep_readout and card.task != train.task:
        differ["train.task"] = card.task
    if differ:
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in differ.items()}
        said = " ".join(f"--set {name}={text}" for name, text in texts.items())
        raise InputError(f"start_from: the model in {folder} has other settings; say {said}")


def check_trust(config: ModelConfig, *, trust_code: bool) -> None:
    """Raise InputError if the model is built by code outside this package and the user has not said to trust it."""
    if config.name not in MODELS | PUBLISHED and not trust_code:
        raise InputError(
            f"model.name {config.name}: loading it would run code from outside; if you trust that code, say {TRUST}; "
            f"without it, allowed are {', '.join(MODELS)}"
        )

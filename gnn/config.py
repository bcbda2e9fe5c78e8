"""What a user may choose about the model and its training. Imports no torch: forms and `--help` read it."""

import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

CHECKPOINT_MINUTES = 5.0
STALL_TIMEOUT = 1800.0  # s
COVERAGE = 0.9

MODELS = {  # by path: the form and --help need the names, and must not load torch
    "cgcnn": "gnn.models.cgcnn:CGCNN",
    "cogn": "gnn.models.cogn:CoGN",
}
PUBLISHED = {  # for weights of others: they predict, and are not trained here
    "cgcnn-2018": "gnn.models.cgcnn_2018:CGCNN2018",
}


HeadName = Literal["point", "log", "mean-variance", "hurdle"]
Group = Literal["material", "formula", "chemical_system", "space_group", "prototype", "time"]


class SplitConfig(BaseModel):
    """Who is trained on, who stops the training, who is reported."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    published: bool = Field(
        True, description="Use the source's published split where it has one; validation rows are cut from training."
    )
    column: str | None = Field(
        None, description="Which published split column to use; null takes `split`, else the source's only fold column."
    )
    fold: int = Field(
        0, ge=0, description="Of the source's folds, or of `folds`: the one whose rows are the test rows."
    )
    folds: Annotated[int, Field(ge=2, le=1000)] | None = Field(
        None,
        exclude_if=lambda folds: folds is None,
        description="Draw that many folds by hash where the source publishes none; null draws no folds.",
    )
    group: Group = Field(
        "material",
        description="Rows of one group never lie on both sides of a split. prototype: one anonymous formula and space "
        "group. time: the rows that were changed last in their database are the test rows.",
    )
    leave_out: tuple[str, ...] = Field(
        (),
        exclude_if=lambda groups: not groups,
        description="The groups whose rows are the test rows, as in [167] or [Al-O]; of a chosen kind of group.",
    )
    validation: float = Field(
        0.05, gt=0, lt=0.5, description="Share of the rows that is watched in training and may choose the epoch."
    )
    test: float = Field(0.1, gt=0, lt=0.5, description="Share of the rows that is reported.")
    seed: int = Field(0, description="Another seed, another split.")
    train_share: float = Field(
        1.0,
        gt=0,
        le=1,
        exclude_if=lambda share: share == 1,
        description="Share of the training rows that is used; a smaller share is a part of a larger one.",
    )
    train_share_seed: int = Field(
        0, exclude_if=lambda seed: seed == 0, description="Another seed, another part of the training rows."
    )

    @field_validator("folds")
    @classmethod
    def _has_the_fold(cls, folds: int | None, info: ValidationInfo) -> int | None:
        fold = info.data.get("fold", 0)
        if folds is not None and fold >= folds:
            raise ValueError(f"of {folds} folds there is no fold {fold}, the last is {folds - 1}")
        return folds

    @field_validator("leave_out", mode="before")
    @classmethod
    def _as_text(cls, groups: Any) -> Any:
        """A space group is written as a number."""
        return [str(g) if isinstance(g, int) else g for g in groups] if isinstance(groups, list | tuple) else groups

    @model_validator(mode="after")
    def _leaves_out_groups(self) -> Self:
        if self.leave_out and self.group in {"material", "time"}:
            raise ValueError("leave_out needs a group: formula, chemical_system, space_group or prototype")
        return self


def divides(step: float, length: float) -> bool:
    """Whether `length` is a whole number of steps; one that is rounded, as 0.2580645 for 8 / 31, divides it."""
    return math.isclose(length / step, round(length / step), rel_tol=1e-6)


class ModelConfig(BaseModel):
    """The network. Sizes are named as in Xie & Grossman's code."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())

    name: str = Field(
        "cgcnn",
        max_length=200,
        description=f"{', '.join(MODELS)}, or package.module:Class of a PyG model that takes "
        "(z, edge_index, edge_attr, batch).",
    )
    atom_fea_len: int = Field(64, ge=1, le=1024, description="Features of an atom in the convolutions.")
    n_conv: int = Field(3, ge=1, le=20, description="Convolution layers.")
    h_fea_len: int = Field(128, ge=1, le=2048, description="Features of a crystal after pooling.")
    n_h: int = Field(1, ge=0, le=10, description="Hidden layers after pooling; 0 is a linear readout.")
    gate: bool = Field(True, description="False leaves the gate out of the convolution (the ablation).")
    normalization: Literal["sum", "gated", "output", "none"] = Field(
        "sum", description="Batch norm on the sum over neighbours; as in the authors' code; on the output; or none."
    )
    embedding: bool = Field(True, description="A learned vector for each element.")
    properties: bool = Field(True, description="Physical properties of each element.")
    gaussian_stop: float = Field(
        8.0,
        gt=0,
        le=20,
        description="Last centre of the distance expansion (Å), to a whole number of steps; first is 0.",
    )
    gaussian_step: float = Field(0.2, ge=0.01, le=2, description="Distance between the centres (Å).")
    gaussian_sigma: float | None = Field(
        None, ge=0.01, le=2, description="Width σ in exp(−d²/2σ²) (Å); null is the step. The authors' code has step/√2."
    )
    n_message: int = Field(3, ge=1, le=6, description="Layers of the message network (cogn).")
    pooling: Literal["mean", "max"] = Field(
        "mean",
        exclude_if=lambda pooling: pooling == "mean",
        description="A crystal's features from its atoms': their mean; or the largest, for what one atom or bond "
        "decides, such as the highest phonon frequency.",
    )
    max_l: int = Field(
        0,
        ge=0,
        le=6,
        exclude_if=lambda degree: degree == 0,
        description="Highest degree of the Legendre polynomials of the angles between an atom's edges (cogn); 0 sees "
        "no angles. Needs graphs.vectors.",
    )
    head: HeadName = Field(
        "point",
        exclude_if=lambda head: head == "point",
        description="What is predicted: one value; log: its logarithm, for values above 0 over several powers of ten; "
        "mean-variance: also the standard deviation of its error; hurdle: is it above 0, and how large then (band gaps "
        "of metals are 0).",
    )

    @property
    def step_divides(self) -> bool:
        """Whether the last Gaussian lies at `gaussian_stop`."""
        return divides(self.gaussian_step, self.gaussian_stop)

    @model_validator(mode="after")
    def _atoms_have_features(self) -> Self:
        if not self.embedding and not self.properties:
            raise ValueError("embedding and properties cannot both be false")
        return self

    @model_validator(mode="after")
    def _sees_angles(self) -> Self:
        if self.max_l and self.name != "cogn":
            raise ValueError(f"max_l is for cogn alone; allowed for {self.name} is 0")
        return self

    @model_validator(mode="after")
    def _has_a_head(self) -> Self:
        if self.head not in ("point", "log") and self.name not in MODELS:
            own = " and ".join(MODELS)
            raise ValueError(f"head {self.head} is for {own} alone; allowed for {self.name} are point and log")
        return self

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        if name not in MODELS | PUBLISHED and not re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
            raise ValueError(f"allowed are {', '.join(MODELS)} and package.module:Class")
        return name


class Placement(BaseModel):
    """How a training runs: what changes no weight but by rounding. The fields of TrainConfig of these names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    processes: int | Literal["auto"] = "auto"
    data: Literal["auto", "resident", "streaming"] = "auto"
    stall_timeout: float = STALL_TIMEOUT
    checkpoint_minutes: float = CHECKPOINT_MINUTES


class TrainConfig(BaseModel):
    """How the weights are found."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: Annotated[int, Field(ge=1, le=10_000)] | None = Field(
        None, description="Passes over the training rows, at most; null: by their number, 100 for a few thousand."
    )
    minutes: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        None,
        exclude_if=lambda minutes: minutes is None,
        description="A budget instead of `epochs`: the schedule follows the clock and ends after so many minutes; null "
        "trains `epochs`.",
    )
    batch_size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None,
        description="Crystals in a batch, of all processes together; null: 32 to 128, by the number of training rows.",
    )
    batch_edges: int | None = Field(
        None,
        ge=1,
        exclude_if=lambda edges: edges is None,
        description="Fewer crystals in a batch that would have more edges than this; null sets no bound.",
    )
    learning_rate: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Step size at its highest; null: 0.008, and 0.002 for cogn."
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="Update rule.")
    weight_decay: float = Field(1e-2, ge=0, le=1, description="Decoupled for adamw, L2 for the others.")
    loss: Literal["l1", "mse", "huber"] = Field("l1", description="Loss on the standardised target.")
    schedule: Literal["onecycle", "cosine", "plateau", "none"] = Field(
        "onecycle", description="Learning-rate schedule."
    )
    warm_up: float = Field(0.1, ge=0, lt=1, description="Share of the steps that onecycle rises.")
    patience: int = Field(
        0, ge=0, description="Stop after so many epochs without a better validation error; 0 never stops early."
    )
    clip: float = Field(0.0, ge=0, description="Largest norm of the gradient; 0 does not clip.")
    ema: float = Field(
        0.995,
        ge=0,
        lt=1,
        description="Decay a step of the exponential moving average of the weights (EMA) that is evaluated; 0 is off.",
    )
    keep: Literal["auto", "last", "best"] = Field(
        "auto",
        description="The epoch whose weights are kept: last, best on validation rows, or auto: last where the schedule "
        "ends near zero and nothing stops early, else best.",
    )
    readout: Literal["fresh", "kept"] = Field(
        "fresh",
        exclude_if=lambda readout: readout == "fresh",
        description="With start_from: is the readout random at the start, or kept (for the same target)?",
    )
    body_rate: float = Field(
        1.0,
        ge=0,
        le=1,
        exclude_if=lambda rate: rate == 1.0,
        description="With start_from: the body's learning rate as a share of the readout's; 0 freezes the body.",
    )
    auxiliary_weight: float = Field(
        1.0,
        gt=0,
        le=100,
        exclude_if=lambda weight: weight == 1.0,
        description="With auxiliary columns: the weight of one of their errors; that of the target is 1.",
    )
    task: Literal["regression", "classification"] = Field(
        "regression", description="Classification: is the target above `threshold` (metals: band gap above 0)?"
    )
    threshold: float = Field(0.0, description="Classification: the positive class lies above this value of the target.")
    seed: int = Field(0, ge=0, lt=2**32, description="Initial weights and order of batches.")
    members: int = Field(
        1,
        ge=1,
        le=100,
        exclude_if=lambda members: members == 1,
        description="Trainings with the seeds `seed`, `seed` + 1, …; of several, the mean is predicted (an ensemble), "
        "with an uncertainty.",
    )
    coverage: float = Field(
        COVERAGE,
        ge=0.5,
        le=0.99,
        exclude_if=lambda coverage: coverage == COVERAGE,
        description="Share of new structures whose value an ensemble's intervals are to hold.",
    )
    where: Literal["here", "gpu-pool"] = Field(
        "here",
        exclude_if=lambda where: where == "here",
        description="here, or gpu-pool: on a worker of the Prefect work pool `gpu`.",
    )

    processes: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] = Field(
        "auto",
        exclude_if=lambda processes: processes == "auto",
        description="Processes that train together on this machine; auto is one a GPU, and one on a CPU.",
    )
    data: Literal["auto", "resident", "streaming"] = Field(
        "auto",
        exclude_if=lambda data: data == "auto",
        description="resident keeps all graphs in memory (on the GPU where they fit); streaming reads each batch from "
        "disk; auto streams what takes more than half of the memory. The weights are the same.",
    )
    stall_timeout: float = Field(
        STALL_TIMEOUT,
        gt=0,
        exclude_if=lambda seconds: seconds == STALL_TIMEOUT,
        description="A training that prints no line for so long (s) is ended, and goes on from its last checkpoint.",
    )
    checkpoint_minutes: float = Field(
        CHECKPOINT_MINUTES,
        gt=0,
        le=10_000,
        exclude_if=lambda minutes: minutes == CHECKPOINT_MINUTES,
        description="Minutes between two copies of the checkpoint to a store at a URL, from where a worker on another "
        "machine goes on.",
    )

    @property
    def without_placement(self) -> Self:
        """The same without what says where and how it runs: only what the weights depend on."""
        fields = type(self).model_fields
        return self.model_copy(update={name: fields[name].default for name in ("where", *Placement.model_fields)})

    @property
    def trainings(self) -> list[Self]:
        """One training a member, without placement: each is the same as a training of one model with that seed."""
        alone = {"members": 1, "coverage": COVERAGE}
        seeds = range(self.seed, self.seed + self.members)
        return [self.without_placement.model_copy(update={**alone, "seed": seed}) for seed in seeds]

    @property
    def placement(self) -> Placement:
        """How it runs."""
        return Placement(**{name: getattr(self, name) for name in Placement.model_fields})

    @property
    def keeps_last_epoch(self) -> bool:
        """Are the last epoch's weights kept, or those of the best on validation rows?"""
        settles = self.schedule in {"onecycle", "cosine"} and not self.patience
        return self.keep == "last" or (self.keep == "auto" and settles)

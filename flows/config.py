"""The parameters of the flows, and how they are read from presets, YAML files and `--set KEY=VALUE`.

The UI's form, the command line, YAML files and Python all use the names that are declared here.
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from crystals.config import ChecksConfig, GraphConfig, MaterialsProjectQuery
from evaluation.config import PromotionConfig
from flows.member_settings import Training, trainings_of
from gnn.config import MODELS, PUBLISHED, ModelConfig, SplitConfig, TrainConfig
from storage.errors import InputError

LONGEST = 200  # characters of what was given that a message repeats
PRESETS = Path(__file__).parent / "presets"
# What the YAML parser raises: its own errors, and Python's on a value that no object can hold (the 30th of February).
NOT_YAML = (yaml.YAMLError, ValueError, AttributeError, RecursionError)


def _trainable(model: ModelConfig) -> ModelConfig:
    if model.name in PUBLISHED:
        raise ValueError(
            f"{model.name} is for published weights and cannot be trained; allowed are {', '.join(MODELS)}"
        )
    return model


def _for_the_task(model: ModelConfig, info: ValidationInfo) -> ModelConfig:
    train = info.data.get("train")
    if train is not None and train.task == "classification" and model.head != "point":
        raise ValueError(f"head {model.head} is for a regression; a classification has the head point")
    _learns(model, info.data.get("auxiliary", []))
    return model


def _weighed_by(model: ModelConfig, graphs: GraphConfig) -> None:
    if model.name not in MODELS and graphs.reduce_symmetry:
        raise ValueError(
            f"reduce_symmetry has to be false for {model.name}: only {' and '.join(MODELS)} count an atom as often "
            "as symmetry repeats it"
        )


def _learns(model: ModelConfig, auxiliary: list[str]) -> None:
    if auxiliary and model.name not in MODELS:
        raise ValueError(f"auxiliary columns are for {' and '.join(MODELS)} alone, not for {model.name}")


def _sees_angles(model: ModelConfig, graphs: GraphConfig) -> None:
    if model.max_l and not graphs.vectors:
        raise ValueError("vectors has to be true for model.max_l above 0, whose angles are between vectors of edges")


StorePlace = Annotated[
    str, Field(description="The folder that keeps every step's result, or its URL (s3://bucket/folder).")
]
Device = Annotated[str, Field(pattern="^(auto|cpu|cuda(:[0-9]+)?)$", description="auto, cpu, cuda or cuda:N.")]

Train = Annotated[TrainConfig, Field(description="How the model is trained.")]
Model = Annotated[
    ModelConfig, AfterValidator(_trainable), AfterValidator(_for_the_task), Field(description="The network.")
]
Split = Annotated[
    SplitConfig, Field(description="Which materials are trained on, and which are kept for validation and test.")
]


class RetrainConfig(BaseModel):
    """The parameters of the flow `retrain`: of a run's form in the UI, of a YAML file, and of `cgcnn retrain --set`.

    The form and the help list them in this order, those first that are changed most often.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(
        "alloys", description="alloys, materials-project, a table of structures, or a folder of CIF files."
    )
    target: str | None = Field(
        None, description="The column to learn; null where there is only one, or the source has a default."
    )
    auxiliary: list[Annotated[str, Field(min_length=1)]] = Field(
        [],
        max_length=20,
        exclude_if=lambda columns: not columns,
        description="Other columns that the network learns beside the target (multi-task learning), as in "
        "[band_gap]; a row may lack them. Only the target is predicted.",
    )
    store: StorePlace = "store"
    device: Device = "auto"
    start_from: str | None = Field(
        None,
        description="Fine-tuning: the trained model whose weights the training starts from: a model's folder, a "
        "champion, a run, or latest; null starts from random ones.",
    )
    train: Train = TrainConfig()
    model: Model = ModelConfig()
    graphs: GraphConfig = Field(  # its default, too, has to fit the model
        GraphConfig(), validate_default=True, description="Which neighbours an atom is joined to."
    )
    split: Split = SplitConfig()
    materials_project: MaterialsProjectQuery = Field(
        MaterialsProjectQuery(), description="Which materials are asked for, where the source is materials-project."
    )
    checks: ChecksConfig = Field(ChecksConfig(), description="The bounds outside of which a structure is rejected.")
    promotion: PromotionConfig = Field(
        PromotionConfig(), description="When a newly trained model takes the champion's place."
    )
    member_settings: list[dict[str, Any]] = Field(
        [],
        max_length=100,
        exclude_if=lambda settings: not settings,
        description="An ensemble whose members differ in more than the seed: the settings of each, as "
        "[{model.n_conv: 3}, {model.n_conv: 4, train.learning_rate: 0.001}]; a sweep writes them.",
    )

    @field_validator("auxiliary")
    @classmethod
    def _named_once(cls, columns: list[str]) -> list[str]:
        if len(set(columns)) < len(columns):
            raise ValueError("a column is named twice")
        return columns

    @field_validator("graphs")
    @classmethod
    def _weighed_by_the_model(cls, graphs: GraphConfig, info: ValidationInfo) -> GraphConfig:
        if "model" in info.data:
            _weighed_by(info.data["model"], graphs)
            _sees_angles(info.data["model"], graphs)
        return graphs

    @field_validator("member_settings")
    @classmethod
    def _trainable_members(cls, settings: list[dict[str, Any]], info: ValidationInfo) -> list[dict[str, Any]]:
        if settings and {"model", "train", "graphs"} <= set(info.data):
            for model, _ in trainings_of(settings, info.data["model"], info.data["train"]):
                _weighed_by(_trainable(model), info.data["graphs"])
                _sees_angles(model, info.data["graphs"])
                _learns(model, info.data.get("auxiliary", []))
        return settings

    @property
    def trainings(self) -> dict[str, Training]:
        """The network and the training of each member of an ensemble, by its label; else of the one model."""
        if self.member_settings:
            made = trainings_of(self.member_settings, self.model, self.train)
            return {f"member-{number}": each for number, each in enumerate(made, start=1)}
        return {f"seed-{train.seed}": (self.model, train) for train in self.train.trainings}


class TrainingConfig(BaseModel):
    """The parameters of the flow `train`: a training on graphs that are in the store."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    graphs: str = Field(pattern="^[0-9a-f]{64}$", description="The key of the graphs, a folder of `store/graphs/`.")
    store: StorePlace = "store"
    device: Device = "auto"
    start: str | None = Field(
        None, pattern="^[0-9a-f]{64}$", description="The key of the weights to start from, of `store/initial-weights/`."
    )
    train: Train = TrainConfig()
    model: Model = ModelConfig()
    split: Split = SplitConfig()

    @field_validator("train")
    @classmethod
    def _of_one_model(cls, train: TrainConfig) -> TrainConfig:
        if train.members > 1:
            raise ValueError("members has to be 1: `retrain` has each member of an ensemble trained by itself")
        return train


Config = TypeVar("Config", bound=RetrainConfig)


def _usable(store: str) -> None:
    if Path(store).exists() and not Path(store).is_dir():
        raise InputError(f"--store {store}: is a file; a store is a folder")


def configured(layers: list[dict[str, Any]]) -> RetrainConfig:
    """`configured_as` for the flow `retrain`."""
    return configured_as(RetrainConfig, layers)


def configured_as(kind: type[Config], layers: list[dict[str, Any]]) -> Config:
    """Merge the layers, later ones over earlier ones, key by key, and validate the result as a `kind`.

    Raises InputError for the first fault: which key, what is allowed, and what was given.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merged(merged, layer)
    config = validated(merged, kind)
    _usable(config.store)
    return config


def with_settings(config: Config, settings: dict[str, Any], kind: type[Config]) -> Config:
    """The configuration with other settings, as in {"train": {"epochs": 5}}; fields that `kind` lacks are left out.

    Raises InputError as `configured` does.
    """
    below = {name: value for name, value in config.model_dump().items() if name in kind.model_fields}
    return validated(_merged(below, settings), kind)


def validated(settings: dict[str, Any], kind: type[Config]) -> Config:
    """The settings as a `kind`. Raises InputError for the first fault: which key, what is allowed, what was given."""
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        raise InputError(_first_fault(error, kind)) from None


def preset_or_file(name: str) -> dict[str, Any]:
    """The settings of a preset (a file in `flows/presets`, by its name) or of a YAML file.

    Raises InputError if there is no such file, or it is not a YAML mapping.
    """
    path = PRESETS / f"{name}.yaml"
    if not path.exists():
        path = Path(name)
    presets = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
    if not path.is_file():
        raise InputError(f"--config {name}: no such file, and no preset of that name; presets are {presets}")
    try:
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
    except NOT_YAML as error:
        raise InputError(f"--config {name}: not YAML: {error}") from None
    if settings is not None and not isinstance(settings, dict):
        raise InputError(f"--config {name}: expected keys and values at the top, got {type(settings).__name__}")
    return settings or {}


def assignment(text: str) -> dict[str, Any]:
    """Parse `train.epochs=50` into {"train": {"epochs": 50}}; the value is parsed as YAML. Raises InputError."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: expected KEY=VALUE, as in train.epochs=50")
    try:
        return nested({key.strip(): yaml.safe_load(value)})
    except NOT_YAML:
        raise InputError(f"--set {text}: {value!r} is not a YAML value") from None


def nested(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with dotted keys, as in {"train.epochs": 5}, as {"train": {"epochs": 5}}."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        for part in reversed(str(key).split(".")):
            value = {part: value}
        found = _merged(found, value)
    return found


def keys(kind: type[BaseModel] = RetrainConfig) -> dict[str, Any]:
    """Every key of a `kind` in its dotted form (`train.epochs`), with its pydantic field."""
    found: dict[str, Any] = {}
    for name, field in kind.model_fields.items():
        if isinstance(field.default, BaseModel):
            found |= {f"{name}.{n}": f for n, f in type(field.default).model_fields.items()}
        else:
            found[name] = field
    return found


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged


def _first_fault(error: ValidationError, kind: type[BaseModel]) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"] if "[" not in str(part))  # nor the types of a union
    if fault["type"] != "extra_forbidden":
        message = fault["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
        given = repr(fault["input"])
        short = (
            not isinstance(fault["input"], dict | BaseModel) and len(given) <= LONGEST
        )  # of a group, all of it is given
        return f"{f'{where}: ' if where else ''}{message}{f', got {given}' if short else ''}"
    known = list(dict.fromkeys([*keys(kind), *kind.model_fields]))
    near = difflib.get_close_matches(where, known, n=2, cutoff=0.8) or difflib.get_close_matches(where, known, n=1)
    group = where.rpartition(".")[0]
    allowed = [key for key in known if key.rpartition(".")[0] == group]
    hint = f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(dict.fromkeys(allowed))}"
    return f"{where}: no such key; {hint}"

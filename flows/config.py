"""One vocabulary for the UI's form, the command line, a YAML file and Python: the parameters of `retrain`."""

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from crystals.config import ChecksConfig, GraphConfig, MaterialsProjectQuery
from evaluation.config import PromotionConfig
from gnn.config import ModelConfig, SplitConfig, TrainConfig
from storage.errors import InputError

PRESETS = Path(__file__).parent / "presets"
# What the YAML parser raises: its own errors, and Python's on a value that no object can hold (the 30th of February).
NOT_YAML = (yaml.YAMLError, ValueError, AttributeError, RecursionError)


class RetrainConfig(BaseModel):
    """Everything that a run of `retrain` can be told, with the recipe that is used where nothing is said."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(
        "alloys", description="alloys, materials-project, a table of structures, or a folder of CIF files."
    )
    target: str | None = Field(None, description="The column to learn; null takes it where there is only one.")
    store: str = Field("store", description="The folder that keeps every step's result, or its URL.")
    device: str = Field("auto", pattern="^(auto|cpu|cuda(:[0-9]+)?)$", description="auto, cpu, cuda or cuda:N.")
    materials_project: MaterialsProjectQuery = MaterialsProjectQuery()
    checks: ChecksConfig = ChecksConfig()
    graphs: GraphConfig = GraphConfig()
    split: SplitConfig = SplitConfig()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    promotion: PromotionConfig = PromotionConfig()


def _usable(store: str) -> None:
    if Path(store).exists() and not Path(store).is_dir():
        raise InputError(f"--store {store}: is a file; a store is a folder")


def configured(layers: list[dict[str, Any]]) -> RetrainConfig:
    """The configuration that the layers give, each over the ones before it. Raises InputError in one line."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merged(merged, layer)
    try:
        config = RetrainConfig.model_validate(merged)
    except ValidationError as error:
        raise InputError(_first_fault(error)) from None
    _usable(config.store)
    return config


def preset_or_file(name: str) -> dict[str, Any]:
    """The settings of a preset (chapter, cogn) or of a YAML file."""
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
    """`train.epochs=50` as {"train": {"epochs": 50}}; values are YAML."""
    key, equals, value = text.partition("=")
    if not equals:
        raise InputError(f"--set {text}: expected KEY=VALUE, as in train.epochs=50")
    try:
        nested = yaml.safe_load(value)
    except NOT_YAML:
        raise InputError(f"--set {text}: {value!r} is not a YAML value") from None
    for part in reversed(key.strip().split(".")):
        nested = {part: nested}
    return dict(nested)


def keys() -> dict[str, Any]:
    """Every key in its dotted form, with its field."""
    found: dict[str, Any] = {}
    for name, field in RetrainConfig.model_fields.items():
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


def _first_fault(error: ValidationError) -> str:
    fault = error.errors()[0]
    where = ".".join(str(part) for part in fault["loc"] if "[" not in str(part))  # nor the types of a union
    if fault["type"] != "extra_forbidden":
        message = fault["msg"].removeprefix("Value error, ").replace("valid tuple", "list")
        return f"{where}: {message}, got {fault['input']!r}"
    known = [*keys(), *RetrainConfig.model_fields]
    near = difflib.get_close_matches(where, known, n=2, cutoff=0.8) or difflib.get_close_matches(where, known, n=1)
    group = where.rpartition(".")[0]
    allowed = [key for key in known if key.rpartition(".")[0] == group]
    hint = f"did you mean {' or '.join(near)}?" if near else f"allowed: {', '.join(dict.fromkeys(allowed))}"
    return f"{where}: no such key; {hint}"

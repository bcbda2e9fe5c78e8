"""A model's folder may come from anybody: what is wrong in it is one line, and no code that it names runs unasked."""

import json
import math
import sys

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from gnn.checkpoint import load_model, save_model
from gnn.config import ModelConfig
from gnn.model_card import ModelCard, read_card
from gnn.models.registry import build_model
from storage.errors import InputError

CPU = torch.device("cpu")
CONFIG = ModelConfig(atom_fea_len=4, h_fea_len=4, n_conv=1)


def test_a_model_with_angles_needs_vectors(original, tmp_path):
    known = read_card(original).model_dump()
    angles = {**known, "model": ModelConfig(name="cogn", max_l=2).model_dump()}
    (tmp_path / "model.json").write_text(json.dumps(angles))
    with pytest.raises(InputError, match="graph_config: has no vectors, and a model with max_l above 0"):
        read_card(tmp_path)
    angles["graph_config"] |= {"vectors": True}
    (tmp_path / "model.json").write_text(json.dumps(angles))
    assert read_card(tmp_path).model.max_l == 2


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    card = ModelCard(
        model=CONFIG,
        graph_config={"cutoff": 8.0},
        target="band_gap",
        unit="eV",
        task="regression",
        threshold=0.0,
        mean=0.0,
        deviation=1.0,
        elements=[1, 8],
        ranges={"volume_per_atom": (9.0, 20.0), "atoms": (1, 8), "shortest_distance": (1.0, 3.0)},
    )
    save_model(build_model(CONFIG).state_dict(), card, folder)
    return folder


@pytest.fixture
def model(original, tmp_path):
    """A copy of a model's folder, its model.json changed: key → value, None to leave the key out."""

    def make(changes: dict | None = None, **config):
        card = json.loads((original / "model.json").read_text())
        card["model"] |= config
        card |= changes or {}
        (tmp_path / "model.json").write_text(json.dumps({k: v for k, v in card.items() if v is not ...}))
        (tmp_path / "model.safetensors").write_bytes((original / "model.safetensors").read_bytes())
        return tmp_path

    return make


def refusal(folder, **how) -> str:
    with pytest.raises(InputError) as fault:
        load_model(folder, CPU, **how)
    assert len(str(fault.value).splitlines()) == 1
    return str(fault.value)


@pytest.mark.parametrize(
    ("changes", "config", "message"),
    [
        ({"mean": ...}, {}, "mean: Field required"),
        ({"mean": math.nan}, {}, "mean: Input should be a finite number"),
        ({"mean": "much"}, {}, "mean: Input should be a valid number"),
        ({"deviation": 0}, {}, "deviation: Input should be greater than 0"),
        ({"deviation": 10**400}, {}, "deviation: Input should be a finite number"),
        ({"elements": [10**30]}, {}, "elements.0"),
        ({"elements": [0]}, {}, "elements.0: Input should be greater than or equal to 1"),
        ({"task": "guess"}, {}, "task: Input should be 'regression' or 'classification'"),
        ({"target": "\x1b[2J"}, {}, "target: has characters that cannot be printed"),
        ({"ranges": {"atoms": [8, 1]}}, {}, "ranges"),
        ({"model": []}, {}, "model: Input should be"),
        ({}, {"n_conv": 10**6}, "model.n_conv: Input should be less than or equal to 20"),
        ({}, {"gaussian_step": 1e-300}, "model.gaussian_step: Input should be greater than or equal to 0.01"),
        ({}, {"name": "../../etc/passwd"}, "model.name: allowed are cgcnn, cogn"),
        ({}, {"colour": "red"}, "model.colour: Extra inputs are not permitted"),
        ({}, {"atom_fea_len": 8}, "model.safetensors does not fit model.json"),
        ({}, {"name": "cogn"}, "model.safetensors does not fit model.json"),
    ],
)
def test_what_is_wrong_in_a_model_json_is_one_line(model, changes, config, message):
    assert message in refusal(model(changes, **config))


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\xff", "[" * 100_000, "1" * 5000, " " * 2_000_000])
def test_what_is_no_model_json_at_all_is_one_line(model, text):
    folder = model()
    (folder / "model.json").write_bytes(text.encode("latin-1"))
    assert "model.json" in refusal(folder)


def test_weights_that_are_missing_damaged_or_not_finite_are_one_line(model, original):
    folder = model()
    weights = folder / "model.safetensors"
    weights.unlink()
    assert "there is no model.safetensors" in refusal(folder)
    weights.write_bytes(b"\xff" * 100)
    assert "cannot be read" in refusal(folder)
    values = load_file(original / "model.safetensors")
    values["out.bias"] = torch.full_like(values["out.bias"], math.nan)
    save_file(values, weights)
    assert "out.bias has numbers that are not finite" in refusal(folder)


def test_a_card_from_before_ranges_were_kept_still_loads(model):
    assert read_card(model({"ranges": ...})).ranges is None


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_subnormal=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_value_of_any_key_is_accepted_or_one_line(original, tmp_path, data):
    card = json.loads((original / "model.json").read_text())
    inner = data.draw(st.sampled_from([card, card["model"], card["ranges"]]))
    inner[data.draw(st.sampled_from(sorted(inner)))] = data.draw(JUNK)
    (tmp_path / "model.json").write_text(json.dumps(card))
    (tmp_path / "model.safetensors").write_bytes((original / "model.safetensors").read_bytes())
    try:
        load_model(tmp_path, CPU)
    except InputError as reason:
        message = str(reason)
        assert len(message.splitlines()) == 1


@pytest.fixture
def outside(tmp_path, monkeypatch):
    """A module outside the package that leaves a mark when it is imported."""
    mark = tmp_path / "imported"
    lines = [
        "import pathlib, torch",
        f"pathlib.Path({str(mark)!r}).touch()",
        "class Net(torch.nn.Module): pass",
        "def function(): pathlib.Path(__file__).with_name('called').touch(); return Net()",
        "class NoModule:",
        "    def __init__(self): pathlib.Path(__file__).with_name('called').touch()",
        "net = Net()",
    ]
    (tmp_path / "outside_code.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    yield mark
    sys.modules.pop("outside_code", None)


def test_code_from_outside_is_not_even_imported_without_trust(model, outside):
    folder = model(name="outside_code:Net")
    assert "--trust-code" in refusal(folder)
    assert not outside.exists()


@pytest.mark.parametrize("name", ["outside_code:function", "outside_code:NoModule", "outside_code:net", "os:getcwd"])
def test_with_trust_only_a_class_of_modules_is_called(model, outside, name):
    assert "is not a subclass of torch.nn.Module" in refusal(model(name=name), trust_code=True)
    assert not outside.with_name("called").exists()


def test_with_trust_a_module_from_outside_is_loaded(model, outside):
    folder = model(name="outside_code:Net")
    save_file({"basis.centres": build_model(CONFIG).basis.centres}, folder / "model.safetensors")
    loaded, card = load_model(folder, CPU, trust_code=True)
    assert outside.exists()
    assert type(loaded.model).__name__ == "Net"
    assert card.model.name == "outside_code:Net"

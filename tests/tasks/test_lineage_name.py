"""Which models follow each other as champions: those that answer the same question about the same source."""

from typing import Any

import pytest

from gnn.config import ModelConfig, TrainConfig
from storage.artefact import Artefact, digest_of
from storage.champions import Decision, decide, lineage, now
from storage.errors import InputError
from storage.registry import champion_model
from storage.store import Store
from tasks.compare import lineage_name, model_of
from tasks.promote import card_key
from tasks.train import revisions


def artefact(step: str, facts: dict[str, Any], **parameters: Any) -> Artefact:
    return Artefact(
        step=step,
        version=1,
        parameters=parameters,
        inputs={},
        key=digest_of([step, parameters]),
        created=now(),
        files={},
        facts=facts,
    )


DOWNLOADED = artefact("download", {"title": "mp", "note": ""}, source="materials-project")


def trained(task: str, threshold: float) -> Artefact:
    return artefact("train-model", {"target": "band_gap"}, train={"task": task, "threshold": threshold})


@pytest.mark.parametrize(
    ("threshold", "name"),
    [(0.0, "0"), (0.5, "0.5"), (-0.5, "-0.5"), (1e20, "1e20"), (1e-20, "1e-20"), (1 / 3, "0.3333333333333333")],
)
def test_a_classification_is_named_by_its_threshold(threshold, name):
    assert lineage_name(DOWNLOADED, trained("classification", threshold)) == f"mp-band_gap-classification-{name}"


def test_a_regression_has_no_threshold():
    assert lineage_name(DOWNLOADED, trained("regression", 0.5)) == "mp-band_gap"
    assert set(card_key({"downloaded": DOWNLOADED, "trained": trained("regression", 0.5)})) == {
        *("run", "source", "note", "model")
    }


def test_another_threshold_has_another_champion(tmp_path):
    """Their classes are not the same, so neither is measured against the labels of the other."""
    store = Store(root=tmp_path)
    for threshold in (0.0, 2.0, 2.5):
        made = trained("classification", threshold)
        name = lineage_name(DOWNLOADED, made)
        assert lineage(store, name).reference_model(model_of(made)) is None
        decision = Decision(
            at=now(), kind="retrain", run="x", model=model_of(made), champion=None, promoted=True, reason="a test"
        )
        assert decide(store, name, decision).champion == decision
    with pytest.raises(InputError, match=r"say whose champion; .* has mp-band_gap-classification-0, "):
        champion_model("champion", store)
    assert champion_model("mp-band_gap-classification-2", store) == model_of(trained("classification", 2.0))


def test_a_classification_from_before_names_had_thresholds_makes_the_champion_not_ambiguous(tmp_path):
    store = Store(root=tmp_path)
    made = trained("classification", 0.0)
    for name in ("mp-band_gap-classification", lineage_name(DOWNLOADED, made)):
        model = f"train-model/{digest_of(name)}"
        decide(
            store,
            name,
            Decision(at=now(), kind="retrain", run="x", model=model, champion=None, promoted=True, reason="a test"),
        )
    assert champion_model("champion", store) == model
    assert champion_model("mp-band_gap-classification", store) != model


def revised(**settings: Any) -> dict[str, int]:
    start = settings.pop("start", None)
    model = ModelConfig.model_validate({k: v for k, v in settings.items() if k in ModelConfig.model_fields})
    train = TrainConfig.model_validate({k: v for k, v in settings.items() if k in TrainConfig.model_fields})
    return revisions({"model": model, "train": train, "start": start})


def test_only_trainings_that_a_change_reached_have_other_keys():
    weights = artefact("initial-weights", {})
    assert revised() == revised(gaussian_step=0.2580645) == revised(start=weights) == {}
    assert revised(readout="kept") == {}
    assert revised(gaussian_step=0.3) == {"gaussians": 2}
    assert revised(start=weights, readout="kept") == revised(start=weights, body_rate=0) == {"start": 2}

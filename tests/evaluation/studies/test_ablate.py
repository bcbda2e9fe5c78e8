"""The report of an ablation: differences from the full model, and what is said of the gate."""

import numpy as np
import pyarrow.parquet as pq
import pytest

from evaluation.ablate import AblateSpec, about_gate, build
from evaluation.study_figures import Difference

TEST = 60


@pytest.fixture
def made(tmp_path, about, model):
    """made({variant: [a factor on the errors for each seed]}, …): makes the report; its facts, summary and table."""

    def make(factors, settings=None):
        random = np.random.default_rng(3)
        target = np.linspace(0, 4, TEST + 20)
        error = random.uniform(0.05, 0.15, TEST + 20)
        split = ["test"] * TEST + ["train"] * 20
        variants = {
            name: [model(tmp_path, f"{name}, seed {n}", target, target + f * error, split) for n, f in enumerate(each)]
            for name, each in factors.items()
        }
        settings = {name: {} for name in factors} | (settings or {"no gate": {"model": {"gate": False}}})
        spec = AblateSpec(
            output=tmp_path, scratch=tmp_path, about=about("ablate"), variants=variants, settings=settings
        )
        facts = build(spec)
        table = {row["variant"]: row for row in pq.read_table(tmp_path / "ablation.parquet").to_pylist()}
        return facts, (tmp_path / "summary.md").read_text(), table

    return make


def test_a_variant_with_twice_the_errors_differs_by_100_percent_exactly(made):
    facts, summary, table = made({"full": [1, 1], "no gate": [2, 2]})
    row = table["no gate"]
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((1, 1, 1))
    assert "no gate: +100.0 % (+100.0 % to +100.0 %)" in facts["headline"]
    assert "that the textbook predicts shows." in summary


def test_seeds_that_differ_widen_the_interval(made):
    _, _, table = made({"full": [0.8, 1.2], "no gate": [1.6, 2.4]})
    assert table["no gate"]["difference"] == pytest.approx(1)
    assert table["no gate"]["low"] < 0.4
    assert table["no gate"]["high"] > 1.6


def test_without_a_variant_that_is_the_gate_alone_nothing_is_said_of_the_textbook(made):
    facts, summary, _ = made({"full": [1], "small": [1.5]}, {"small": {"model": {"gate": False, "n_conv": 1}}})
    assert "textbook" not in summary
    assert facts["headline"].startswith("small: +50.0 %")
    assert "With one seed" in summary


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (0.55, 0.9, "the loss of 50–100 % that the textbook predicts shows"),
        (1.2, 1.9, "more than the 50–100 %"),
        (0.3, 0.7, "does not decide"),
        (0.9, 1.4, "does not decide"),
        (-0.1, 1.4, "does not decide"),
        (0.05, 0.2, "a loss, but not the 50–100 %"),
        (-0.05, 0.1, "no loss that can be told from zero; the 50–100 % that the textbook predicts does not show"),
        (-0.3, -0.1, "no loss but a gain; the 50–100 % that the textbook predicts does not show"),
    ],
)
def test_what_is_said_of_the_gate_follows_from_where_the_interval_lies(low, high, told):
    assert told in about_gate(Difference("no gate", (low + high) / 2, low, high))

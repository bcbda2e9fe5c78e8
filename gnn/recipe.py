"""The default recipe: epochs, batch size and learning rate by the number of training rows. Imports no torch.

What the numbers rest on is in docs/experiments.md, "the recipe by size".
"""

import math

from gnn.config import SplitConfig, TrainConfig

CHOSEN = {"epochs", "batch_size", "learning_rate"}
FEW, MANY = 900, 15_000  # training rows between which the number of epochs does not depend on theirs
MOST_EPOCHS = 3  # times those of that middle, of few rows
BATCHES = ((30_000, 128), (10_000, 64), (0, 32))  # from so many rows on
# By the name of the model; those of other packages are trained as cgcnn. Message networks without batch norm want
# smaller steps, and more of them.
EPOCHS = {"cogn": 300}
RATES = {"cogn": 2e-3}
MANY_FOR = {"cogn": 3_000}  # where MANY would be too long: an epoch takes ten times as long


class Recipe(TrainConfig):
    """A TrainConfig in which nothing is left to the number of training rows; its defaults are those of the middle."""

    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 8e-3

    @property
    def whole_epochs(self) -> float:
        """The epochs after which it ends; endless where a time ends it."""
        return math.inf if self.minutes else self.epochs


def recipe_for(config: TrainConfig, model: str, rows: int) -> Recipe:
    """`config` with what it leaves open, for the model of this name and so many training rows."""
    middle = Recipe()
    usual = {
        "epochs": math.ceil(EPOCHS.get(model, middle.epochs) * _share_of_epochs(rows, MANY_FOR.get(model, MANY))),
        "batch_size": next(size for least, size in BATCHES if rows >= least),
        "learning_rate": RATES.get(model, middle.learning_rate),
    }
    said = config.model_dump()
    return Recipe(**said | {name: value for name, value in usual.items() if said[name] is None})


def _share_of_epochs(rows: int, many: int) -> float:
    """Fewer rows are seen more often, so that steps do not become few; more rows less often, as epochs take longer."""
    if rows < FEW:
        return min(FEW / max(rows, 1), MOST_EPOCHS)
    return float(min((many / rows) ** (1 / 3), 1.0))


def expected_rows(structures: int, split: SplitConfig) -> int:
    """How many of so many structures will be training rows, about: a published split may have other shares."""
    return max(1, round(structures * (1 - split.test - split.validation) * split.train_share))

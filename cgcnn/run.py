"""The runs of a store: what was trained, what it reaches, and its tables as DataFrames."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from typing import TYPE_CHECKING, overload

from cgcnn.model import Model
from cgcnn.wording import arguments_not_options
from storage.errors import InputError

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from storage import registry
    from storage.artefact import Artefact
    from storage.store import Store

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, repr=False)
class Run:
    """A finished training: its card, and where its tables lie."""

    _run: registry.Run
    _store: Store

    @property
    def name(self) -> str:
        """Source, target and the beginning of the training's key; `cgcnn.load` finds it by this."""
        return self._run.card.run

    @property
    def card(self) -> dict[str, object]:
        """What `cgcnn show --json` tells of the run: target, unit, test error, baseline, report's path, and so on."""
        return self._run.to_dict(self._store.absolute())

    @property
    def report(self) -> str:
        """Path or URL of the report's page."""
        return str(self.card["report"])

    def __repr__(self) -> str:
        card = self._run.card
        test = "undefined" if card.test is None else f"{card.test:.4g} {card.unit}".rstrip()
        return f"<run {card.run}: test {card.metric.upper()} {test} on {card.materials:,} materials>"

    def model(self, device: str = "auto", *, trust_code: bool = False) -> Model:
        """The model that it trained, loaded; `trust_code` as in `cgcnn.load`."""
        return Model(self._store.local_folder(*self._trained), device, trust_code=trust_code)

    def predictions(self) -> pd.DataFrame:
        """One row a material: material_id, formula, split, target, predicted, atomic_numbers, spacegroup_number."""
        return self._table("predictions.parquet")

    def history(self) -> pd.DataFrame:
        """The learning curve, one row an epoch: epoch, learning_rate, train_loss, validation_mae."""
        return self._table("history.parquet")

    def metrics(self) -> pd.DataFrame:
        """The report's errors, one row a split: count, mae, rmse, r2 and the baseline's; of a classification its own.

        In the target's unit. The index is train, validation, test. Raises InputError if the store has lost them.
        """
        import pandas as pd

        evaluated = self._evaluated()
        path = self._store.local_folder(evaluated.step, evaluated.key) / "metrics.json"
        found = json.loads(path.read_text(encoding="utf-8"))
        rows = {name: found[name] for name in SPLITS if found.get(name)}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("split")

    @property
    def _trained(self) -> tuple[str, str]:
        from storage.names import split_path  # loads pydantic

        return split_path(self._run.card.model)

    def _table(self, name: str) -> pd.DataFrame:
        import pandas as pd

        path: Path = self._store.local_folder(*self._trained) / name
        if not path.exists():
            raise InputError(f"{self.name}: the store {self._store.location('')} has lost its {name}")
        return pd.read_parquet(path)

    def _evaluated(self) -> Artefact:
        """The evaluation of this training: the artefact whose input it is."""
        trained = self._store.read(*self._trained)
        made = self._store.list("evaluate") if trained else iter(())
        found = next((a for a in made if trained and a.inputs["trained"] == trained.digest), None)
        if found is None:
            raise InputError(f"{self.name}: the store {self._store.location('')} has lost its metrics")
        return found


class Runs(Sequence[Run]):
    """The runs of a store, newest first: by position, or by a part of the name that fits one run alone."""

    def __init__(self, found: Sequence[Run]) -> None:
        self._found = tuple(found)

    def __len__(self) -> int:
        return len(self._found)

    @overload
    def __getitem__(self, which: int | str) -> Run: ...

    @overload
    def __getitem__(self, which: slice) -> Runs: ...

    def __getitem__(self, which: int | str | slice) -> Run | Runs:
        if isinstance(which, slice):
            return Runs(self._found[which])
        if isinstance(which, int):
            return self._found[which]
        fitting = [run for run in self._found if which == run.name] or [run for run in self._found if which in run.name]
        if len({run._trained for run in fitting}) == 1:  # the newest of several cards of one model
            return fitting[0]
        names = ", ".join(run.name for run in (fitting or self._found)[:5]) or "none"
        raise InputError(f"run {which}: {f'fits {len(fitting)} runs' if fitting else 'is no run'}; there is {names}")

    def __repr__(self) -> str:
        return "\n".join(map(repr, self._found)) or "no runs"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return str(self.to_frame()[SHOWN].to_html())

    def to_frame(self) -> pd.DataFrame:
        """One row a run: finished (UTC), run, name of the champions it belongs to, source, target, unit, test, …"""
        import pandas as pd

        from storage import registry

        columns = ["finished", *registry.Card.model_fields]
        table = pd.DataFrame([run.card for run in self._found], columns=columns)
        return table.assign(finished=pd.to_datetime(table["finished"]))


SHOWN = ["finished", "run", "target", "unit", "metric", "test", "baseline", "materials"]


def runs(store: str | PathLike[str] = "store") -> Runs:
    """The finished runs in the store (a folder or a URL), newest first. Raises InputError if there is no such store."""
    from flows.show import existing
    from storage import registry

    with arguments_not_options():
        place = existing(fspath(store)).absolute()
        return Runs([Run(run, place) for run in registry.runs(place)])

"""Model cards: what was trained, its test error, and the paths of its files. Each run stores one card."""

import json
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from storage.champions import lineages
from storage.errors import InputError
from storage.names import ArtefactPath, FilePath, Line, split_path
from storage.program import Facts, Spec, main
from storage.store import Store

STEP = "promote"
CARD = "card.json"
LATEST = "latest"
CHAMPION = "champion"
RELEASED = ".pth.tar"
WEIGHTS = "model.safetensors"


def weights_of(members: int) -> list[str]:
    """The names of the files of weights in the folder of a model with so many members."""
    return [WEIGHTS] if members == 1 else [f"model-{number}.safetensors" for number in range(members)]


class Coverage(BaseModel):
    """Share of the values that lie in an ensemble's intervals: what they promise, and what the test materials have."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    promised: float = Field(gt=0, lt=1)
    observed: float = Field(ge=0, le=1)


class Card(BaseModel):
    """A trained, evaluated, reported model. Paths are relative to the store's root; errors are in `unit`."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    run: Line
    name: Line  # of source, target and a classification's threshold: models of one name follow each other as champions
    source: Line
    note: Line
    target: Line
    unit: Line
    task: Line
    metric: Line
    test: float | None
    baseline: float | None
    materials: int
    model: ArtefactPath
    predictions: FilePath
    report: FilePath
    members: int = Field(1, ge=1, exclude_if=lambda members: members == 1)
    start_from: Line = Field("", exclude_if=lambda start: not start)  # target and key of its first weights
    coverage: Coverage | None = Field(None, exclude_if=lambda coverage: coverage is None)


class Run(BaseModel):
    """A card, and the ISO 8601 time at which its run finished."""

    model_config = ConfigDict(frozen=True)

    finished: Line
    card: Card

    def to_dict(self, store: Store) -> dict[str, object]:
        """The card as `cgcnn show --json` prints it, with absolute paths or URLs."""
        card = self.card.model_dump() | {"members": self.card.members}
        return {
            "finished": self.finished,
            **card,
            **{n: store.location(card[n]) for n in ("model", "predictions", "report")},
        }


class CardSpec(Spec):
    """The spec of the program that writes a card."""

    card: Card


def build(spec: CardSpec) -> Facts:
    """Write card.json."""
    (spec.output / CARD).write_text(spec.card.model_dump_json(indent=1))
    return {}


def runs(store: Store, warn: Callable[[str], object] = lambda _: None) -> list[Run]:
    """Every run in the store, newest first. `warn` gets a line for each that is damaged, and therefore not listed."""
    found = []
    for artefact in store.list(STEP, warn):
        try:
            card = Card.model_validate_json(store.content(artefact, CARD) or b"")
        except ValidationError:
            where = store.location(f"{artefact.step}/{artefact.key}/{CARD}")
            warn(f"{where}: is damaged, and left out; the `cgcnn retrain` that it is of makes it again")
            continue
        found.append(Run(finished=artefact.created, card=card))
    return found


def card_of(wanted: str, store: Store) -> Card:
    """The card of the run `wanted`: a name, a part of one, or `latest`. Raises InputError unless exactly one fits."""
    known = runs(store)
    matching = known[:1] if wanted == LATEST else [r for r in known if r.card.run == wanted]
    matching = matching or [r for r in known if wanted in r.card.run]
    if len({run.card.model for run in matching}) == 1:  # the newest of several cards of one model
        return matching[0].card
    names = ", ".join(json.dumps(r.card.run) for r in (matching or known)[:5]) or "none"
    many = f"fits {len(matching)} runs" if matching else "is no run"
    raise InputError(f"{wanted}: {many} of {store.location('')}; it has {names}")


def champion_model(wanted: str, store: Store) -> str | None:
    """The model of the champion that `wanted` names: a champion's name, or `champion` where there is one only.

    Its folder relative to the store's root; None where `wanted` is no champion's name. Raises InputError for
    `champion` where there are several, or none.
    """
    known = [each for each in lineages(store) if each.champion]
    if wanted == CHAMPION:
        known = [each for each in known if not _is_succeeded(each.name, [other.name for other in known])]
    champions = [each.champion for each in known if wanted in {each.name, CHAMPION} and each.champion]
    if len(champions) == 1:
        return champions[0].model
    if wanted == CHAMPION:
        if not known:
            raise InputError(
                f"the store {store.address} has no champion; is it the right one? `cgcnn retrain` makes one"
            )
        names = ", ".join(each.name for each in known)
        raise InputError(f"say whose champion; {store.address} has {names}")
    return None


def _is_succeeded(name: str, names: list[str]) -> bool:
    """Is there a classification of this name with its threshold, which such names did not have at first?"""
    return name.endswith("-classification") and any(other.startswith(f"{name}-") for other in names)


def is_release_checkpoint(path: Path) -> bool:
    """Is it the name of a file as CGCNN's released code writes them?"""
    return path.name.endswith(RELEASED) and not path.is_dir()


def model_folder(wanted: str, store: Store, option: str = "--model") -> Path:
    """The folder of the model `wanted`: a path, a champion's name, a run, or `champion` if the store has only one.

    A `.pth.tar` file is no folder, and returned as it is. Every byte of a model of the store is verified. Raises
    InputError, which names the `option`, if there is no such model, or it is damaged.
    """
    if is_release_checkpoint(Path(wanted)):
        if not Path(wanted).exists():
            raise InputError(f"{option} {wanted}: no such file")
        return Path(wanted)
    if (Path(wanted) / "model.json").exists():
        return Path(wanted)
    model = _model_named(wanted, store, option)
    step, key = split_path(model)
    faults: list[str] = []
    if store.find(step, key, faults.append) is None:
        why = f"is damaged: {faults[0].partition(': ')[2].partition(';')[0]}" if faults else "is lost"
        raise InputError(f"{option} {wanted}: {store.location(model)} {why}")
    return store.folder(step, key)


def _model_named(wanted: str, store: Store, option: str) -> str:
    try:
        model = champion_model(wanted, store)
    except InputError as error:
        raise InputError(f"{option}: {error}") from None
    if model:
        return model
    try:
        return card_of(wanted, store).model
    except InputError as error:
        raise InputError(f"{option} {error}, and no folder with a model.json") from None


if __name__ == "__main__":
    main(CardSpec, build)

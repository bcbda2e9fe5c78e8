"""A store that somebody tampered with: each command ends in one line, stays in the store, and controls no terminal."""

import json
import shutil
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import cli
from storage.artefact import Artefact, Recipe, digest_of_file
from storage.champions import Decision, decide, now
from storage.errors import InputError
from storage.registry import Card
from storage.store import Store

NAME = "pairs-energy_ev"
RUN = f"{NAME}-0123abcd"
SECRET = "what lies outside"
ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e\r\nchampion"
READERS = [
    ["show"],
    ["show", "--json"],
    ["models"],
    ["models", "--json"],
    ["promote", RUN],
    ["rollback", NAME],
    ["predict", "pyproject.toml"],
    ["predict", "pyproject.toml", "--model", "latest"],
]


def made(store: Store, step: str, **files: str) -> Artefact:
    recipe = Recipe(step=step, version=1, parameters={}, inputs={})
    with store.building(step, recipe.key) as work:
        (work / "output").mkdir()
        for name, text in files.items():
            (work / "output" / name.replace("_json", ".json")).write_text(text)
        return store.commit(recipe, work / "output", {})


def card(model: Artefact, run: str = RUN) -> Card:
    path = f"{model.step}/{model.key}"
    words = {n: n for n in ("source", "note", "target", "unit", "task", "metric")}
    numbers = {"test": 0.1, "baseline": 0.2, "materials": 12}
    paths = {"model": path, "predictions": f"{path}/predictions", "report": f"{path}/report"}
    return Card(run=run, name=NAME, **words, **numbers, **paths)


def decision(model: str, reason: str = "a test", before: str | None = None) -> Decision:
    return Decision(at=now(), kind="promote", run=RUN, model=model, champion=before, promoted=True, reason=reason)


class Tampered:
    """A store with one run that was promoted, and a folder beside it that is none of its business."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(root=folder / "store")
        self.outside = folder / "outside"
        self.outside.mkdir()
        self.model = made(self.store, "train-model", model_json="{}", predictions="rows")
        self.card = made(self.store, "promote", card_json=card(self.model).model_dump_json())
        decide(self.store, NAME, decision(f"train-model/{self.model.key}"))

    def folder(self, artefact: Artefact) -> Path:
        return self.store.folder(artefact.step, artefact.key)

    def edit(self, artefact: Artefact, file: str, **values: Any) -> None:
        """Change a JSON file of an artefact, and its manifest with it, as one does who knows the format."""
        path = self.folder(artefact) / file
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
        if file != "manifest.json":
            digest = {"size": path.stat().st_size, "sha256": digest_of_file(path)}
            self.edit(artefact, "manifest.json", files={file: digest})

    def replace_by_folder(self, path: Path) -> None:
        path.unlink()
        path.mkdir()

    def replace_by_link(self, path: Path) -> None:
        """Move a file or folder out of the store; a link is left in its place. A secret is added there."""
        aim = self.outside / path.name
        path.rename(aim)
        path.symlink_to(aim)
        if aim.is_file():
            aim.write_text(aim.read_text().replace(RUN, SECRET).replace("a test", SECRET))

    def seen(self) -> dict[str, bytes]:
        """Everything outside the store."""
        return {str(p): p.read_bytes() if p.is_file() else b"" for p in sorted(self.outside.rglob("*"))}


def _names_a_file(name: str) -> Callable[[Tampered], None]:
    def attack(it: Tampered) -> None:
        (it.outside / "secret").write_text(SECRET)
        file = {"size": len(SECRET), "sha256": digest_of_file(it.outside / "secret")}
        name_there = name.replace("OUTSIDE", str(it.outside))
        it.edit(it.card, "manifest.json", files={**json.loads(it.card.model_dump_json())["files"], name_there: file})
        it.edit(it.model, "manifest.json", files={name_there: file})

    return attack


PATHS = ["model", "../../outside", "/etc", "train-model/..", "train-model", f"train-model/{'0' * 64}/..", "a\x1b[2J/b"]
ATTACKS: dict[str, Callable[[Tampered], None]] = {
    **{f"card: model is {p!r}": lambda it, p=p: it.edit(it.card, "card.json", model=p) for p in PATHS},
    **{
        f"card: {n} is {p!r}": lambda it, n=n, p=p: it.edit(it.card, "card.json", **{n: p})
        for n in ("predictions", "report")
        for p in PATHS[1:4]
    },
    "card: escape sequences in a name": lambda it: it.edit(it.card, "card.json", run=ESCAPES, note=ESCAPES),
    "card: not JSON": lambda it: (it.folder(it.card) / "card.json").write_text("{"),
    "card: a folder": lambda it: it.replace_by_folder(it.folder(it.card) / "card.json"),
    "card: a link": lambda it: it.replace_by_link(it.folder(it.card) / "card.json"),
    "manifest: a folder": lambda it: it.replace_by_folder(it.folder(it.card) / "manifest.json"),
    "manifest: a link": lambda it: it.replace_by_link(it.folder(it.card) / "manifest.json"),
    "manifest: not UTF-8": lambda it: (it.folder(it.card) / "manifest.json").write_bytes(b"\xff{}"),
    "manifest: escape sequences in its time": lambda it: it.edit(it.card, "manifest.json", created=ESCAPES),
    "manifest: another step": lambda it: it.edit(it.card, "manifest.json", step="../outside"),
    "manifest: another key": lambda it: it.edit(it.card, "manifest.json", key="../outside"),
    "manifest: another artefact's": lambda it: it.edit(it.card, "manifest.json", key="0" * 64),
    "manifest: a part outside": lambda it: it.edit(
        it.model, "manifest.json", parts=[{"step": "..", "key": "outside", "digest": "0" * 64}]
    ),
    "manifest: a part of itself": lambda it: it.edit(
        it.model, "manifest.json", parts=[{"step": "train-model", "key": it.model.key, "digest": "0" * 64}]
    ),
    **{
        f"manifest: a file {name!r}": _names_a_file(name)
        for name in ("../../../outside/secret", "OUTSIDE/secret", "x/../../../../outside/secret", "\x1b[2J", "", ".")
    },
    "model's manifest: a folder": lambda it: it.replace_by_folder(it.folder(it.model) / "manifest.json"),
    "model's file: a folder": lambda it: it.replace_by_folder(it.folder(it.model) / "model.json"),
    "model's file: a link": lambda it: it.replace_by_link(it.folder(it.model) / "model.json"),
    "model: a link": lambda it: it.replace_by_link(it.folder(it.model)),
    "a folder's name: escape sequences": lambda it: it.folder(it.card).rename(it.folder(it.card).with_name("\x1b[2J")),
    "step: a link": lambda it: it.replace_by_link(it.store.root / "train-model"),
    "step of the cards: a link": lambda it: it.replace_by_link(it.store.root / "promote"),
    "step: a file": lambda it: (
        shutil.rmtree(it.store.root / "train-model"),
        (it.store.root / "train-model").write_text(""),
    ),
    "work: a link": lambda it: (it.store.root / "work").symlink_to(it.outside),
    "work: a file": lambda it: (it.store.root / "work").write_text(""),
    "work on a step: a link": lambda it: (
        (it.store.root / "work").mkdir(),
        (it.store.root / "work" / f"promote-{it.card.key}").symlink_to(it.outside),
    ),
    "work on a step: a link in it": lambda it: (
        (it.store.root / "work" / f"promote-{it.card.key}").mkdir(parents=True),
        (it.store.root / "work" / f"promote-{it.card.key}" / "output").symlink_to(it.outside),
    ),
    "lock: a link": lambda it: (
        (it.store.root / "work").mkdir(),
        (it.outside / "secret").write_text(SECRET),
        (it.store.root / "work" / f"promote-{it.card.key}.lock").symlink_to(it.outside / "secret"),
    ),
    "lock: a folder": lambda it: (it.store.root / "work" / f"promote-{it.card.key}.lock").mkdir(parents=True),
    "champions: a link": lambda it: it.replace_by_link(it.store.root / "champions"),
    "champions: a file": lambda it: (
        shutil.rmtree(it.store.root / "champions"),
        (it.store.root / "champions").write_text(""),
    ),
    "decision: a folder": lambda it: it.replace_by_folder(it.store.root / "champions" / NAME / "0001.json"),
    "decision: a link": lambda it: it.replace_by_link(it.store.root / "champions" / NAME / "0001.json"),
    "decision: a link to nothing": lambda it: (it.store.root / "champions" / NAME / "0002.json").symlink_to(
        it.outside / "none"
    ),
    "decision: not UTF-8": lambda it: (it.store.root / "champions" / NAME / "0001.json").write_bytes(b'{"\xff": 1}'),
    "decision: escape sequences": lambda it: decide(
        it.store, NAME, decision(f"train-model/{'0' * 64}", ESCAPES, f"train-model/{it.model.key}")
    ),
    "a champion's name: escape sequences": lambda it: decide(
        it.store, ESCAPES, decision(f"train-model/{it.model.key}", ESCAPES)
    ),
}


@pytest.fixture
def it(tmp_path) -> Tampered:
    return Tampered(tmp_path)


def answer(arguments: list[str], store: Store, capsys) -> tuple[int, str, str]:
    code = 0
    try:
        cli.main([*arguments, "--store", str(store.root)])
    except SystemExit as end:
        code = int(end.code)
    return code, *capsys.readouterr()


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_each_command_ends_in_one_line_and_stays_in_the_store(attack, it, capsys, monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    ATTACKS[attack](it)
    outside = it.seen()
    for arguments in READERS:
        code, out, err = answer(arguments, it.store, capsys)
        assert code in {0, 2}, (arguments, err)
        assert code == 0 or len(err.strip().split("\n")) <= 2, err  # a damaged card is left out in a line of its own
        assert all(line.startswith("cgcnn: ") for line in err.splitlines()), err
        assert not [c for c in out + err if c != "\n" and unicodedata.category(c) in {"Cc", "Cf", "Zl"}], (out, err)
        assert SECRET not in out + err
        if code == 0 and arguments[-1] == "--json":
            json.loads(out)
    assert it.seen() == outside


@pytest.mark.parametrize("attack", list(ATTACKS))
def test_a_step_runs_again_or_is_refused_in_one_line_and_stays_in_the_store(attack, it):
    """What `retrain` does with an artefact: it is looked for, and made where it is damaged."""
    ATTACKS[attack](it)
    outside = it.seen()
    for step, files in {
        "train-model": {"model_json": "{}", "predictions": "rows"},
        "promote": {"card_json": "{}"},
    }.items():
        key = Recipe(step=step, version=1, parameters={}, inputs={}).key
        lines: list[str] = []
        try:
            found = it.store.find(step, key, lines.append) or made(it.store, step, **files)
            assert it.store.find(step, key, lines.append) == found
        except InputError as error:
            lines.append(str(error))
        assert "\n" not in "".join(lines)
    assert it.seen() == outside


def test_escape_sequences_are_shown(it, capsys):
    ATTACKS["decision: escape sequences"](it)
    code, out, _ = answer(["models"], it.store, capsys)
    assert code == 0
    assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202e champion" in out
    assert len(out.splitlines()) == 4
    assert json.loads(answer(["models", "--json"], it.store, capsys)[1])[0]["decisions"][1]["reason"].startswith("\x1b")


def test_an_untouched_store_is_read_without_a_word(it, capsys):
    code, out, err = answer(["show"], it.store, capsys)
    assert (code, err) == (0, "")
    assert RUN in out
    assert RUN in answer(["models"], it.store, capsys)[1]

"""The folder of a prediction's finished rows: what is used again, what is deleted, and who may write."""

import threading

import pyarrow as pa
import pytest

from storage.errors import InputError, WorldError
from storage.parts import read_part, write_part
from tasks.prediction_folder import record_of, work_folder

TABLE = pa.table({"id": ["a", "b"]})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.json").write_text("{}")
    (tmp_path / "model" / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "cifs").mkdir()
    (tmp_path / "cifs" / "a.cif").write_text("data_a")
    (tmp_path / "table.csv").write_text("cif\n")
    (tmp_path / "out").mkdir()
    return tmp_path


class Stopped(Exception):
    """What ends a block that is not finished."""


def attempt(folder, *, end: Exception | None = None, part: bool = False, **changes) -> tuple[int, int, list[str]]:
    """Parts and rows that an attempt finds, and what it says. It writes one part more, and raises `end`."""
    lines: list[str] = []
    given = {"files": [str(folder / "cifs"), str(folder / "table.csv")], "trust_code": False} | changes
    found = (0, 0)
    try:
        with work_folder(
            folder / "out" / "x.csv",
            lambda: record_of(given["files"], folder / "model", trust_code=given["trust_code"]),
            lines.append,
        ) as work:
            found = work.first_part, work.rows
            if part:
                write_part(work.parts, work.first_part, TABLE, {"n": work.first_part})
            if end:
                raise end
    except type(end or Stopped()):
        pass
    return *found, lines


def test_finished_parts_are_there_in_the_next_attempt_until_the_work_is_done(folder):
    assert attempt(folder, part=True, end=WorldError("killed")) == (0, 0, [])
    assert attempt(folder, part=True, end=KeyboardInterrupt())[:2] == (1, 2)
    *found, (line,) = attempt(folder)
    assert found == [2, 4]
    assert line == f"{folder}/out/x.csv: goes on after 4 structures that were finished before it was stopped"
    assert not list((folder / "out").iterdir())


def test_inputs_that_cannot_be_used_leave_nothing(folder):
    attempt(folder, part=True, end=InputError("the model gives NaN"))
    assert not list((folder / "out").iterdir())


def rewritten(name: str):
    return lambda folder: (folder / name).write_text("another")


@pytest.mark.parametrize(
    ("change", "given", "what"),
    [
        (rewritten("cifs/a.cif"), {}, "inputs"),
        (rewritten("cifs/b.cif"), {}, "inputs"),
        (rewritten("table.csv"), {}, "inputs"),
        (rewritten("model/model.json"), {}, "model"),
        (rewritten("model/model.safetensors"), {}, "model"),
        (lambda _: None, {"files": ["table.csv"]}, "inputs"),
        (lambda _: None, {"trust_code": True}, "options"),
    ],
)
def test_a_change_starts_afresh_and_says_of_what(folder, change, given, what):
    attempt(folder, part=True, end=Stopped())
    change(folder)
    *found, lines = attempt(folder, end=Stopped(), **given)
    assert found == [0, 0]
    assert lines == [f"{folder}/out/x.csv: starts afresh, for an earlier run that was stopped had other {what}"]
    attempt(folder, **given)
    assert not list((folder / "out").iterdir())


def test_what_is_not_used_for_a_prediction_may_change(folder):
    attempt(folder, part=True, end=Stopped())
    (folder / "cifs" / "readme.txt").write_text("no structure")
    (folder / "table.csv").touch()
    assert attempt(folder)[:2] == (1, 2)


def test_a_damaged_part_and_those_after_it_are_written_again(folder):
    for _ in range(3):
        attempt(folder, part=True, end=Stopped())
    (second,) = (folder / "out").glob(".x.csv.parts/*/00000001.parquet")
    second.write_bytes(second.read_bytes()[:20])
    assert attempt(folder)[:2] == (1, 2)


def test_a_part_comes_back_with_its_facts(tmp_path):
    write_part(tmp_path, 0, TABLE, {"unseen": [74]})
    assert read_part(tmp_path, 0) == (TABLE, {"unseen": [74]})


def test_a_pipe_is_never_the_same_input(folder):
    record = [record_of(["/dev/null"], folder / "model", trust_code=False) for _ in range(2)]
    assert record[0]["inputs"] != record[1]["inputs"]


def test_a_link_in_the_place_of_the_folder_is_refused(folder):
    (folder / "out" / ".x.csv.parts").symlink_to(folder / "cifs")
    with pytest.raises(InputError, match="is no folder"):
        attempt(folder, end=None)
    assert (folder / "cifs" / "a.cif").exists()


def test_of_two_predictions_with_one_output_the_second_waits(folder):
    """It says so; and it finds nothing left of the first, which has finished."""
    record = {"inputs": "x"}
    waits, found = threading.Event(), []

    def second() -> None:
        with work_folder(folder / "out" / "x.csv", lambda: record, lambda _: waits.set()) as work:
            found.append(work.rows)

    with work_folder(folder / "out" / "x.csv", lambda: record, print) as work:
        write_part(work.parts, 0, TABLE, {})
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(30)
        assert not found
    thread.join(30)
    assert found == [0]
    assert not list((folder / "out").iterdir())

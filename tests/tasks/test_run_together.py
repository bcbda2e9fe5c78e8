"""Two programs that run at the same time."""

import time

import pytest

from storage.errors import InputError
from tasks.programs import Program, run_together

CODE = """
import time
from pathlib import Path
from storage.errors import InputError
from storage.program import Spec, main

class S(Spec):
    name: str
    other: Path
    end: str

def build(spec):
    print("begun", spec.name)
    (spec.output / "here").touch()
    while not (spec.other / "output" / "here").exists():
        time.sleep(0.01)
    if spec.end == "fails":
        raise InputError(f"{spec.name} cannot")
    if spec.end == "waits":
        time.sleep(600)
    print("last\\r\\nno line end", end="")
    return {"name": spec.name}

main(S, build)
"""


@pytest.fixture
def together(tmp_path, monkeypatch):
    """Runs programs a and b that end in these ways; each waits for the other's file. Facts and lines."""
    (tmp_path / "made_together.py").write_text(CODE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def run(end_of_a: str, end_of_b: str) -> tuple[list[dict], list[str]]:
        lines: list[str] = []
        programs = []
        for name, other, end in (("a", "b", end_of_a), ("b", "a", end_of_b)):
            (tmp_path / name).mkdir()
            spec = {"name": name, "other": tmp_path / other, "end": end}
            programs.append((Program(module="made_together", spec=spec), tmp_path / name))
        return run_together(programs, lines.append), lines

    return run


def test_each_sees_what_the_other_writes_and_the_facts_come_in_order(together):
    facts, lines = together("ends", "ends")
    assert facts == [{"name": "a"}, {"name": "b"}]
    assert sorted(lines) == ["begun a", "begun b", "last", "last", "no line end", "no line end"]


@pytest.mark.parametrize(("ends", "failed"), [(("fails", "waits"), "a"), (("waits", "fails"), "b")])
def test_the_first_that_fails_ends_the_other(together, ends, failed):
    began = time.monotonic()
    with pytest.raises(InputError, match=f"^{failed} cannot$"):
        together(*ends)
    assert time.monotonic() - began < 300

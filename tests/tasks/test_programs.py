"""Programs: their files, their lines, their three ways to fail, and no process left behind."""

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from storage.errors import InputError, WorldError
from tasks.programs import Program, ProgramFailed, run_program

FRAME = """
import logging, os, signal, sys, time
from storage.errors import InputError, WorldError
from storage.program import Spec, main
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes a program of the body of its `build(spec)`."""

    def write(body: str) -> Program:
        indented = "".join(f"    {line}\n" for line in body.splitlines())
        module = tmp_path / "modules" / "made_here.py"
        module.parent.mkdir(exist_ok=True)
        module.write_text(f"{FRAME}class S(Spec):\n    text: str\ndef build(spec):\n{indented}main(S, build)\n")
        return Program(module="made_here", spec={"text": "hello"})

    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    return write


def run(program: Program, tmp_path: Path) -> tuple[dict, list[str]]:
    lines: list[str] = []
    (tmp_path / "work").mkdir(exist_ok=True)
    return run_program(program, tmp_path / "work", lines.append), lines


def test_files_facts_and_lines_come_back(program, tmp_path):
    made = program("logging.info('one')\n(spec.output / 'f').write_text(spec.text)\nreturn {'rows': 3}")
    assert run(made, tmp_path) == ({"rows": 3}, ["one"])
    assert (tmp_path / "work/output/f").read_text() == "hello"


def test_a_program_that_is_silent_for_too_long_is_ended(program, tmp_path):
    body = "logging.info('%d', os.getpid())\nfor _ in range(8):\n    time.sleep(0.4)\n    logging.info('still here')\n"
    hangs = program(f"{body}time.sleep(600)").model_copy(update={"silence": 2.0})
    lines: list[str] = []
    (tmp_path / "work").mkdir()
    began = time.monotonic()
    with pytest.raises(WorldError, match="printed nothing for 2 s and was ended; what was finished is kept"):
        run_program(hangs, tmp_path / "work", lines.append)
    assert lines[1:] == ["still here"] * 8  # 3.2 s, longer than the silence that is allowed
    assert time.monotonic() - began < 60
    with pytest.raises(ProcessLookupError):
        os.kill(int(lines[0]), 0)


def test_a_secret_that_is_empty_replaces_nothing():
    made = Program(module="made_here", spec={}, secrets={"KEY": SecretStr(""), "OTHER": SecretStr("s3cr3t")})
    assert made.shown("the key s3cr3t is wrong") == "the key *** is wrong"


@pytest.mark.parametrize("end", ["return {}", "raise InputError(secret)", "raise WorldError(secret)", "1 / len('')"])
def test_a_secret_reaches_the_program_and_nobody_else(program, tmp_path, end):
    secret = "s3cr3t-0f-the-s3rv1ce"
    body = f"secret = os.environ['KEY']\nlogging.info('%s', secret)\nprint(secret, file=sys.stderr)\n{end}"
    made = program(body).model_copy(update={"secrets": {"KEY": SecretStr(secret)}})
    lines: list[str] = []
    (tmp_path / "work").mkdir()
    told = ""
    try:
        run_program(made, tmp_path / "work", lines.append)
    except (InputError, WorldError, ProgramFailed) as error:
        told = "".join(traceback.format_exception(error))
    assert lines == ["***"]
    assert ("***" in told) == (end != "return {}")
    left = [path.read_text() for path in (tmp_path / "work").rglob("*") if path.is_file()]
    assert left
    assert secret not in "\n".join([told, repr(made), *left])


@pytest.mark.parametrize(
    ("body", "error", "message"),
    [
        ("raise InputError('row 3: no lattice')", InputError, "^row 3: no lattice$"),
        ("raise WorldError('the network is gone')", WorldError, "^the network is gone$"),
        ("os.kill(os.getpid(), signal.SIGKILL)", WorldError, "killed by SIGKILL"),
        ("raise OSError(28, 'No space left on device')", WorldError, "No space left"),
        ("return 1 / 0", ProgramFailed, "ZeroDivisionError"),
    ],
)
def test_each_way_to_fail_has_its_exception(program, tmp_path, body, error, message):
    with pytest.raises(error, match=message):
        run(program(body), tmp_path)


def test_the_next_attempt_finds_the_scratch_and_no_half_written_output(program, tmp_path):
    body = (
        "kept = spec.scratch / 'checkpoint'\n"
        "if not kept.exists():\n"
        "    kept.write_text('1')\n"
        "    (spec.output / 'half').write_text('')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "return {'kept': kept.read_text(), 'output': os.listdir(spec.output)}"
    )
    with pytest.raises(WorldError):
        run(program(body), tmp_path)
    assert run(program(body), tmp_path)[0] == {"kept": "1", "output": []}


def test_a_program_ends_when_who_started_it_is_killed(program, tmp_path):
    pid = tmp_path / "pid"
    made = program(f"open({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\nreturn {{}}")
    (tmp_path / "work").mkdir()
    code = (
        "import sys, pathlib; from tasks.programs import Program, run_program\n"
        "run_program(Program.model_validate_json(sys.argv[1]), pathlib.Path(sys.argv[2]), print)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code, made.model_dump_json(), str(tmp_path / "work")])
    _wait(lambda: pid.exists() and pid.read_text())
    parent.kill()
    parent.wait()
    _wait(lambda: not _alive(int(pid.read_text())))


def _wait(condition) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until, "nothing happened for 20 s"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

"""`cgcnn predict` that is killed in the middle, and started again."""

import json
import shutil
import signal
import subprocess
import sys

import pytest

from storage.parts import ROWS

COUNT = ROWS + 2  # what is left after the first part is one structure that is refused, and one that is predicted
OUTPUT = "out.csv"
KILLS = """
import os, signal, sys, time

def kill(event, arguments):
    if event == "os.rename" and str(arguments[1]).endswith("00000001.parquet"):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)  # the parent's end ends this process

if "gnn.predict" in sys.orig_argv:
    sys.addaudithook(kill)
"""


def row(number: int) -> str:
    edge = 0 if number in {5, COUNT - 2} else 2.5 + number / COUNT
    return json.dumps(
        {
            "material_id": f"s-{number}",
            "lattice": [edge, 0, 0, 0, edge, 0, 0, 0, edge],
            "atomic_numbers": [[3, 11, 12, 13, 74][number % 5]],
            "frac_coords": [0, 0, 0],
        }
    )


@pytest.fixture(scope="module")
def command(cgcnn, trained, tmp_path_factory):
    """The command's arguments; its input and output are names in the folder in which it is started."""
    model = json.loads(cgcnn("show", "--store", trained[0], "--json").stdout)[0]["model"]
    copy = shutil.copytree(model, tmp_path_factory.mktemp("model") / "model")
    return ["predict", "table.jsonl", "--model", str(copy), "--output", OUTPUT]


@pytest.fixture(scope="module")
def undisturbed(cgcnn, command, tmp_path_factory):
    """The bytes of the table and the last lines of a run that nobody disturbs; it leaves nothing else."""
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "table.jsonl").write_text("\n".join(map(row, range(COUNT))))
    done = cgcnn(*command, folder=folder)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in folder.iterdir()) == [OUTPUT, "table.jsonl"]
    return (folder / OUTPUT).read_bytes(), done.stderr.splitlines()


@pytest.fixture(scope="module")
def killed(command, environment, tmp_path_factory):
    """The folder of a run that was killed just before its second part, the last, had its name. To be copied."""
    folder, hooks = tmp_path_factory.mktemp("killed"), tmp_path_factory.mktemp("hooks")
    (folder / "table.jsonl").write_text("\n".join(map(row, range(COUNT))))
    (hooks / "sitecustomize.py").write_text(KILLS)
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *command],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(hooks)},
        check=False,
        timeout=300,
    )
    assert done.returncode == -signal.SIGKILL
    assert not (folder / OUTPUT).exists()
    assert len(list(folder.glob(f".{OUTPUT}.parts/*/0*.parquet"))) == 1
    return folder


def test_after_a_kill_the_same_command_goes_on_and_gives_the_same_bytes(cgcnn, command, killed, undisturbed, tmp_path):
    """What was finished is not computed again: a structure in it that was refused is not told of a second time."""
    folder = shutil.copytree(killed, tmp_path / "folder")
    done = cgcnn(*command, folder=folder)
    assert done.returncode == 0, done.stderr
    expected, lines = undisturbed
    assert (folder / OUTPUT).read_bytes() == expected
    assert done.stderr.splitlines() == [
        f"{OUTPUT}: goes on after {ROWS:,} structures that were finished before it was stopped",
        *(line for line in lines if not line.startswith("s-5 ")),
    ]
    assert lines[-1].startswith(f"{COUNT - 2:,} predicted, 2 refused")
    assert sorted(path.name for path in folder.iterdir()) == [OUTPUT, "table.jsonl"]


def test_after_a_kill_a_changed_input_starts_afresh(cgcnn, command, killed, tmp_path):
    folder = shutil.copytree(killed, tmp_path / "folder")
    (folder / "table.jsonl").write_text(row(7))
    done = cgcnn(*command, folder=folder)
    assert done.returncode == 0, done.stderr
    assert (
        done.stderr.splitlines()[0] == f"{OUTPUT}: starts afresh, for an earlier run that was stopped had other inputs"
    )
    assert [line.split(",")[0] for line in (folder / OUTPUT).read_text().splitlines()] == ['"id"', '"s-7"']
    assert sorted(path.name for path in folder.iterdir()) == [OUTPUT, "table.jsonl"]

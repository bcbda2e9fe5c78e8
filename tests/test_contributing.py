"""The examples of CONTRIBUTING.md, applied to a copy of the code: each works as it is printed there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("cgcnn", "flows", "tasks", "crystals", "gnn", "evaluation", "storage", "tests")
BLOCK = re.compile(r'^```(\w+) title="([^"]+)"\n(.*?)^```$', re.DOTALL | re.MULTILINE)
TESTS_OF_ALL = ("tests/crystals/test_sources.py", "tests/gnn/test_models.py")  # run over SOURCES and MODELS


def changed(text: str, diff: str) -> str:
    """The text after a diff, whose hunks begin with @@ and are found by their lines."""
    for hunk in diff.split("@@\n")[1:]:
        lines = hunk.splitlines()
        before, after = ("\n".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        assert f"\n{text}\n".count(f"\n{before}\n") == 1, f"these lines are not there once:\n{before}"
        text = f"\n{text}\n".replace(f"\n{before}\n", f"\n{after}\n")[1:-1]
    return text


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> tuple[Path, list[str]]:
    """A copy of the code with the examples in it, and the names of the files that are new."""
    folder = tmp_path_factory.mktemp("contributing")
    for name in PACKAGES:
        # Compiled modules, too: it saves seconds. Not those that another process is just writing.
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.pyc.*"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    new = []
    for kind, name, content in BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        path = folder / name
        if kind == "diff":
            path.write_text(changed(path.read_text(encoding="utf-8"), content), encoding="utf-8")
        else:
            assert not path.exists(), f"{name} is there already: the example needs another name"
            path.write_text(content, encoding="utf-8")
            new.append(name)
    return folder, new


def run(folder: Path, *arguments: str) -> str:
    """A Python module's output, run on the copy."""
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_examples_pass_their_own_tests_and_those_of_all_sources_and_models(copy):
    folder, new = copy
    own = [name for name in new if name.startswith("tests/")]
    wanted = " or ".join(["rare-gases", "schnet", *(Path(name).stem for name in own)])
    told = run(folder, "pytest", "-p", "no:cacheprovider", "-rA", "-q", "-k", wanted, *own, *TESTS_OF_ALL)
    passed = re.findall(r"^PASSED (\S+?)::", told, re.MULTILINE)
    assert set(passed) == {*own, *TESTS_OF_ALL}


def test_the_examples_are_written_as_the_rest_of_the_code(copy):
    folder, _ = copy
    run(folder, "ruff", "check", "--no-cache", ".")
    run(folder, "ruff", "format", "--no-cache", "--check", ".")


def test_a_new_check_and_a_new_model_are_known_to_the_command_line(copy):
    folder, _ = copy
    told = run(folder, "flows.cli", "retrain", "--help")
    assert "checks.max_vacuum" in told
    assert re.search(r"model\.name .*schnet", told)

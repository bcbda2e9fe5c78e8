"""The Dockerfile's own lines, run one by one in a fresh folder: what they copy is enough for the commands of a worker.

No engine is needed. Each COPY takes what git has, each RUN is the shell's, in a new virtual environment that sees the
installed packages: pip compares each pin of requirements.lock with them, and downloads nothing. What is not tested is
the base image, and that the pins can be installed in it.
"""

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]


def instructions() -> list[tuple[str, str]]:
    """Each instruction of the Dockerfile with its arguments, in order."""
    text = (ROOT / "deployments" / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def tracked(name: str) -> list[str]:
    """The files of a folder, or the file itself, that git has or would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", name]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [file for file in found.stdout.splitlines() if (ROOT / file).exists()]


class Image:
    """A folder in which the instructions of a Dockerfile were followed."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self.environment = {"PATH": f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}", "HOME": str(folder)}
        venv.create(folder / "venv")
        self.packages = next((folder / "venv").glob("lib/python*/site-packages"))
        seen = [path for path in sys.path if Path(path).name == "site-packages"]
        (self.packages / "installed.pth").write_text("\n".join(seen))  # not the .pth files in there: not this checkout
        pip = folder / "venv" / "bin" / "pip"
        pip.write_text(f'#!/bin/sh\nexec "{folder}/venv/bin/python" -m pip "$@"\n')
        pip.chmod(0o755)
        self.work = self.root

    def follow(self, name: str, rest: str) -> None:
        """One instruction. A KeyError is one that this test does not know."""
        known = {"FROM": self._from, "WORKDIR": self._workdir, "COPY": self._copy, "RUN": self._run, "ENV": self._env}
        known[name](rest)

    def _from(self, image: str) -> None:
        assert image.startswith("python:3."), image
        assert int(image.removeprefix("python:3.").partition("-")[0]) >= int(PROJECT["project"]["requires-python"][-2:])

    def _workdir(self, path: str) -> None:
        self.work = self.root / path.lstrip("/")
        self.work.mkdir(parents=True)

    def _copy(self, rest: str) -> None:
        *names, aim = shlex.split(rest)
        for name in names:
            files = tracked(name)
            assert files, f"COPY {name}: git has no such file"
            for file in files:
                into = self.work / aim / (Path(file).relative_to(name) if (ROOT / name).is_dir() else Path(file).name)
                into.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / file, into)

    def _env(self, rest: str) -> None:
        self.environment.update(pair.split("=", 1) for pair in shlex.split(rest))

    def _run(self, command: str) -> None:
        offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        offline["PIP_NO_BUILD_ISOLATION"] = "0"  # pip's way to say that it is not isolated: hatchling is installed
        done = self.run(command, **offline)
        assert done.returncode == 0, f"RUN {command}\n{done.stdout}\n{done.stderr}"

    def run(self, command: str, **also: str) -> "subprocess.CompletedProcess[str]":
        """A command in the image."""
        return subprocess.run(
            ["sh", "-c", command],
            cwd=self.work,
            env={**self.environment, **also},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> Image:
    made = Image(tmp_path_factory.mktemp("image"))
    for name, rest in instructions():
        made.follow(name, rest)
    return made


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_is_copied_and_installed_whole(image, package):
    """Modules and data files: git's files of the package are the installed ones."""
    missing = [name for name in tracked(package) if not (image.packages / name).is_file()]
    assert not missing, f"the image lacks {missing}; does the Dockerfile COPY {package}?"


def test_the_image_has_the_command(image):
    done = image.run("cd / && cgcnn --help")
    assert done.returncode == 0, done.stderr
    assert "retrain" in done.stdout


def test_a_worker_s_job_finds_flows_and_data_in_the_wheel(image):
    """Not in the folder that was copied, nor in this checkout."""
    code = (
        "import flows.retrain, flows.train, flows.predict, gnn.elements, flows.config as c; "
        "assert c.configured([c.preset_or_file('chapter')]); print(flows.retrain.__file__)"
    )
    done = image.run(f'cd / && python -c "{code}"')
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(image.packages)

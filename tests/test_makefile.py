# SPDX-License-Identifier: Apache-2.0
"""`make venv`: what it pins, and where the checkout's own path is an unusual one."""

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]

PYTHON = """#!/bin/sh
# In place of Python: what it makes is there, and nothing is fetched.
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p .venv/bin
printf '#!/bin/sh\\n' | tee .venv/bin/pip > .venv/bin/python
chmod +x .venv/bin/pip .venv/bin/python
"""


def make(folder: Path) -> subprocess.CompletedProcess[str]:
    folder.mkdir()
    for name in "Makefile", "requirements.lock", "pyproject.toml":
        shutil.copy(ROOT / name, folder)
    (folder / "tepal").mkdir()
    (folder / "tepal/__init__.py").touch()
    (folder / "python").write_text(PYTHON)
    (folder / "python").chmod(0o755)
    return subprocess.run(["make", "venv", "PYTHON=./python"], cwd=folder, capture_output=True, text=True,
                          env={name: value for name, value in os.environ.items() if not name.startswith("MAKE")})


@pytest.mark.parametrize("character", list(" '#,;&()=~é"))
def test_works(character, tmp_path):
    folder = tmp_path / f"a{character}b"
    done = make(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert (folder / ".venv/ready").exists()
    assert (folder / "build/types/tepal/__init__.py").resolve() == folder / "tepal/__init__.py"


@pytest.mark.parametrize("character", list('$:{}%"\\`'))
def test_is_refused_by_name(character, tmp_path):
    folder = tmp_path / f"a{character}b"
    done = make(folder)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == (
        f"{folder} has one of the characters $ : {{ }} % \" \\ ` in it, which Python's packages can't be installed "
        "under: move this folder")
    assert not (folder / ".venv").exists()


def test_lock_holds_what_the_project_asks_for():
    """Every dependency, those of developers too, is pinned, to a version that it may have; and none twice."""
    lines = [line.split("==") for line in (ROOT / "requirements.lock").read_text().splitlines()
             if line and not line.startswith("#")]
    pinned = {canonicalize_name(name): version for name, version in lines}
    assert len(pinned) == len(lines)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, asked):
        if requirement.name == project["name"]:
            # Its own extras, whose requirements are asked for in turn.
            asked += [line for extra in requirement.extras for line in project["optional-dependencies"][extra]]
        else:
            assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement
    assert any(line.startswith("cocotb") for line in asked)

"""`make venv` where the checkout's own path is an unusual one."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

PYTHON = """#!/bin/sh
# In place of Python: what it makes is there, and nothing is fetched.
[ "$1 $2" = "-m venv" ] || exit 0
mkdir -p .venv/bin
printf '#!/bin/sh\\n' > .venv/bin/pip
chmod +x .venv/bin/pip
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

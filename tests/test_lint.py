# SPDX-License-Identifier: Apache-2.0
"""ruff, pyright and import-linter find nothing, and find what they are there for."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import grimp
import pytest
import yaml

ROOT = Path(__file__).parents[1]
LINT_IMPORTS = [Path(sys.executable).with_name("lint-imports"), ROOT / "pyproject.toml", "--no-cache", "--no-logo"]
CONTRACTS = {contract["id"]: contract["name"] for contract in tomllib.loads(
    (ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]}

BROKEN = {
    "quant/network.py": ("from tepal.hdl import EngineConfig", {"folders", "circles"}),
    "hdl/config.py": ("def late():\n    from tepal.sim import golden", {"folders", "circles"}),
    "sim/golden.py": ("if TYPE_CHECKING:\n    from tepal.boards.board import Board", {"folders", "circles"}),
    "host/device.py": ("from tepal.boards.registry import get_board", {"folders"}),
    "tepal/processes.py": ("from tepal.quant import NetworkError", {"folders", "circles"}),
    "hdl/units/window.py": ("from tepal.hdl.accelerator import Accelerator", {"hdl", "circles"}),
    "hdl/new.py": ("", {"hdl"}),
    "boards/parts/part.py": ("from tepal.boards.board import Board", {"boards", "circles"}),
    "boards/board.py": ("from tepal.boards.flow.fit import fit", {"boards", "circles"}),
    "quant/arithmetic.py": ("from .readers.model_file import read_model", {"quant", "circles"}),
    "quant/errors.py": ("from .network import Network", {"circles"}),
}
"""Where an import would be wrong, and contracts that it would break."""


def make(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def types() -> Path:
    """The folders under their import names."""
    assert make("types").returncode == 0
    return ROOT / "build/types"


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["pyright"]], ids=lambda command: command[0])
def test_clean(command, types):
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No source files" not in done.stdout


def test_imports(types):
    done = subprocess.run(LINT_IMPORTS, cwd=types, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


def copied(folder: Path) -> Path:
    """The packages, written out under their import names in ``folder``."""
    for package in ("tepal", "quant", "hdl", "sim", "boards", "host", "cli"):
        target = folder / "tepal" if package == "tepal" else folder / "tepal" / package
        shutil.copytree(ROOT / package, target, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


@pytest.mark.parametrize("file", BROKEN)
def test_wrong_import_is_found(file, tmp_path):
    """An import of a folder above, of one beside, or in a circle: at the top, in a function, or for type checkers."""
    line, broken = BROKEN[file]
    changed = copied(tmp_path) / ("tepal" if not file.startswith("tepal/") else "") / file
    with changed.open("a") as module:
        module.write(f"\n{line}\n")
    done = subprocess.run(LINT_IMPORTS, cwd=tmp_path, capture_output=True, text=True, env={"COLUMNS": "200"})
    assert done.returncode == 1, done.stderr
    # Others may break as well: what lies on the way may not import what lies behind.
    assert broken <= {name for name, title in CONTRACTS.items() if f"\n{title} BROKEN" in done.stdout}, done.stdout


def circles(folder: Path, monkeypatch) -> list[tuple[str, ...]]:
    """Of the modules below ``folder``, a package's own file among them: the way back of each import that has one."""
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setitem(sys.modules, "tepal", None)
    del sys.modules["tepal"]
    graph = grimp.build_graph("tepal", cache_dir=None)
    assert len(graph.modules) > 100
    return [back for importer in graph.modules for imported in graph.find_modules_directly_imported_by(importer)
            if (back := graph.find_shortest_chain(imported, importer))]


def test_no_circle_through_a_package(types, tmp_path, monkeypatch):
    """A package and a module in it may not import each other either, of which the linter knows nothing."""
    assert not circles(types, monkeypatch)
    with (copied(tmp_path) / "tepal/hdl/config.py").open("a") as module:
        module.write("\nfrom tepal.hdl import TOP\n")
    assert ("tepal.hdl", "tepal.hdl.config") in circles(tmp_path, monkeypatch)


def test_hooks_are_what_make_lint_runs():
    """`make lint` is the targets that pre-commit's hooks make, each with the project's own tools."""
    hooks = [hook for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
             for hook in repository["hooks"]]
    commands = [make("--dry-run", "--old-file=.venv/ready", *hook["entry"].split()[1:]).stdout.splitlines()[-1]
                for hook in hooks]
    assert all(".venv/bin/" in command for command in commands)
    assert [line for line in make("--dry-run", "--old-file=.venv/ready", "lint").stdout.splitlines()
            if ".venv/bin/" in line] == commands


def test_licence_is_told():
    """Every file of code says under which licence it is, at its top."""
    folders = [*(ROOT / name for name in (
        "benchmarks", "boards", "cli", "examples", "hdl", "host", "quant", "sim", "tepal", "tests"))]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    assert len(files) > 200
    assert [file for file in files
            if "# SPDX-License-Identifier: Apache-2.0" not in file.read_text(encoding="utf-8").splitlines()[:2]] == []

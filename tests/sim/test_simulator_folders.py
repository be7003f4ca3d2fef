# SPDX-License-Identifier: Apache-2.0
"""Simulators are built where make can work, and find Verilator and cocotb wherever those are."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from tepal.cli.main import main
from tepal.sim import SimulationError, simulators
from tepal.sim.simulate import require_place
from tepal.sim.simulators import plain_path, unfinished, verilator_environment

DIGITS = Path(__file__).parents[2] / "examples/digits"
COMMAND = ["simulate", str(DIGITS / "digits.tflite"), "--board", "ulx3s-85f", "--input",
           str(DIGITS / "inputs.npy")]
ODD = [(" ", "a space"), ("\t", "a tab"), ("\n", "a line break"),
       *((each, f"the character {each}") for each in "'\"`$#%:;,&|*?[](){}<>=~!^\\")]


@pytest.mark.parametrize(("character", "name"), ODD)
def test_odd_places_are_refused(character, name, tmp_path, monkeypatch, capsys):
    """Before anything is read, made or started, with the path, what is wrong with it, and two ways out."""
    folder = tmp_path / f"a{character}b"
    folder.mkdir()
    sentence = (f"{str(folder)!r} has {name} in it, and make and the compilers can't build there: choose another "
                "folder with --keep, or another TMPDIR")
    with pytest.raises(SimulationError, match=f"^{re.escape(sentence)}$"):
        require_place(folder)
    monkeypatch.setattr("tepal.cli.simulate.load", None)
    assert main([*COMMAND, "--keep", str(folder)]) == 2
    assert capsys.readouterr().err == f"tepal: {sentence}\n"
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    assert main(COMMAND) == 2
    assert capsys.readouterr().err == f"tepal: {sentence}\n"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("name", ["plain-1.2_x+y@z", "müde", "模型"])
def test_good_places(name, tmp_path):
    (tmp_path / name).mkdir()
    require_place(tmp_path / name)
    assert plain_path(tmp_path / name, tmp_path) == tmp_path / name


@pytest.mark.parametrize("character", [each for each, _ in ODD if each != ":"])
def test_verilator_in_an_odd_place(character, tmp_path, monkeypatch):
    """It is reached through links, by a path that make takes; make itself agrees."""
    package, work = tmp_path / f"a{character}b/verilator", tmp_path / "work"
    (package / "bin").mkdir(parents=True)
    (package / "include").mkdir()
    (package / "include/verilated.mk").write_text("found:\n\t@echo found\n")
    (package / "bin/verilator").write_text("#!/bin/sh\nexit 127\n")
    (package / "bin/verilator_bin").write_text(
        '#!/bin/sh\necho "include $VERILATOR_ROOT/include/verilated.mk" > Makefile\n')
    for name in "verilator", "verilator_bin":
        (package / "bin" / name).chmod(0o755)
    work.mkdir()
    monkeypatch.setattr(simulators, "verilator_folder", lambda: package / "bin")
    for _ in range(2):
        environment = verilator_environment(work)
        subprocess.run(["verilator"], cwd=work, env=environment, check=True)
        done = subprocess.run(["make", "-s"], cwd=work, env=environment, check=True, capture_output=True, text=True)
        assert done.stdout == "found\n"
    assert Path(environment["VERILATOR_ROOT"]).resolve() == package.resolve()


def test_verilator_in_a_plain_place(tmp_path, monkeypatch):
    """No links then, and the folder alone is put on PATH."""
    (tmp_path / "verilator/bin").mkdir(parents=True)
    monkeypatch.setattr(simulators, "verilator_folder", lambda: tmp_path / "verilator/bin")
    monkeypatch.setenv("VERILATOR_ROOT", "/somewhere/else")
    environment = verilator_environment(tmp_path)
    assert environment["PATH"].startswith(f"{tmp_path}/verilator/bin{os.pathsep}")
    assert "VERILATOR_ROOT" not in environment
    assert not (tmp_path / "links").exists()


def test_unfinished(tmp_path):
    """What was built to its end is kept, and only that."""
    folder = tmp_path / "simulator"
    with unfinished(folder):
        (folder / "a.o").write_text("whole")
    with unfinished(folder):
        assert (folder / "a.o").read_text() == "whole"
    with pytest.raises(FileNotFoundError), unfinished(folder):
        (folder / "no such file").unlink()
    with unfinished(folder):
        assert not (folder / "a.o").exists()
    assert list(folder.iterdir()) == []

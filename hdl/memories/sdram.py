# SPDX-License-Identifier: Apache-2.0
"""An SDR SDRAM of 16 bits as a memory of 64-bit words that are read and written one after the other."""

from fractions import Fraction

from amaranth import *
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.config import ConfigError
from tepal.hdl.primitives import bits_for, stream_of

from .sdram_timing import SdramTiming

__all__ = ["BURST", "LATE", "Access", "SdramController", "SdramPins", "require_slots", "word_count", "word_cycles"]

BURST = 4
"""Words of the memory's in one of ours, which is one burst."""


def word_count(timing: SdramTiming) -> int:
    """64-bit words of a memory."""
    return timing.rows * timing.banks * timing.columns // BURST


_SLOTS = {"activate_to_column": 3, "write_recovery": 2, "active": 8, "row_cycle": 12, "precharge": 4, "mode_cycle": 4,
          "banks_apart": 4}
"""Cycles that the controller's slots leave for each of the memory's times."""


def require_slots(timing: SdramTiming) -> None:
    """Refuse times that a :class:`SdramController` does not keep.

    Raises
    ------
    ConfigError
        One is longer than what the slots leave for it.
    """
    for name, cycles in _SLOTS.items():
        if getattr(timing, name) > cycles:
            raise ConfigError(f"the SDRAM's {name} takes {getattr(timing, name)} cycles of this clock, and the "
                              f"controller gives it {cycles}: take a slower clock")


LATE = 5
"""Slots by which a refresh may be late, in which the longest other work of the rows is done: it waits for the burst of
the slot in which it falls due, an ACTIVATE of the one before, and PRECHARGE."""


def _refresh_interval(timing: SdramTiming) -> int:
    """Slots from one refresh to the next."""
    return timing.refresh_interval // BURST - LATE


def _refresh_slots(timing: SdramTiming) -> int:
    """Slots that a refresh takes, without closing rows for it and opening them again."""
    return -(-timing.refresh_cycle // BURST)


def word_cycles(timing: SdramTiming) -> Fraction:
    """Cycles that a 64-bit word takes on average in a linear access of a :class:`SdramController`: a burst, and its
    share of refreshes."""
    slots = _refresh_interval(timing)
    return Fraction(BURST * slots, slots - _refresh_slots(timing) - 2)


class Access(data.StructLayout):
    """What is to be read or written: ``words`` words of 64 bits, at least one, from ``address``, counted in such words
    too.  Behind the last word of the memory comes the first."""

    def __init__(self, timing: SdramTiming):
        bits = bits_for(word_count(timing))
        super().__init__({"write": 1, "address": bits, "words": bits + 1})


class SdramPins(wiring.Signature):
    """The memory's pins by the names of :func:`amaranth_boards.resources.memory.SDRAMResource`: a high ``cs``, ``we``,
    ``ras`` or ``cas`` selects, whatever the level on the board."""

    def __init__(self, timing: SdramTiming):
        super().__init__({
            "clk_en": Out(1, init=1), "cs": Out(1), "ras": Out(1), "cas": Out(1), "we": Out(1),
            "ba": Out(bits_for(timing.banks)),
            # A10 has a meaning of its own, however few columns and rows there are.
            "a": Out(max(11, bits_for(timing.rows), bits_for(timing.columns))), "dqm": Out(2),
            "dq_o": Out(16), "dq_oe": Out(1), "dq_i": In(16)})


class _State:
    """Registers of an :class:`SdramController` whose meaning outlasts a slot.

    ``place``: the word whose turn it is in the access under way, and ``left``, how many there are yet.  ``opening``:
    the row that is to be opened next.  ``current``, ``ahead`` and ``behind``: whether the row of ``place`` is open, the
    one after it, the one before; what is open in the beginning nobody knows.  ``due``: a refresh; ``timer``: slots to
    the next one.  ``waiting``: refreshes' intervals to the end of the pause after power-up, and the first refreshes
    behind it.  ``awake``: the pause is over; ``started``: the memory is initialised.  ``room``: words of the FIFO that
    no READ was issued for.  ``under_way``: a word for each bit that is set is to come, the last one's soonest;
    ``held``: words in the FIFO."""

    def __init__(self, timing: SdramTiming, interval: int, pause: int, depth: int, latency: int):
        self.column_bits = bits_for(timing.columns // BURST)
        words = bits_for(word_count(timing))
        self.phase = Signal(range(BURST), name="phase")
        self.place, self.left = Signal(words, name="place"), Signal(words + 1, name="left")
        self.opening = Signal(words - self.column_bits, name="opening")
        self.current, self.ahead = Signal(name="current"), Signal(name="ahead")
        self.behind = Signal(init=1, name="behind")
        self.running, self.due = Signal(name="running"), Signal(name="due")
        self.timer = Signal(range(interval), init=interval - 1, name="timer")
        waits = pause + timing.first_refreshes
        self.waiting = Signal(range(waits + 1), init=waits, name="waiting")
        self.awake, self.started = Signal(name="awake"), Signal(name="started")
        self.room = Signal(range(depth + 1), init=depth, name="room")
        self.under_way, self.held = Signal(latency, name="under_way"), Signal(range(depth + 1), name="held")


class SdramController(wiring.Component):
    """Reads and writes an SDRAM linearly, initialises it and keeps it refreshed.

    Time goes by in slots of four cycles, as long as a burst.  The first cycle of a slot can hold a READ or WRITE, the
    second one a command to rows: ACTIVATE, PRECHARGE, REFRESH.  A row is opened while the one before it is read, which
    lies in another bank, and closed while the one behind it is.  So bursts follow each other without a gap until a
    REFRESH is due: all banks are closed for it.  With the chips of a ULX3S that takes four slots of 190 at 100 MHz and
    five of 255 at 133 MHz, so that 97.9 % and 98.0 % of the bus's time are left for data.

    The data sheets' times hold in slots: from the READ or WRITE to PRECHARGE of the same bank there are five cycles at
    least, from ACTIVATE to READ or WRITE three, from ACTIVATE to PRECHARGE eight, and between any other commands to
    rows four; more where REFRESH needs more.  A read begins only if there is room for its words, so ``read`` may wait
    for as long as it likes; refreshes go on.

    Pins are to be registers: every output is one, and ``pins.dq_i`` goes into one at once.  The memory takes a command
    at the edge of its clock that ends the cycle in which it is there, or at any earlier time after its setup time.

    Parameters
    ----------
    timing
        The memory's.
    read_delay
        Cycles by which words come later than the memory's CAS latency, for registers in pins and the way on the board:
        the word that the memory puts out for the edge n (n being the edge at which it took READ, and the latency)
        is at ``pins.dq_i`` in the ``read_delay``-th cycle behind the one that this edge ends.
    depth
        Words of the FIFO in front of ``read``.

    Members
    -------
    access : In(stream of :class:`Access`)
        One after the other; the next one is taken when all words of the one before have been asked for.
    write : In(stream of 64)
        Words to be written, the lowest 16 bits at the lowest address.
    read : Out(stream of 64)
    ready : Out(1)
        The memory is initialised.
    pins : Out(:class:`SdramPins`)

    Raises
    ------
    ConfigError
        The memory's times do not fit into the slots, which only those of a faster clock than 133 MHz do not.
    """

    def __init__(self, timing: SdramTiming, read_delay: int = 0, depth: int = 16):
        self.timing, self.read_delay, self.depth = timing, read_delay, depth
        require_slots(timing)
        self.interval = _refresh_interval(timing)
        self.pause = -(-timing.pause // (BURST * self.interval))
        self.state = _State(timing, self.interval, self.pause, depth,
                            1 + timing.cas_latency + read_delay + BURST)
        super().__init__({"access": In(stream_of(Access(timing))), "write": In(stream_of(64)),
                          "read": Out(stream_of(64)), "ready": Out(1), "pins": Out(SdramPins(timing))})

    def elaborate(self, platform):
        m = Module()
        pins, timing, state = self.pins, self.timing, self.state
        phase, place, left, opening = state.phase, state.place, state.left, state.opening
        current, ahead, behind = state.current, state.ahead, state.behind
        running, due, waiting, awake, started = state.running, state.due, state.waiting, state.awake, state.started
        access, first = self.access.payload, timing.first_refreshes
        m.d.sync += phase.eq(phase + 1)
        column, row = place[:state.column_bits], place[state.column_bits:]
        bank = Signal.like(pins.ba, name="bank")
        m.d.comb += bank.eq(row)
        opened = current | ahead | behind
        writing, resting, young = Signal(), Signal(range(_refresh_slots(self.timing))), Signal()

        # What a slot brings is found in the last cycle of the one before, from registers that change no more.
        burst, activate, close, close_all, refresh, mode = (
            Signal(name=name) for name in ("burst", "activate", "close", "close_all", "refresh", "mode"))
        room = state.room
        last_column = column.all()
        serving = running & ~due
        with m.If(phase == 3):
            m.d.sync += [
                burst.eq(serving & current & ~(last_column & behind)
                         & Mux(writing, self.write.valid, room != 0)),
                activate.eq(serving & (resting == 0) & ~(current & ahead) & ~(current & behind)),
                close.eq(serving & current & behind & ~young),
                close_all.eq(~serving & awake & opened & ~young),
                refresh.eq(due & ~opened & (resting == 0)),
                mode.eq((waiting == 0) & ~self.ready & ~opened & (resting == 0) & ~due),
            ]

        m.d.comb += self.write.ready.eq((phase == 0) & burst & writing)
        m.d.sync += [pins.cs.eq(1), pins.dqm.eq((~self.ready).replicate(2)),
                     pins.ras.eq(0), pins.cas.eq(0), pins.we.eq(0)]
        sent = Signal(64, reset_less=True)
        m.d.comb += pins.dq_o.eq(sent[:16])
        m.d.sync += sent.eq(sent[16:])
        with m.Switch(phase):
            with m.Case(0):
                m.d.sync += [pins.cas.eq(burst), pins.we.eq(burst & writing), pins.ba.eq(bank),
                             pins.a.eq(Cat(C(0, BURST.bit_length() - 1), column)), pins.dq_oe.eq(burst & writing),
                             sent.eq(self.write.payload)]
            with m.Case(1):
                # ACTIVATE is RAS alone, PRECHARGE has WE too, REFRESH CAS, the mode register both.
                m.d.sync += [pins.ras.eq(activate | close | close_all | refresh | mode), pins.cas.eq(refresh | mode),
                             pins.we.eq(close | close_all | mode), young.eq(activate)]
                with m.If(activate):
                    m.d.sync += [pins.a.eq(opening[len(pins.ba):]), pins.ba.eq(opening), opening.eq(opening + 1),
                                 current.eq(1), ahead.eq(current)]
                with m.Elif(mode):
                    m.d.sync += [pins.a.eq(timing.mode), pins.ba.eq(0), started.eq(1)]
                with m.Else():
                    m.d.sync += [pins.a.eq(close_all << 10), pins.ba.eq(bank - 1)]
                with m.If(close):
                    m.d.sync += behind.eq(0)
                with m.If(close_all):
                    m.d.sync += [opening.eq(row), current.eq(0), ahead.eq(0), behind.eq(0)]
                with m.If(refresh):
                    m.d.sync += [due.eq(0), resting.eq(_refresh_slots(timing) - 1)]
                    with m.If(waiting != 0):
                        m.d.sync += waiting.eq(waiting - 1)
                with m.Elif(resting != 0):
                    m.d.sync += resting.eq(resting - 1)
            with m.Case(2):
                with m.If(burst):
                    m.d.sync += [place.eq(place + 1), left.eq(left - 1)]
                    with m.If(left == 1):
                        m.d.sync += running.eq(0)
                    with m.If(last_column):
                        m.d.sync += [current.eq(ahead), ahead.eq(0), behind.eq(1)]
                m.d.comb += self.access.ready.eq(self.ready & ~running & ~opened)
                with m.If(self.access.valid & self.access.ready):
                    m.d.sync += [running.eq(1), writing.eq(access.write), place.eq(access.address),
                                 opening.eq(access.address[state.column_bits:]), left.eq(access.words)]
        m.d.comb += self.ready.eq(started)

        # When a refresh is due; and before the first ones, the pause.
        timer = state.timer
        with m.If(phase == 2):
            m.d.sync += timer.eq(timer - 1)
            with m.If(timer == 0):
                m.d.sync += timer.eq(self.interval - 1)
                with m.If(awake):
                    m.d.sync += due.eq(1)
                with m.Else():
                    m.d.sync += waiting.eq(waiting - 1)
        m.d.sync += awake.eq(waiting <= first)

        # A READ is at the pins a cycle after it was decided; its first word is in ``word`` a cycle after it came, and
        # its last one three later.
        word = Signal(64, reset_less=True)
        m.d.sync += word.eq(Cat(word[16:], pins.dq_i))
        asked = Signal()
        m.d.comb += asked.eq((phase == 0) & burst & ~writing)
        under_way = state.under_way
        m.d.sync += under_way.eq(Cat(asked, under_way))
        m.submodules.words = words = fifo.SyncFIFO(width=64, depth=self.depth)
        m.d.comb += [words.w_data.eq(word), words.w_en.eq(under_way[-1]), state.held.eq(words.level),
                     self.read.payload.eq(words.r_data),
                     self.read.valid.eq(words.r_rdy), words.r_en.eq(self.read.ready)]
        m.d.sync += room.eq(room + (self.read.valid & self.read.ready) - asked)
        return m

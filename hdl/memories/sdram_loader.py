# SPDX-License-Identifier: Apache-2.0
"""Brings weights into an SDRAM and lets nobody in before they are there and right; tests the memory on request."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.config import ConfigError
from tepal.hdl.primitives import delay, stream_of

from .flash import CRC
from .sdram import Access, word_count
from .sdram_timing import SdramTiming

__all__ = ["SdramLoader", "require_weights"]

_BYTES = 8
"""Of a word."""


def require_weights(timing: SdramTiming, weights: bytes, base: int = 0) -> None:
    """Refuse weights that a :class:`SdramLoader` can't bring into a memory.

    Raises
    ------
    ConfigError
        They are none, no whole words, or more than there is room for behind ``base``.
    """
    room = _BYTES * (word_count(timing) - base)
    if not weights or len(weights) % _BYTES:
        raise ConfigError(f"{len(weights)} bytes of weights are no whole words of {_BYTES} bytes: fill them up")
    if len(weights) > room:
        raise ConfigError(f"{len(weights):,} bytes of weights don't fit into the SDRAM, which has room for {room:,}: "
                          "take a smaller network")


class SdramLoader(wiring.Component):
    """Lies between an :class:`~tepal.hdl.memories.sdram.SdramController` and who reads the memory.

    Weights come as :class:`~tepal.hdl.memories.flash.FlashLoader` hands them on, or as they come over a line, and are
    written word by word.  Then all is read again, and the CRC of that decides: so it is noticed if another network's
    weights came, damaged ones, or if the memory does not hold them.

    Each word is an access of its own, so that a load may break off at any place and begin anew; four of ``load_tdata``
    must take 80 cycles at least, which is 10 MB/s at 100 MHz and no limit to a serial flash memory.  To read all takes
    eight cycles a word.

    The test writes every word of the memory and reads it, twice: first with a pattern in which each address is another,
    then with its complement.  It finds bits that don't change, lines of data or address that are broken or touch each
    other, and words that don't last until they are read.

    Parameters
    ----------
    timing
        The memory's.
    weights
        What is expected; whole words of eight bytes (:func:`require_weights`).
    base
        Word of the memory in which they begin.

    Members
    -------
    load_tdata, load_tvalid, load_tfirst : In
        The next 16 bits of the weights, lowest first, and whether they are the first ones: then it all begins anew.
    loaded : In(1)
        The source has all and finds it right; its weights are checked when this is set.
    test : In(1)
        Test the memory, which overwrites all; heeded while nothing is loaded.
    ready : Out(1)
        A load may begin; low during a test.
    run : Out(1)
        The weights are there and right.  They are not loaded again.
    failed : Out(1)
        They are not.  It stays until a load begins anew.
    tested, test_failed : Out(1)
        A test has come to its end; a word was not what was written.
    access : Out, write : Out, read : In
        The controller's streams.
    user_access : In(stream of :class:`~tepal.hdl.memories.sdram.Access`)
        Taken while ``run`` is set.
    user_read : Out(stream of 64)
    """

    def __init__(self, timing: SdramTiming, weights: bytes, base: int = 0):
        require_weights(timing, weights, base)
        self.timing, self.weights, self.base = timing, weights, base
        access = Access(timing)
        super().__init__({
            "load_tdata": In(16), "load_tvalid": In(1), "load_tfirst": In(1), "loaded": In(1), "test": In(1),
            "ready": Out(1), "run": Out(1), "failed": Out(1), "tested": Out(1), "test_failed": Out(1),
            "access": Out(stream_of(access)), "write": Out(stream_of(64)), "read": In(stream_of(64)),
            "user_access": In(stream_of(access)), "user_read": Out(stream_of(64))})

    def elaborate(self, platform):
        m = Module()
        count, every = len(self.weights) // _BYTES, word_count(self.timing)
        asked = self.access.payload

        # The source may lie at another end of the part.
        came = {name: delay(m, getattr(self, name), 1, name=name)
                for name in ("load_tdata", "load_tvalid", "load_tfirst", "loaded")}
        data, valid, first, complete = came.values()

        # Sixteen bits at a time become a word, which waits for the memory while the next one comes.
        gathered, word, part = Signal(48), Signal(64), Signal(2)
        loading, waiting, anew = Signal(), Signal(), Signal()
        with m.If(loading & valid):
            m.d.sync += [gathered.eq(Cat(gathered[16:], data)), part.eq(Mux(first, 1, part + 1))]
            with m.If(first):
                m.d.sync += anew.eq(1)
            with m.Elif(part == 3):
                m.d.sync += [word.eq(Cat(gathered, data)), waiting.eq(1)]

        m.submodules.checker = crc = CRC(data_width=8).create()
        place, shifted, byte = Signal(range(every + 1)), Signal(64), Signal(range(_BYTES))
        right = Signal()
        m.d.comb += crc.data.eq(shifted[:8])
        m.d.sync += right.eq(crc.crc == CRC(data_width=8).compute(self.weights))

        # A pattern of the address: its bits and their complement by turns, over and over.
        inverted, pattern = Signal(), Signal(64)
        address = place[:len(asked.address)]
        own, other = Value.cast(address), ~Value.cast(address)
        with m.If(inverted):
            m.d.comb += pattern.eq(Cat(*[other, own] * 32))
        with m.Else():
            m.d.comb += pattern.eq(Cat(*[own, other] * 32))

        def ask(write: int, begin, words):
            m.d.comb += [self.access.valid.eq(1), asked.write.eq(write), asked.address.eq(begin), asked.words.eq(words)]

        with m.FSM(name="state"):
            with m.State("LOAD"):
                m.d.comb += [loading.eq(1), self.ready.eq(1), crc.start.eq(1)]
                with m.If(anew):
                    m.d.sync += [place.eq(0), anew.eq(0)]
                with m.Elif(waiting & (place != count)):
                    m.next = "ASK TO WRITE"
                with m.Elif((place == count) & complete):
                    m.next = "ASK TO CHECK"
                with m.Elif(self.test & (place == 0) & (part == 0) & ~waiting):
                    m.d.sync += [self.tested.eq(0), self.test_failed.eq(0), inverted.eq(0)]
                    m.next = "ASK TO FILL"
            with m.State("ASK TO WRITE"):
                m.d.comb += loading.eq(1)
                ask(1, self.base + place, 1)
                with m.If(self.access.ready):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += [loading.eq(1), self.write.valid.eq(1), self.write.payload.eq(word)]
                with m.If(self.write.ready):
                    m.d.sync += [place.eq(place + 1), waiting.eq(0)]
                    m.next = "LOAD"
            with m.State("ASK TO CHECK"):
                ask(0, self.base, count)
                m.d.sync += [place.eq(0), byte.eq(0)]
                with m.If(self.access.ready):
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += self.read.ready.eq(1)
                m.d.sync += [shifted.eq(self.read.payload)]
                with m.If(place == count):
                    m.next = "DECIDE"
                with m.Elif(self.read.valid):
                    m.d.sync += place.eq(place + 1)
                    m.next = "BYTES"
            with m.State("BYTES"):
                m.d.comb += crc.valid.eq(1)
                m.d.sync += [byte.eq(byte + 1), shifted.eq(shifted >> 8)]
                with m.If(byte == _BYTES - 1):
                    m.next = "CHECK"
            with m.State("DECIDE"):
                m.next = "FAILED"
                with m.If(right):
                    m.next = "LOADED"
            with m.State("LOADED"):
                m.d.comb += [self.run.eq(1), self.access.valid.eq(self.user_access.valid),
                             asked.eq(self.user_access.payload), self.user_access.ready.eq(self.access.ready),
                             self.user_read.valid.eq(self.read.valid), self.user_read.payload.eq(self.read.payload),
                             self.read.ready.eq(self.user_read.ready)]
            with m.State("FAILED"):
                m.d.comb += [self.failed.eq(1), self.ready.eq(1), loading.eq(1)]
                m.d.sync += waiting.eq(0)
                with m.If(anew):
                    m.next = "LOAD"
            with m.State("ASK TO FILL"):
                ask(1, 0, every)
                with m.If(self.access.ready):
                    m.next = "FILL"
            with m.State("FILL"):
                m.d.comb += [self.write.valid.eq(1), self.write.payload.eq(pattern)]
                with m.If(self.write.ready):
                    m.d.sync += place.eq(place + 1)
                    with m.If(place == every - 1):
                        m.d.sync += place.eq(0)
                        m.next = "ASK TO COMPARE"
            with m.State("ASK TO COMPARE"):
                ask(0, 0, every)
                with m.If(self.access.ready):
                    m.next = "COMPARE"
            with m.State("COMPARE"):
                m.d.comb += self.read.ready.eq(1)
                with m.If(self.read.valid):
                    m.d.sync += place.eq(place + 1)
                    with m.If(self.read.payload != pattern):
                        m.d.sync += self.test_failed.eq(1)
                    with m.If(place == every - 1):
                        m.d.sync += [place.eq(0), inverted.eq(1)]
                        m.next = "ASK TO FILL"
                        with m.If(inverted):
                            m.d.sync += self.tested.eq(1)
                            m.next = "TESTED"
            # The request may last longer than the test.
            with m.State("TESTED"), m.If(~self.test):
                m.next = "LOAD"
        return m

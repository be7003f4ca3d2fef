"""Both ends of the accelerator: images in, results out."""

import struct
from enum import IntFlag
from functools import cache
from math import prod
from typing import NamedTuple

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import bits_for, delay

from .descriptor_table import Countdown
from .input_layout import InputLayout

__all__ = ["FRAME", "InputLoader", "OutputStreamer", "Status", "Trailer"]

FRAME = data.StructLayout({"number": 8, "too_long": 1, "abandoned": 1})
"""What goes with a frame from its arrival to its answer: its ``number``, modulo 256, among all that were begun since
reset; whether it was ``too_long``; and whether one between the frame answered before and this one was ``abandoned``."""


class Status(IntFlag):
    """The last byte of every packet that an accelerator sends; 0 if there is nothing to tell."""

    TOO_LONG = 1 << 0
    """The frame was longer than an image: the answer is that of the image's bytes, the rest was dropped."""
    ABANDONED = 1 << 1
    """Between the frame answered before and this one another was abandoned: ``tlast`` came before its final beat."""
    CUT_OFF = 1 << 7
    """A reset came within this packet, which is no answer: this byte is all that follows what was sent before it."""


class Trailer(NamedTuple):
    """What an answer ends with: the index of the largest result, the frame's number, its :class:`Status`."""

    argmax: int
    number: int
    status: int

    @classmethod
    def unpack(cls, content: bytes) -> "Trailer":
        """Of the last :attr:`OutputStreamer.TRAILER` bytes of an answer."""
        return cls(*_TRAILER.unpack(content))

    def pack(self) -> bytes:
        """The inverse of :meth:`unpack`."""
        return _TRAILER.pack(*self)


_TRAILER = struct.Struct("<HBB")


class InputLoader(wiring.Component):
    """Writes an image that arrives row by row, pixel by pixel, channel by channel into the input memory.

    For every row of the image and every output column it stores the bytes that the first convolution's
    window covers there, with the zero point beyond the edges, in the words that the layout says.  While a word is being
    stored, and for a cycle between two rows, the stream waits.

    ``last`` on a beat before a frame's final one abandons that frame: the next beat begins a new one, so that
    a sender that lost bytes is back in step with its next frame.

    Any ``last`` also tells that the sender marks its frames' ends, from then on: a final beat without ``last`` then
    belongs to a frame that is too long.  That frame is handed on, flagged, and what is left of it is taken and dropped,
    a beat a cycle, also while the memory is full, up to the beat with ``last``.

    A sender that never sets ``last`` can't be told of frames of a wrong length, and loses its step for good with the
    first beat that it loses or adds.  Two beats with ``last``, one right after the other, bring it back: the first one
    ends whatever is under way (which may be a whole frame), and the second one, being a frame's first beat, is
    abandoned and takes back that ends are marked.  (Frames of a single beat are always in step.)

    Parameters
    ----------
    layout
        What to store.
    beat
        Bytes of a beat.

    Members
    -------
    data, last, valid : In, ready : Out
        The stream; byte 0 lowest.
    enable, address, word : Out
        To the input memory's write port.
    full : Out(1)
        The memory holds a frame; the stream waits until ``release``.
    frame : Out(FRAME)
        Of the frame that is being taken or that the memory holds; as a whole while ``full``.
    error : Out(1)
        Since reset a frame was abandoned or too long.
    """

    def __init__(self, layout: InputLayout, beat: int):
        self.layout, self.beat = layout, beat
        _, width, channels = layout.shape
        self.row_beats = width * channels // beat
        super().__init__({
            "data": In(8 * beat), "last": In(1), "valid": In(1), "ready": Out(1),
            "enable": Out(1), "address": Out(bits_for(layout.depth)), "word": Out(8 * layout.word_bytes),
            "full": Out(1), "release": In(1), "frame": Out(FRAME), "error": Out(1),
        })

    @staticmethod
    @cache
    def timing(layout: InputLayout, beat: int) -> tuple[int, int, int]:
        """(cycles before the first beat, in which windows of nothing but padding are stored; from the first beat
        to the last one, both counted; from the last one to ``full``), with a stream that never waits."""
        height, width, channels = layout.shape
        cycle = accepted = first = 0
        for row in range(height):
            # Between two rows there is a cycle.
            cycle += row > 0
            excess, left = layout.left * channels - layout.word_bytes, width * channels // beat
            words = layout.columns * layout.parts
            while words or left:
                if words and (excess >= 0 or (words == 1 and not left and layout.parts > 1)):
                    cycle += 1
                    words -= 1
                    onward = layout.stride * channels - (layout.parts - 1) * layout.word_bytes
                    excess -= layout.word_bytes if words % layout.parts else onward
                    continue
                cycle += 1
                excess += beat
                if left:
                    left -= 1
                    accepted = cycle
                    first = first or cycle
        return first - 1, accepted - first + 1, cycle - accepted + 1

    @property
    def _start(self) -> int:
        """Bytes of zero point on the left, less those of a word."""
        return self.layout.left * self.layout.shape[2] - self.layout.word_bytes

    @property
    def _stride(self) -> int:
        """Bytes from a window's last word to the next window's first one."""
        return self.layout.stride * self.layout.shape[2] - (self.layout.parts - 1) * self.layout.word_bytes

    @property
    def _beyond(self) -> int:
        """Bytes by which the last word of a row's last window lies behind the row."""
        layout = self.layout
        _, width, channels = layout.shape
        begin = ((layout.columns - 1) * layout.stride - layout.left) * channels
        return begin + layout.parts * layout.word_bytes - width * channels

    def elaborate(self, platform):
        m = Module()
        word_bytes, parts = self.layout.word_bytes, self.layout.parts
        size = word_bytes + self.beat - 1
        zero = Const(self.layout.zero_point & 0xFF, 8)
        history = Signal(8 * size, init=int.from_bytes(bytes([self.layout.zero_point & 0xFF] * size), "little"))
        reach = word_bytes + self._stride + self.beat + abs(self._start)
        # Bytes behind the end of the next word; negative while bytes of it are missing.
        excess = Signal(signed(reach.bit_length() + 1), init=self._start)
        beats, column, row = (Signal(range(count + 1), init=count) for count in (
            self.row_beats, self.layout.columns * parts, self.layout.shape[0]))
        # Of a window's words, but the last one.
        part = Countdown("part", range(parts), parts - 1, parts - 1)
        # Of beats and words of the row and of the frame's rows: are there any left, is it the last?
        some_beats, some_columns = Signal(init=1), Signal(init=1)
        last_beat, last_column, last_row = (Signal(name=name, init=counter.init == 1) for name, counter in (
            ("last_beat", beats), ("last_column", column), ("last_row", row)))
        missing, storing, shift, accept = Signal(), Signal(), Signal(), Signal()
        # Of several words, a row's last one is stored as soon as the row's bytes are in, whatever it is filled up with.
        padded = last_column & ~some_beats
        # Does the sender mark ends, is the rest of a frame too long under way, does the next beat begin a frame?
        marked, dropping, first_beat = Signal(), Signal(), Signal(init=1)
        # A row, a frame was over in the cycle before: all begins anew, which is a lot to reach.
        row_over, frame_over, pausing = Signal(), Signal(), Signal()
        m.d.comb += [
            pausing.eq(self.full | row_over),
            missing.eq(excess[-1]),
            storing.eq(~pausing & some_columns & (~missing | padded if parts > 1 else ~missing)),
            self.ready.eq(dropping | (~pausing & ~storing & some_beats)),
            accept.eq(self.valid & self.ready & ~dropping),
            shift.eq(accept | (~pausing & ~storing & ~some_beats & some_columns)),
        ]

        # The newest byte is the highest; a word lies ``excess`` bytes below it.  A beat or more below there is
        # only padding, before a row's first beat: then all places are alike, but each must be one.
        bits = bits_for(self.beat)
        places = [history.bit_select(8 * max(0, self.beat - 1 - i), 8 * word_bytes) for i in range(1 << bits)]
        m.d.comb += [self.word.eq(Array(places)[excess[:bits]]), self.enable.eq(storing)]
        if parts > 1 and self._beyond > 0:
            with m.If(padded & missing):
                m.d.comb += self.word.eq(history[8 * (self.beat - 1 + self._beyond):])
        end_of_row, restart, too_long = Signal(), Signal(), Signal()
        with m.If(shift):
            incoming = Mux(some_beats, self.data, zero.replicate(self.beat))
            m.d.sync += [history.eq(Cat(history, incoming)[8 * self.beat:]), excess.eq(excess + self.beat)]
        with m.If(accept):
            m.d.sync += [beats.eq(beats - 1), some_beats.eq(~last_beat), last_beat.eq(beats == 2)]
            m.d.comb += [end_of_row.eq(last_beat & ~some_columns), restart.eq(self.last & ~(last_row & last_beat)),
                         too_long.eq(marked & ~self.last & last_row & last_beat)]
            m.d.sync += first_beat.eq(0)
            with m.If(self.last):
                m.d.sync += marked.eq(1 if self.layout.shape[0] * self.row_beats == 1 else ~first_beat)
        with m.If(storing):
            m.d.sync += [self.address.eq(self.address + 1), column.eq(column - 1), some_columns.eq(~last_column),
                         last_column.eq(column == 2), excess.eq(excess - self._stride)]
            if parts > 1:
                m.d.sync += part.start(parts - 1)
                with m.If(~part.last):
                    m.d.sync += [excess.eq(excess - word_bytes), *part.step()]
            m.d.comb += end_of_row.eq(last_column & ~some_beats)
        with m.If(end_of_row & last_row):
            m.d.sync += self.full.eq(1)
        m.d.sync += [row_over.eq(end_of_row | restart), frame_over.eq(restart | last_row)]
        with m.If(row_over):
            m.d.sync += [history.eq(history.init), excess.eq(self._start), *part.start(parts - 1),
                         *(signal.eq(signal.init) for signal in (beats, column, some_beats, some_columns, last_beat,
                                                                 last_column)),
                         row.eq(row - 1), last_row.eq(row == 2)]
            with m.If(frame_over):
                m.d.sync += [row.eq(row.init), last_row.eq(last_row.init), self.address.eq(0), first_beat.eq(1)]
        # An abandoned frame leaves right away, others when the memory is free again: long after they were found wrong.
        m.d.sync += self.frame.number.eq(self.frame.number + (restart | self.release))
        with m.If(restart):
            m.d.sync += [self.frame.abandoned.eq(1), self.error.eq(1)]
        with m.If(self.release):
            m.d.sync += [self.full.eq(0), self.frame.abandoned.eq(0), self.frame.too_long.eq(0)]
        with m.If(dropping & self.valid & self.last):
            m.d.sync += dropping.eq(0)
        with m.If(too_long):
            m.d.sync += [dropping.eq(1), self.frame.too_long.eq(1), self.error.eq(1)]
        return m


class OutputStreamer(wiring.Component):
    """Sends a frame's results: every int8 in order, then a :class:`Trailer`: the index of the largest as two bytes, low
    first (ties go to the first), the frame's number and a :class:`Status`.  ``last`` marks the last byte.

    Nothing is valid during reset.  A reset within an answer, behind its first byte, leaves whoever took that byte
    waiting for ``last``: so before anything else a byte with ``last`` follows, :attr:`Status.CUT_OFF`.

    Parameters
    ----------
    shape, lanes
        Of the results; bytes of a memory word.
    closes
        Send that byte; not needed where whoever takes the answers is reset as well.

    Members
    -------
    claim : In(1)
        The block that writes the results begins.
    frame : In(FRAME)
        Whose answer it will be; taken with ``claim``.
    done : In(1)
        The frame's last result is being written.
    address : Out, word : In
        To the output memory's read port.
    data, last, valid : Out, ready : In
        The stream.
    free : Out(1)
        The output memory may be claimed.
    """

    TRAILER = _TRAILER.size
    """Bytes behind the results: a :class:`Trailer`."""

    FETCH = 2
    """Cycles to fetch a word."""

    COMPARE = 1
    """Cycles from the last result to the index of the largest."""

    def __init__(self, shape: tuple[int, int, int], lanes: int, *, closes: bool = True):
        self.shape, self.lanes, self.closes = shape, lanes, closes
        self.groups = -(-shape[2] // lanes)
        self.depth = shape[0] * shape[1] * self.groups
        super().__init__({
            "claim": In(1), "frame": In(FRAME), "done": In(1),
            "address": Out(bits_for(self.depth)), "word": In(8 * lanes),
            "data": Out(8), "last": Out(1), "valid": Out(1), "ready": In(1), "free": Out(1),
        })

    @classmethod
    def timing(cls, shape: tuple[int, int, int], lanes: int) -> tuple[int, int]:
        """(cycles from ``done`` to the first byte, from the first byte to the last one), never made to wait."""
        words = shape[0] * shape[1] * -(-shape[2] // lanes)
        return 1 + cls.FETCH, (words - 1) * cls.FETCH + prod(shape) + cls.COMPARE + cls.TRAILER - 1

    def elaborate(self, platform):
        m = Module()
        last_lane = (self.shape[2] - 1) % self.lanes
        group = Signal(range(max(2, self.groups)))
        lane = Signal(range(max(2, self.lanes)))
        word = Signal.like(self.word, reset_less=True)
        index, best_index = Signal(bits_for(prod(self.shape))), Signal(bits_for(prod(self.shape)))
        frame, offered, claimed = Signal(FRAME, reset_less=True), Signal(), Signal()
        # Whether an answer is under way, its last byte not yet taken: the one thing that outlives a reset.
        open_ = Signal(name="open", reset_less=True)
        # Nobody is to believe that a byte was taken in the cycle in which the reset comes.
        m.d.comb += [self.valid.eq(offered & ~ResetSignal(allow_reset_less=True)), self.free.eq(~claimed & ~open_)]
        if self.closes:
            with m.If(self.valid & self.ready):
                m.d.sync += open_.eq(~self.last)
        best = Signal(signed(8))
        value, taken = word[:8].as_signed(), Signal()
        # Results are compared the cycle after they went, far from whoever took them.
        compared, compared_index = delay(m, value, 1, name="compared"), delay(m, index, 1, name="compared_index")
        with m.If(delay(m, taken, 1, name="compares") & ((compared_index == 0) | (compared > best))):
            m.d.sync += [best.eq(compared), best_index.eq(compared_index)]
        last_group = group == self.groups - 1
        with m.If(self.claim):
            m.d.sync += [claimed.eq(1), frame.eq(self.frame)]
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.sync += [index.eq(0), self.address.eq(0), group.eq(0)]
                with m.If(self.done):
                    m.next = "ADDRESS"
                if self.closes:
                    with m.If(open_):
                        m.next = "CLOSE"
            if self.closes:
                with m.State("CLOSE"):
                    m.d.comb += [offered.eq(1), self.data.eq(Status.CUT_OFF.value), self.last.eq(1)]
                    with m.If(self.ready):
                        m.next = "IDLE"
            with m.State("ADDRESS"):
                m.next = "FETCH"
            with m.State("FETCH"):
                m.d.sync += [word.eq(self.word), lane.eq(0)]
                m.next = "RESULTS"
            with m.State("RESULTS"):
                m.d.comb += [offered.eq(1), self.data.eq(value)]
                with m.If(self.ready):
                    m.d.comb += taken.eq(1)
                    m.d.sync += [lane.eq(lane + 1), index.eq(index + 1), word.eq(word >> 8)]
                    with m.If(lane == Mux(last_group, last_lane, self.lanes - 1)):
                        m.d.sync += [self.address.eq(self.address + 1), group.eq(Mux(last_group, 0, group + 1))]
                        m.next = "ADDRESS"
                        with m.If(self.address == self.depth - 1):
                            m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "LOW"
            index_bytes = Cat(best_index, C(0, 16))
            trailer = {"LOW": index_bytes[:8], "HIGH": index_bytes[8:16], "NUMBER": frame.number,
                       "STATUS": Cat(frame.too_long, frame.abandoned)}
            for (state, byte), following in zip(trailer.items(), [*trailer, "IDLE"][1:], strict=True):
                with m.State(state):
                    m.d.comb += [offered.eq(1), self.data.eq(byte), self.last.eq(following == "IDLE")]
                    with m.If(self.ready):
                        m.next = following
        with m.If(self.valid & self.last & self.ready):
            m.d.sync += claimed.eq(0)
        return m

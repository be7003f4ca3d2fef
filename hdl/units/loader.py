# SPDX-License-Identifier: Apache-2.0
"""The loader: an image from the input stream into the input memory, window by window."""

from functools import cache
from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.answer import BEGUN_FRAME, FRAME
from tepal.hdl.primitives import bits_for

from .descriptor_table import Countdown
from .input_layout import InputLayout
from .instance_name import InstanceName

__all__ = ["InputLoader"]


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

    With ``layout.ring`` it stores a row as soon as there is room for one, and the engine may have begun with a frame
    that is abandoned.  So the loader makes up what is missing of it, a beat a cycle, and tells that there is no answer
    to it; the stream waits until the engine has got all of it.

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
        The memory holds a frame; the stream waits until ``release``.  With ``layout.ring``: the frame's last row is
        stored.
    frame : Out(FRAME)
        Of the frame that is being taken or that the memory holds; as a whole while ``full``.  :data:`BEGUN_FRAME` with
        ``layout.ring``.
    room : In(1), written : Out(1), ends : Out(1)
        With ``layout.ring``, from and to :class:`~tepal.hdl.units.input_rows.InputRows`.
    error : Out(1)
        Since reset a frame was abandoned or too long.
    """

    NAME = InstanceName("loader", "image loader", "image loader")

    def __init__(self, layout: InputLayout, beat: int):
        self.layout, self.beat = layout, beat
        _, width, channels = layout.shape
        self.row_beats = width * channels // beat
        super().__init__({
            "data": In(8 * beat), "last": In(1), "valid": In(1), "ready": Out(1),
            "enable": Out(1), "address": Out(bits_for(layout.depth)), "word": Out(8 * layout.word_bytes),
            "full": Out(1), "release": In(1), "frame": Out(FRAME if layout.ring is None else BEGUN_FRAME),
            "error": Out(1), **({} if layout.ring is None else {"room": In(1), "written": Out(1), "ends": Out(1)}),
        })

    @staticmethod
    @cache
    def row_timing(layout: InputLayout, beat: int) -> tuple[int, int, int]:
        """(cycles of a row before its first beat, in which windows of nothing but padding are stored; from the first
        beat to the last one, both counted; from the last one to the row's end, or ``full``), with a stream that never
        waits.  Between two rows there is a cycle."""
        _, width, channels = layout.shape
        parts, word_bytes = layout.parts, layout.word_bytes
        cycle = accepted = first = 0
        excess, left = layout.left * channels - word_bytes, width * channels // beat
        words = layout.columns * parts
        while words or left:
            cycle += 1
            if words and (excess >= 0 or (words == 1 and not left and parts > 1)):
                words -= 1
                excess -= word_bytes if words % parts else layout.stride * channels - (parts - 1) * word_bytes
                continue
            excess += beat
            if left:
                left -= 1
                accepted = cycle
                first = first or cycle
        return first - 1, accepted - first + 1, cycle - accepted + 1

    @staticmethod
    def timing(layout: InputLayout, beat: int) -> tuple[int, int, int]:
        """The same of a whole image: all its rows take as long."""
        before, load, full = InputLoader.row_timing(layout, beat)
        return before, (layout.shape[0] - 1) * (before + load + full) + load, full

    @staticmethod
    def features(engine: Any, word_bytes: Any) -> dict[str, Any]:
        """Features for the LUT estimate, where words of the input memory have ``word_bytes`` bytes."""
        return {"bytes to choose from": (engine.input_bytes - 1) * word_bytes, "bytes": word_bytes, "fixed": 1}

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
        ring = self.layout.ring is not None
        word_bytes, parts = self.layout.word_bytes, self.layout.parts
        size = word_bytes + self.beat - 1
        zero = Const(self.layout.zero_point & 0xFF, 8)
        history = Signal(8 * size, init=int.from_bytes(bytes([self.layout.zero_point & 0xFF] * size), "little"))
        reach = word_bytes + self._stride + self.beat + abs(self._start)
        # Bytes behind the end of the next word; negative while bytes of it are missing.
        excess = Signal(signed(reach.bit_length() + 1), init=self._start)
        beats, column, row = (Signal(range(count + 1), init=count) for count in (
            self.row_beats, self.layout.columns * parts, self.layout.shape[0]))
        # Counts the words of a window, all but the last one.
        part = Countdown("part", range(parts), parts - 1, parts - 1)
        # Of the beats and the words of this row, and of the frame's rows: whether any are left, and whether this one is
        # the last.
        some_beats, some_columns = Signal(init=1), Signal(init=1)
        last_beat, last_column, last_row = (Signal(name=name, init=counter.init == 1) for name, counter in (
            ("last_beat", beats), ("last_column", column), ("last_row", row)))
        missing, storing, shift, accept = Signal(), Signal(), Signal(), Signal()
        # Where a window has several words, a row's last word is stored as soon as the row's bytes are in: it does not
        # matter what fills it up.
        padded = last_column & ~some_beats
        # Whether the sender marks ends, the rest of a frame that is too long is being dropped, and the next beat begins
        # a frame.
        marked, dropping, first_beat = Signal(), Signal(), Signal(init=1)
        # Whether a row, and with it a frame, ended in the cycle before: registers, for a row's end has a large fan-out.
        row_over, frame_over, pausing = Signal(), Signal(), Signal()
        # Whether what is missing of the frame is being made up.
        filling = self.frame.cut_short if ring else Const(0)
        m.d.comb += [
            pausing.eq(self.full | row_over | ~self.room if ring else self.full | row_over),
            missing.eq(excess[-1]),
            storing.eq(~pausing & some_columns & (~missing | padded if parts > 1 else ~missing)),
            self.ready.eq(dropping | (~pausing & ~storing & some_beats & ~filling) if ring else
                          dropping | (~pausing & ~storing & some_beats)),
            accept.eq((self.valid | filling) & ~pausing & ~storing & some_beats & ~dropping if ring else
                      self.valid & self.ready & ~dropping),
            shift.eq(accept | (~pausing & ~storing & ~some_beats & some_columns)),
        ]

        # The newest byte is the highest; a word lies ``excess`` bytes below it.  Before a row's first beat, ``excess``
        # may be a beat or more: then there is only padding, and whichever place the lowest bits choose is right.
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
            # What is made up tells nothing.
            last, marked_now = (self.last & ~filling, marked & ~filling) if ring else (self.last, marked)
            m.d.comb += [end_of_row.eq(last_beat & ~some_columns), restart.eq(last & ~(last_row & last_beat)),
                         too_long.eq(marked_now & ~self.last & last_row & last_beat)]
            m.d.sync += first_beat.eq(0)
            with m.If(last):
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
        if ring:
            m.d.comb += [self.written.eq(end_of_row), self.ends.eq(last_row)]
            m.d.sync += [row_over.eq(end_of_row), frame_over.eq(last_row)]
        else:
            m.d.sync += [row_over.eq(end_of_row | restart), frame_over.eq(restart | last_row)]
        with m.If(row_over):
            m.d.sync += [history.eq(history.init), excess.eq(self._start), *part.start(parts - 1),
                         *(signal.eq(signal.init) for signal in (beats, column, some_beats, some_columns, last_beat,
                                                                 last_column)),
                         row.eq(row - 1), last_row.eq(row == 2)]
            if self.layout.pitch > self.layout.columns * parts:
                # The next row's first word; behind the last row it is the first row's.
                m.d.sync += self.address.eq((self.address | self.layout.pitch - 1) + 1)
            with m.If(frame_over):
                m.d.sync += [row.eq(row.init), last_row.eq(last_row.init), self.address.eq(0), first_beat.eq(1)]
        self._tell_frame(m, restart)
        with m.If(dropping & self.valid & self.last):
            m.d.sync += dropping.eq(0)
        with m.If(too_long):
            m.d.sync += [dropping.eq(1), self.frame.too_long.eq(1), self.error.eq(1)]
        return m

    def _tell_frame(self, m: Module, restart):
        """Number and status; ``restart`` where a frame turns out too short."""
        if self.layout.ring is not None:
            # It goes through the engine like any other.
            m.d.sync += self.frame.number.eq(self.frame.number + self.release)
            with m.If(restart):
                m.d.sync += [self.frame.cut_short.eq(1), self.error.eq(1)]
            with m.If(self.release):
                m.d.sync += [self.full.eq(0), self.frame.abandoned.eq(self.frame.cut_short), self.frame.cut_short.eq(0),
                             self.frame.too_long.eq(0)]
            return
        # An abandoned frame's number is used up right away, another's when the memory is free again: long after the
        # frame was found too long.
        m.d.sync += self.frame.number.eq(self.frame.number + (restart | self.release))
        with m.If(restart):
            m.d.sync += [self.frame.abandoned.eq(1), self.error.eq(1)]
        with m.If(self.release):
            m.d.sync += [self.full.eq(0), self.frame.abandoned.eq(0), self.frame.too_long.eq(0)]

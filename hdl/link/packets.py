# SPDX-License-Identifier: Apache-2.0
"""The device's end of the host link: packets (see :mod:`tepal.hdl.link.protocol`) to images, results to packets.

::

    i ─► CobsDecoder ─► CrcChecker ─► RequestReader ──► s_axis ─► accelerator ─► m_axis
                                          │ replies          tags │                │
    o ◄─ CobsEncoder ◄─ CrcAppender ◄─ AnswerWriter ◄─────────────┴────────────────┘

The outer stages are :mod:`tepal.hdl.link.framing`'s.
"""

from math import prod

from amaranth import *
from amaranth.lib import data, fifo, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out
from tepal.hdl.accelerator import LOAD, WEIGHTS, Accelerator
from tepal.hdl.answer import Trailer
from tepal.hdl.plan.schedule import Schedule
from tepal.hdl.primitives import stream_of
from tepal.quant import digest

from .crossing import Crossing
from .debug_tap import TRACE_REQUEST, TRACED, Tracer
from .framing import ARRIVED, SYMBOL, CobsDecoder, CobsEncoder, CrcAppender, CrcChecker
from .protocol import HEADER, VERSION, Fault, Identity, Kind, Trace

__all__ = ["REPLY", "AnswerWriter", "LinkedAccelerator", "RequestReader"]

REPLY = data.StructLayout({"tag": 32, "fault": 8})
"""What to answer at once: an ERROR, or with ``fault`` 0 the identity."""

_HEADER_BITS = 8 * HEADER.size


class RequestReader(wiring.Component):
    """Acts on requests: images to the accelerator, identity and errors to ``replies``.

    An image goes on as it arrives, but for its last two beats: they wait until the packet has proved whole.  If it
    has not, a beat with ``last`` takes the place of the last but one, and the accelerator forgets the image (see
    :class:`tepal.hdl.units.loader.InputLoader`).  So no image is computed that did not arrive whole, and none is stored
    here.

    Parameters
    ----------
    image_bytes, beat
        Bytes of an image, and of a beat of ``image``; ``beat`` divides ``image_bytes``.
    room
        Replies that can wait.
    debug
        Take TRACE as well.

    Members
    -------
    i : In(stream of ARRIVED)
        Requests, without CRC.
    image : Out(stream of data and last)
        To the accelerator.
    tags : Out(stream of 32)
        The tag of each image that the accelerator will answer, before that image's last beats.
    replies : Out(stream of REPLY)
        What finds no room is dropped, so that requests never wait for answers to bad ones.
    overrun : In(1)
        Bytes were lost before ``i`` for want of room: the next damaged packet is reported so.
    fault, done : Out(1)
        For one cycle: a packet was refused; a packet was accepted.
    unloaded : In(1)
        There are no weights: every INFER is refused.
    trace : Out(stream of TRACE_REQUEST)
        With ``debug``.  The next request is read when this one is taken.
    """

    def __init__(self, image_bytes: int, beat: int, room: int, *, debug: bool = False):
        self.image_bytes, self.beat, self.beats, self.debug = image_bytes, beat, image_bytes // beat, debug
        self.room = room
        super().__init__(({"trace": Out(stream_of(TRACE_REQUEST))} if debug else {}) | {
            "i": In(stream_of(ARRIVED)),
            "image": Out(stream_of(data.StructLayout({"data": 8 * beat, "last": 1}))),
            "tags": Out(stream_of(32)), "replies": Out(stream_of(REPLY)),
            "overrun": In(1), "unloaded": In(1), "fault": Out(1), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFO(width=len(self.replies.p.as_value()), depth=self.room)
        m.d.comb += [self.replies.p.eq(queue.r_data), self.replies.valid.eq(queue.r_rdy),
                     queue.r_en.eq(self.replies.ready)]

        header, place = Signal(_HEADER_BITS), Signal(range(HEADER.size + 1))
        version, kind, tag = header[:8], header[8:16], header[16:]
        is_image = (version == VERSION) & (kind == Kind.INFER)
        empty, overlong, lost = Signal(init=1), Signal(), Signal()
        m.d.comb += self.tags.payload.eq(tag)

        # Bytes to beats, the newest byte highest; ``count`` beats are there, the last two of them held.
        partial, lane, count = Signal(8 * self.beat), Signal(range(self.beat + 1)), Signal(range(self.beats + 1))
        older, newer = Signal(8 * self.beat), Signal(8 * self.beat)
        fresh = Cat(partial[8:], self.i.p.byte)
        ends_beat = lane == self.beat - 1

        # The payload of a TRACE, and how many bytes it has.
        wanted = Trace.FORMAT.size
        argument, arguments = Signal(8 * wanted), Signal(range(wanted + 2))
        if self.debug:
            m.d.comb += [self.trace.p.tag.eq(tag), self.trace.p.wish.eq(argument)]
            with m.If(self.i.valid & self.i.ready):
                with m.If(self.i.p.end):
                    m.d.sync += arguments.eq(0)
                with m.Elif((place == HEADER.size) & (arguments <= wanted)):
                    m.d.sync += [argument.eq(Cat(argument[8:], self.i.p.byte)), arguments.eq(arguments + 1)]

        verdict = Signal(8)
        with m.If(self.i.p.damaged | (place != HEADER.size)):
            m.d.comb += verdict.eq(Mux(lost, Fault.OVERRUN, Fault.DAMAGED))
        with m.Elif(version != VERSION):
            m.d.comb += verdict.eq(Fault.VERSION)
        with m.Elif(kind == Kind.INFER):
            wrong = overlong | (count != self.beats)
            m.d.comb += verdict.eq(Mux(wrong, Fault.LENGTH, Mux(self.unloaded, Fault.WEIGHTS, 0)))
        with m.Elif(kind == Kind.IDENTIFY):
            m.d.comb += verdict.eq(Mux(empty, 0, Fault.LENGTH))
        if self.debug:
            with m.Elif(kind == Kind.TRACE):
                m.d.comb += verdict.eq(Mux(arguments == wanted, 0, Fault.LENGTH))
        with m.Else():
            m.d.comb += verdict.eq(Fault.KIND)

        with m.FSM(name="state"):
            with m.State("READ"), m.If(self.i.valid):
                with m.If(self.i.p.end):
                    m.d.comb += [self.i.ready.eq(1), self.fault.eq(verdict != 0), self.done.eq(verdict == 0),
                                 queue.w_data.eq(Cat(tag, verdict))]
                    m.d.sync += [place.eq(0), lane.eq(0), count.eq(0), empty.eq(1), overlong.eq(0)]
                    with m.If(place != HEADER.size):
                        # What was read of the header is no tag.
                        m.d.comb += queue.w_data[:32].eq(0)
                    with m.If(is_image & (verdict == 0)):
                        m.next = "TAG"
                    if self.debug:
                        with m.Elif((kind == Kind.TRACE) & (verdict == 0)):
                            m.next = "TRACE"
                    with m.Else():
                        m.d.comb += queue.w_en.eq(1)
                        with m.If(count > 2):
                            m.next = "ABANDON"
                    with m.If(self.fault & ((verdict == Fault.OVERRUN) | (verdict == Fault.DAMAGED))):
                        m.d.sync += lost.eq(0)
                with m.Elif(place != HEADER.size):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += [header.eq(Cat(header[8:], self.i.p.byte)), place.eq(place + 1)]
                with m.Elif(~is_image | (count == self.beats)):
                    m.d.comb += self.i.ready.eq(1)
                    m.d.sync += [empty.eq(0), overlong.eq(1)]
                with m.Else():
                    emit = ends_beat & (count >= 2)
                    m.d.comb += [self.image.valid.eq(emit), self.image.p.data.eq(older),
                                 self.i.ready.eq(self.image.ready | ~emit)]
                    with m.If(self.i.ready):
                        m.d.sync += [partial.eq(fresh), lane.eq(lane + 1), empty.eq(0)]
                        with m.If(ends_beat):
                            m.d.sync += [lane.eq(0), count.eq(count + 1), older.eq(newer), newer.eq(fresh)]
            with m.State("TAG"):
                m.d.comb += self.tags.valid.eq(1)
                with m.If(self.tags.ready):
                    m.next = "LAST" if self.beats == 1 else "LAST_BUT_ONE"
            with m.State("LAST_BUT_ONE"):
                m.d.comb += [self.image.valid.eq(1), self.image.p.data.eq(older)]
                with m.If(self.image.ready):
                    m.next = "LAST"
            with m.State("LAST"):
                m.d.comb += [self.image.valid.eq(1), self.image.p.data.eq(newer), self.image.p.last.eq(1)]
                with m.If(self.image.ready):
                    m.next = "READ"
            with m.State("ABANDON"):
                m.d.comb += [self.image.valid.eq(1), self.image.p.last.eq(1)]
                with m.If(self.image.ready):
                    m.next = "READ"
            if self.debug:
                with m.State("TRACE"):
                    m.d.comb += self.trace.valid.eq(1)
                    with m.If(self.trace.ready):
                        m.next = "READ"
        with m.If(self.overrun):
            m.d.sync += lost.eq(1)
        return m


class AnswerWriter(wiring.Component):
    """Writes answers: results as they come, each with its tag, and between them the identity and errors.

    Latency: one cycle, then a symbol a cycle.

    Parameters
    ----------
    identity
        What to say of oneself.
    debug
        Write TRACED as well.

    Members
    -------
    result : In(stream of data and last)
        From the accelerator.
    tags : In(stream of 32)
        A tag for each result, in order.
    replies : In(stream of REPLY)
    traced : In(stream of TRACED)
        With ``debug``: payload of an answer of that kind, and its tag.
    o : Out(stream of SYMBOL)
        Answers, without CRC.
    """

    def __init__(self, identity: Identity, *, debug: bool = False):
        self.identity, self.debug = identity, debug
        super().__init__(({"traced": In(stream_of(TRACED))} if debug else {}) | {
            "result": In(stream_of(data.StructLayout({"data": 8, "last": 1}))),
            "tags": In(stream_of(32)), "replies": In(stream_of(REPLY)),
            "o": Out(stream_of(SYMBOL)),
        })

    def elaborate(self, platform):
        m = Module()
        identity = Array(Const(byte, 8) for byte in self.identity.pack())
        tag, fault = Signal(32), Signal(8)
        place = Signal(range(max(HEADER.size, len(identity))))
        kind = Signal(8)
        m.d.comb += self.o.p.byte.eq(Mux(place == 0, VERSION, Mux(place == 1, kind, tag[:8])))
        with m.FSM(name="state"):
            with m.State("IDLE"):
                m.d.sync += place.eq(0)
                with m.If(self.tags.valid & self.result.valid):
                    m.d.comb += self.tags.ready.eq(1)
                    m.d.sync += [tag.eq(self.tags.payload), kind.eq(Kind.RESULT)]
                    m.next = "HEADER"
                with m.Elif(self.replies.valid):
                    m.d.comb += self.replies.ready.eq(1)
                    m.d.sync += [tag.eq(self.replies.p.tag), fault.eq(self.replies.p.fault),
                                 kind.eq(Mux(self.replies.p.fault == 0, Kind.IDENTITY, Kind.ERROR))]
                    m.next = "HEADER"
                if self.debug:
                    with m.Elif(self.traced.valid):
                        m.d.sync += [tag.eq(self.traced.p.tag), kind.eq(Kind.TRACED)]
                        m.next = "HEADER"
            with m.State("HEADER"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += place.eq(place + 1)
                    with m.If(place >= 2):
                        m.d.sync += tag.eq(tag[8:])
                    with m.If(place == HEADER.size - 1):
                        m.d.sync += place.eq(0)
                        m.next = "PAYLOAD"
            with m.State("PAYLOAD"):
                last = Signal()
                with m.Switch(kind):
                    with m.Case(Kind.RESULT):
                        m.d.comb += [self.o.valid.eq(self.result.valid), self.result.ready.eq(self.o.ready),
                                     self.o.p.byte.eq(self.result.p.data), last.eq(self.result.p.last)]
                    with m.Case(Kind.IDENTITY):
                        m.d.comb += [self.o.valid.eq(1), self.o.p.byte.eq(identity[place]),
                                     last.eq(place == len(identity) - 1)]
                    if self.debug:
                        with m.Case(Kind.TRACED):
                            m.d.comb += [self.o.valid.eq(self.traced.valid), self.traced.ready.eq(self.o.ready),
                                         self.o.p.byte.eq(self.traced.p.byte), last.eq(self.traced.p.last)]
                    with m.Default():
                        m.d.comb += [self.o.valid.eq(1), self.o.p.byte.eq(fault), last.eq(1)]
                with m.If(self.o.valid & self.o.ready):
                    m.d.sync += place.eq(place + 1)
                    with m.If(last):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [self.o.valid.eq(1), self.o.p.end.eq(1)]
                with m.If(self.o.ready):
                    m.next = "IDLE"
        return m


class LinkedAccelerator(wiring.Component):
    """An accelerator that speaks packets.

    Parameters
    ----------
    schedule
        The network on an engine.
    credit
        How many INFER the host may have under way; whoever makes the line knows how many bytes can wait in it.
    debug
        Build the debug tap in (:class:`~tepal.hdl.link.debug_tap.Tracer`).
    line
        Clock domain of the packets, and of all members but ``load_*``, ``run`` and ``s_axis_weights_*``: any that takes
        ten cycles to a byte on the line.  The accelerator is in ``sync``.

    Members
    -------
    i : In(stream of 8)
        From the line.  Waits while the accelerator does not take more of an image.
    o : Out(stream of 8)
        To the line.
    overrun : In(1)
        Bytes were lost before ``i``.
    busy : Out(1)
        A result is outstanding.
    fault : Out(1)
        The last request was refused.
    result : Out(16)
        Class of the last result.
    load_tdata, load_tvalid, load_tfirst, run
        With ``config.single_port`` alone: as of the :class:`~tepal.hdl.accelerator.Accelerator`.
    s_axis_weights_tdata, s_axis_weights_tvalid, s_axis_weights_tready
        With ``config.weight_words`` alone: as of the :class:`~tepal.hdl.accelerator.Accelerator`.
    unloaded : In(1)
        With either of them: the weights can't be loaded; images are refused.
    """

    ROOM = 4
    """Tags that can wait: as many as images can be in the accelerator, in the loader, in the engine and before the
    output, and a spare; and replies.  Without ``config.pipelined``, one of each: an image's last bytes then wait for
    the results of the one before."""

    def __init__(self, schedule: Schedule, credit: int, *, debug: bool = False, line: str = "sync"):
        self.schedule, self.debug, self.line = schedule, debug, line
        network = schedule.network
        self.identity = Identity(digest(network), network.input_shape, network.result_bytes, credit)
        self.outside = (LOAD if schedule.config.single_port else
                        WEIGHTS if schedule.config.weight_words is not None else {})
        super().__init__({
            "i": In(stream_of(8)), "o": Out(stream_of(8)), "overrun": In(1), "busy": Out(1), "fault": Out(1),
            "result": Out(16), **self.outside, **({"unloaded": In(1)} if self.outside else {}),
        })

    def elaborate(self, platform):
        m = Module()
        line = DomainRenamer(self.line)
        room = self.ROOM if self.schedule.config.pipelined else 1
        decoder, checker, appender, encoder = CobsDecoder(), CrcChecker(), CrcAppender(), CobsEncoder()
        reader = RequestReader(prod(self.identity.input_shape), self.schedule.config.input_bytes, room,
                               debug=self.debug)
        writer = AnswerWriter(self.identity, debug=self.debug)
        tags = fifo.SyncFIFO(width=32, depth=room)
        m.submodules.decoder, m.submodules.checker, m.submodules.reader = line(decoder), line(checker), line(reader)
        m.submodules.writer, m.submodules.appender, m.submodules.encoder = line(writer), line(appender), line(encoder)
        m.submodules.tags = line(tags)
        wiring.connect(m, wiring.flipped(self.i), decoder.i)
        wiring.connect(m, decoder.o, checker.i)
        wiring.connect(m, checker.o, reader.i)
        wiring.connect(m, reader.replies, writer.replies)
        wiring.connect(m, writer.o, appender.i)
        wiring.connect(m, appender.o, encoder.i)
        wiring.connect(m, encoder.o, wiring.flipped(self.o))
        m.d.comb += [
            reader.overrun.eq(self.overrun),
            tags.w_data.eq(reader.tags.payload), tags.w_en.eq(reader.tags.valid), reader.tags.ready.eq(tags.w_rdy),
            writer.tags.payload.eq(tags.r_data), writer.tags.valid.eq(tags.r_rdy), tags.r_en.eq(writer.tags.ready),
            self.busy.eq(tags.r_rdy),
        ]
        with m.If(reader.fault | reader.done):
            m.d[self.line] += self.fault.eq(reader.fault)
        # The class is what a result's trailer begins with.
        recent = Signal(8 * Trailer.BYTES)
        now = Cat(recent[8:], writer.result.p.data)
        with m.If(writer.result.valid & writer.result.ready):
            m.d[self.line] += recent.eq(now)
            with m.If(writer.result.p.last):
                m.d[self.line] += self.result.eq(now[:16])

        # The accelerator's clock is a faster one.  Both sides are reset together, so that nobody waits for an answer
        # that a reset cut off.
        m.submodules.accelerator = accelerator = Accelerator(self.schedule, debug=self.debug, closes=False)
        m.submodules.beats = beats = Crossing(self.line, "sync", reader.image.p.shape())
        m.submodules.results = results = Crossing("sync", self.line, writer.result.p.shape())
        wiring.connect(m, reader.image, beats.i)
        wiring.connect(m, results.o, writer.result)
        m.d.comb += [
            accelerator.s_axis_tdata.eq(beats.o.p.data), accelerator.s_axis_tlast.eq(beats.o.p.last),
            accelerator.s_axis_tvalid.eq(beats.o.valid), beats.o.ready.eq(accelerator.s_axis_tready),
            results.i.p.data.eq(accelerator.m_axis_tdata), results.i.p.last.eq(accelerator.m_axis_tlast),
            results.i.valid.eq(accelerator.m_axis_tvalid), accelerator.m_axis_tready.eq(results.i.ready),
        ]
        for name, member in self.outside.items():
            inner, outer = getattr(accelerator, name), getattr(self, name)
            m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)
        if self.outside:
            m.d.comb += reader.unloaded.eq(self.unloaded)
        if self.debug:
            m.submodules.tracer = tracer = Tracer(self.schedule.config)
            m.submodules.wishes = wishes = Crossing(self.line, "sync", TRACE_REQUEST)
            m.submodules.traced = traced = Crossing("sync", self.line, TRACED)
            wiring.connect(m, reader.trace, wishes.i)
            wiring.connect(m, wishes.o, tracer.i)
            wiring.connect(m, tracer.o, traced.i)
            wiring.connect(m, traced.o, writer.traced)
            working = Signal()
            m.submodules.working = FFSynchronizer(tags.r_rdy, working)
            m.d.comb += [tracer.written.eq(accelerator.written), tracer.idle.eq(~working)]
        return m

# SPDX-License-Identifier: Apache-2.0
"""An accelerator whose weights lie in a memory behind an AXI4 port, or in an SDRAM."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.axi_reader import AxiReader, axi_ports
from tepal.hdl.memories.image_check import WeightError
from tepal.hdl.memories.sdram import SdramController, SdramPins
from tepal.hdl.memories.sdram_pads import READ_DELAY
from tepal.hdl.memories.sdram_timing import SdramTiming
from tepal.hdl.memories.sdram_weights import source_of
from tepal.hdl.memories.weight_image import WeightImage, weight_image
from tepal.hdl.plan.schedule import Schedule
from tepal.hdl.plan.weight_stream import weight_stream
from tepal.quant import digest

from .accelerator import WEIGHTS, Accelerator
from .units.instance_name import InstanceName

__all__ = ["SdramAccelerator", "StreamedAccelerator", "image_of", "top_of"]


def image_of(schedule: Schedule) -> WeightImage:
    """What the external memory of an engine with ``config.weight_words`` must hold."""
    stream = weight_stream(schedule)
    return weight_image(digest(schedule.network), stream.prologue, stream.frame)


def top_of(schedule: Schedule) -> wiring.Component:
    """The whole core: an accelerator, and a reader of weights beside it where they come from outside."""
    return Accelerator(schedule) if schedule.loads is None else StreamedAccelerator(schedule)


class StreamedAccelerator(wiring.Component):
    """An :class:`~tepal.hdl.accelerator.Accelerator` with ``config.weight_words``, and the reader of its weights.

    Members
    -------
    s_axis_*, m_axis_*, frame_error
        The accelerator's.
    m_axi_*
        AXI4 master that only reads (:class:`~tepal.hdl.memories.axi_reader.AxiReader`).
    weights_base : In(32)
        Address of the image :func:`image_of`, a multiple of 128.
    weights_start : In(1)
        The image is in the memory.  Frames wait until it has been read and found right.
    weights_error : Out(:class:`~tepal.hdl.memories.image_check.WeightError`)
        What is wrong with it, until a reset: no frame is answered then.
    """

    READER = InstanceName("weight_reader", "reader of weights", "weight reader")

    def __init__(self, schedule: Schedule):
        self.accelerator, self.reader = Accelerator(schedule), AxiReader(image_of(schedule))
        axi, core = axi_ports(AxiReader.ADDRESS_BITS), _ports(self.accelerator)
        super().__init__({**core, **axi, "weights_base": In(AxiReader.ADDRESS_BITS), "weights_start": In(1),
                          "weights_error": Out(WeightError)})
        self._same = {self.accelerator: core, self.reader: axi}

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator, m.submodules[self.READER()] = core, reader = self.accelerator, self.reader
        for part, members in self._same.items():
            _hand_on(m, part, self, members)
        m.d.comb += [
            core.s_axis_weights_tdata.eq(reader.data), core.s_axis_weights_tvalid.eq(reader.valid),
            reader.ready.eq(core.s_axis_weights_tready), reader.base.eq(self.weights_base),
            reader.start.eq(self.weights_start), self.weights_error.eq(reader.error),
        ]
        return m


class SdramAccelerator(wiring.Component):
    """An :class:`~tepal.hdl.accelerator.Accelerator` with ``config.weight_words``, and an SDRAM's controller, for a
    simulation of a frame: the image :func:`image_of` lies at the beginning of the SDRAM already.

    Members
    -------
    s_axis_*, m_axis_*, frame_error
        The accelerator's.
    pins : Out(:class:`~tepal.hdl.memories.sdram.SdramPins`)
        The SDRAM is behind registers, such as :class:`~tepal.hdl.memories.sdram_pads.SdramPads`.
    """

    def __init__(self, schedule: Schedule, timing: SdramTiming):
        self.accelerator, self.controller = Accelerator(schedule), SdramController(timing, READ_DELAY)
        self.source = source_of(timing, image_of(schedule))
        super().__init__({**_ports(self.accelerator), "pins": Out(SdramPins(timing))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.accelerator, m.submodules.sdram, m.submodules.source = core, controller, source = (
            self.accelerator, self.controller, self.source)
        _hand_on(m, core, self, _ports(core))
        wiring.connect(m, source.access, controller.access)
        wiring.connect(m, controller.read, source.read)
        wiring.connect(m, controller.pins, wiring.flipped(self.pins))
        m.d.comb += [
            core.s_axis_weights_tdata.eq(source.stream.payload), core.s_axis_weights_tvalid.eq(source.stream.valid),
            source.stream.ready.eq(core.s_axis_weights_tready)]
        return m


def _ports(accelerator: Accelerator) -> dict:
    """Its members but for those that its weights come in at."""
    return {name: member for name, member in accelerator.signature.members.items() if name not in WEIGHTS}


def _hand_on(m: Module, part: wiring.Component, whole: wiring.Component, members: dict) -> None:
    """The ``members`` of ``part`` are those of ``whole``."""
    for name, member in members.items():
        inner, outer = getattr(part, name), getattr(whole, name)
        m.d.comb += outer.eq(inner) if member.flow is Out else inner.eq(outer)

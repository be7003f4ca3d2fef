# SPDX-License-Identifier: Apache-2.0
"""The accelerator as a LiteX module: a stream of image beats in, a stream of results out.

``description`` is the path of the ``.json`` file that ``tepal generate`` wrote, with all else beside it.  Cores of
several networks can be in one system: what belongs to each begins with its own name.
"""

import json
from pathlib import Path

from litex.gen import LiteXModule
from litex.soc.interconnect import axi, stream
from litex.soc.interconnect.csr import CSRField, CSRStatus, CSRStorage
from migen import Cat, ClockSignal, If, Instance, ResetSignal, Signal


class Tepal(LiteXModule):
    """The core alone.

    ``sink`` takes image beats (``data`` as wide as the core was made), ``source`` gives a byte a beat: all results,
    then the class in two bytes, low byte first, the image's number and a status, which is marked ``last``. A ``last``
    at the sink that comes before the image is complete abandons the image, and one that comes too late is told in the
    status; from either on ``frame_error`` is 1. Images are int8 in the network's own scale; ``description`` tells it,
    what the status says, and all else that the file holds.

    A core whose weights come from outside (``tepal generate --weight-words``) reads them through ``axi``, from
    ``weights_base`` on, when ``weights_start`` is 1; if they are not its own, ``weights_error`` says so and there is no
    answer. Of cores with their weights inside these four are None."""

    def __init__(self, platform, description):
        generated = Path(description).parent
        self.description = json.loads(Path(description).read_text())
        ports = self.description["ports"]
        self.sink = stream.Endpoint([("data", ports["s_axis"]["tdata_width"])])
        self.source = stream.Endpoint([("data", ports["m_axis"]["tdata_width"])])
        self.frame_error = Signal()
        outside = {}
        self.axi = self.weights_base = self.weights_start = self.weights_error = None
        if "m_axi" in ports:
            port = ports["m_axi"]
            self.axi = axi.AXIInterface(data_width=port["data_width"], address_width=port["address_width"], id_width=1)
            self.weights_base, self.weights_start = Signal(ports["weights_base"]["width"]), Signal()
            self.weights_error = Signal(ports["weights_error"]["width"])
            address, data = self.axi.ar, self.axi.r
            outside = {
                "o_m_axi_araddr": address.addr, "o_m_axi_arlen": address.len, "o_m_axi_arsize": address.size,
                "o_m_axi_arburst": address.burst, "o_m_axi_arvalid": address.valid, "i_m_axi_arready": address.ready,
                "i_m_axi_rdata": data.data, "i_m_axi_rresp": data.resp, "i_m_axi_rlast": data.last,
                "i_m_axi_rvalid": data.valid, "o_m_axi_rready": data.ready, "i_weights_base": self.weights_base,
                "i_weights_start": self.weights_start, "o_weights_error": self.weights_error,
            }
        self.specials += Instance(
            self.description["top"],
            i_clk=ClockSignal("sys"), i_rst=ResetSignal("sys"),
            i_s_axis_tdata=self.sink.data, i_s_axis_tvalid=self.sink.valid, o_s_axis_tready=self.sink.ready,
            i_s_axis_tlast=self.sink.last,
            o_m_axis_tdata=self.source.data, o_m_axis_tvalid=self.source.valid, i_m_axis_tready=self.source.ready,
            o_m_axis_tlast=self.source.last, o_frame_error=self.frame_error, **outside)
        platform.add_source(str(generated / f"{self.description['top']}.v"))
        # $readmemh looks for these where synthesis runs.
        for rom in self.description["roms"]:
            platform.add_source(str(generated / rom), copy=True)


class TepalPeripheral(LiteXModule):
    """The core behind registers, for a processor or a bridge that writes images beat by beat.

    ``pixels`` takes the next beat; what is written while ``ready`` in ``status`` is 0 is lost. ``answers`` counts the
    images that have been classified, and ``answer`` holds the class of the latest. Two beats that are written while
    ``last`` is 1 make the next one an image's first, whatever was left unfinished before. For more speed connect a DMA
    to the streams of :class:`Tepal`.

    Weights from outside begin at ``weights_base`` of the memory behind ``core.axi``. A 1 in ``weights_start`` says that
    they are there, and must stay; ``weights_error`` is as the description tells."""

    def __init__(self, platform, description):
        self.core = core = Tepal(platform, description)
        self.pixels = CSRStorage(len(core.sink.data), description="Next beat of the image, its first byte lowest.")
        self.last = CSRStorage(1, description="``tlast`` of the beats that are written.")
        self.status = CSRStatus(fields=[
            CSRField("ready", size=1, description="``pixels`` may be written."),
            CSRField("frame_error", size=1, description="Since reset an image was abandoned or too long.")])
        self.answers = CSRStatus(32, description="Images that have been classified.")
        self.answer = CSRStatus(16, description="Class of the latest image.")

        if core.axi is not None:
            self.weights_base = CSRStorage(len(core.weights_base), description="Address of the weights.")
            self.weights_start = CSRStorage(1, description="The weights are in the memory.")
            self.weights_error = CSRStatus(len(core.weights_error), description="What is wrong with the weights.")
            self.comb += [core.weights_base.eq(self.weights_base.storage),
                          core.weights_start.eq(self.weights_start.storage),
                          self.weights_error.status.eq(core.weights_error)]
        self.fifo = fifo = stream.SyncFIFO(core.sink.description, 4)
        self.comb += [fifo.sink.data.eq(self.pixels.storage), fifo.sink.valid.eq(self.pixels.re),
                      fifo.sink.last.eq(self.last.storage), self.status.fields.frame_error.eq(core.frame_error),
                      self.status.fields.ready.eq(fifo.sink.ready),
                      fifo.source.connect(core.sink), core.source.ready.eq(1)]
        # Class, low byte first, and number; the status is last. Its bit 7 says that a reset cut the answer off.
        previous = Signal(24)
        self.sync += If(core.source.valid,
                        previous.eq(Cat(previous[8:], core.source.data)),
                        If(core.source.last & ~core.source.data[7],
                           self.answer.status.eq(previous[:16]),
                           self.answers.status.eq(self.answers.status + 1)))

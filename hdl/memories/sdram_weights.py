# SPDX-License-Identifier: Apache-2.0
"""Weights out of an SDRAM that loses them with its power: brought there from a flash memory, checked, and streamed."""

from amaranth import *
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import stream_of

from .flash import FlashLoader
from .sdram import SdramController, SdramPins
from .sdram_loader import SdramLoader, require_weights
from .sdram_source import SdramSource
from .sdram_timing import SdramTiming
from .weight_image import BEAT_BYTES, BLOCK, WeightImage

__all__ = ["SdramWeights", "source_of"]


def source_of(timing: SdramTiming, image: WeightImage) -> SdramSource:
    """The stream of an image that lies at the beginning of a memory."""
    prologue, frame = BLOCK // BEAT_BYTES, image.first_frame_beat
    return SdramSource(timing, range(prologue, prologue + image.prologue_beats),
                       range(frame, frame + image.frame_beats))


class SdramWeights(wiring.Component):
    """Brings an image of weights from a flash memory to the beginning of an SDRAM, and streams it from there.

    When the SDRAM is initialised the flash memory is read, at a quarter of the clock's rate.  The image is right if its
    CRC is, on its way and again when all of it is read back: so it is noticed if there is none, if it is another
    network's or another engine's, damaged, or if the SDRAM does not hold it.

    Parameters
    ----------
    timing
        The SDRAM's.
    image
        What the flash memory should hold.
    offset
        Where, in bytes, up to 2 ** 24.
    read_delay
        Of the :class:`~tepal.hdl.memories.sdram.SdramController`.
    test
        Write and read the whole SDRAM first (:class:`~tepal.hdl.memories.sdram_loader.SdramLoader`).

    Members
    -------
    flash_cs, flash_clk, flash_copi : Out(1), flash_cipo : In(1)
        The flash memory's pins (:class:`~tepal.hdl.memories.flash.FlashLoader`).
    pins : Out(:class:`~tepal.hdl.memories.sdram.SdramPins`)
    stream : Out(stream of 64)
        The prologue's beats once, then the frame's without an end; none before ``run``.
    run : Out(1)
        The weights are in the SDRAM, and right.
    failed : Out(1)
        They are not, and will not be; or the SDRAM has not stood its test.

    Raises
    ------
    ConfigError
        The SDRAM has no room for the image, or its times do not fit the controller.
    """

    def __init__(self, timing: SdramTiming, image: WeightImage, offset: int, read_delay: int = 0, *,
                 test: bool = False):
        require_weights(timing, image.data)
        self.test = test
        self.flash = FlashLoader(image.data, offset, header=0)
        self.controller = SdramController(timing, read_delay)
        self.loader, self.source = SdramLoader(timing, image.data), source_of(timing, image)
        super().__init__({
            "flash_cs": Out(1), "flash_clk": Out(1), "flash_copi": Out(1), "flash_cipo": In(1),
            "pins": Out(SdramPins(timing)), "stream": Out(stream_of(64)), "run": Out(1), "failed": Out(1)})

    @staticmethod
    def cycles(timing: SdramTiming, image: WeightImage) -> int:
        """From reset to ``run``, at the first attempt and without a test, but for some hundreds."""
        return timing.pause + 2 * FlashLoader.cycles(image.data) + len(image.data)

    def elaborate(self, platform):
        m = Module()
        flash, controller, loader, source = self.flash, self.controller, self.loader, self.source
        # A flash memory is asked for at most 50 MHz by this command, and what it answers has a long way to go: a period
        # of its clock is four cycles.
        steps, sound, unsound = Signal(), Signal(), Signal()
        m.d.comb += [sound.eq(loader.tested & ~loader.test_failed if self.test else 1),
                     unsound.eq(loader.tested & loader.test_failed if self.test else 0),
                     loader.test.eq(~loader.tested if self.test else 0)]
        m.d.sync += steps.eq(controller.ready & sound & ~steps)
        m.submodules.flash = EnableInserter(steps)(flash)
        m.submodules.sdram, m.submodules.loader, m.submodules.source = controller, loader, source
        for name in "access", "write":
            wiring.connect(m, getattr(loader, name), getattr(controller, name))
        wiring.connect(m, controller.read, loader.read)
        wiring.connect(m, source.access, loader.user_access)
        wiring.connect(m, loader.user_read, source.read)
        # The memory's pins lie at the edge of the part, far from the engine: words stop on the way.
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=64, depth=4)
        wiring.connect(m, controller.pins, wiring.flipped(self.pins))
        m.d.comb += [
            *(getattr(self, f"flash_{name}").eq(getattr(flash, name)) for name in ("cs", "clk", "copi")),
            flash.cipo.eq(self.flash_cipo),
            loader.load_tdata.eq(flash.load_tdata), loader.load_tfirst.eq(flash.load_tfirst),
            loader.load_tvalid.eq(flash.load_tvalid & steps), loader.loaded.eq(flash.run),
            words.w_data.eq(source.stream.payload), words.w_en.eq(source.stream.valid),
            source.stream.ready.eq(words.w_rdy), self.stream.payload.eq(words.r_data),
            self.stream.valid.eq(words.r_rdy), words.r_en.eq(self.stream.ready),
            self.run.eq(loader.run), self.failed.eq(flash.failed | loader.failed | unsound),
        ]
        return m

# SPDX-License-Identifier: Apache-2.0
"""A board's design from pin to pin: the host's bytes in, its answers out, and Verilog of the whole."""

import re
import subprocess
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.sim import Simulator
from flash import FlashModel
from networks import fast, pointwise
from sdram import SMALL
from tepal.boards.flow import yosys
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.top import MOST, Top, credit
from tepal.hdl import EngineConfig, Schedule, export_component
from tepal.hdl.answer import pack_answer
from tepal.hdl.link.protocol import Fault, Identity, Kind, Packet, Splitter
from tepal.hdl.link.uart import LINE_BITS, bit_time
from tepal.hdl.memories.flash import FlashLoader
from tepal.hdl.plan.flash_image import flash_image
from tepal.hdl.streamed import image_of
from tepal.quant import digest
from tepal.sim import CycleModel, golden
from tepal.sim.sdram_model import RULES, SdramModel
from tepal.sim.simulators import verilator_folder

SEED = 3
BIT = 4
ENGINE = EngineConfig(2, 2, 2, (1, 1))


def talk(top, line: bytes, enough, flash: FlashModel | None = None,
         ) -> tuple[list[Packet], list[tuple[int, ...]]]:
    """Send ``line`` without a pause, until ``enough`` holds of the packets that came: these, and the lights after
    each.  With a ``flash`` memory, once the design is done with it."""
    levels = [level for byte in line for level in [0, *((byte >> i) & 1 for i in range(8)), 1] for _ in range(BIT)]
    splitter, packets, lights = Splitter(10000), [], []

    async def load(ctx):
        assert flash
        while True:
            ctx.set(top.flash_cipo, flash.step(ctx.get(top.flash_cs), ctx.get(top.flash_clk), ctx.get(top.flash_copi)))
            await ctx.tick()

    async def send(ctx):
        while flash and not (ctx.get(top.ready) or ctx.get(top.error)):
            await ctx.tick()
        for level in levels:
            ctx.set(top.rx, level)
            await ctx.tick()

    async def receive(ctx):
        bits, wait = [], 0
        while flash and not (ctx.get(top.ready) or ctx.get(top.error)):
            await ctx.tick()
        for _ in range(len(levels) + 20000):
            _, _, tx = await ctx.tick().sample(top.tx)
            wait -= bool(bits)
            if not bits and not tx:
                bits, wait = [0], BIT + BIT // 2
            elif bits and not wait:
                bits.append(tx)
                wait = BIT
            if len(bits) == LINE_BITS:
                assert bits[-1]
                for encoded in splitter.feed(bytes([sum(bit << place for place, bit in enumerate(bits[1:-1]))])):
                    packets.append(Packet.decode(encoded))
                    lights.append((ctx.get(top.ready), ctx.get(top.error), ctx.get(top.result)))
                bits = []
            if enough(packets):
                return
        pytest.fail(f"only {packets} came")

    async def obey(ctx):
        while True:
            _, _, broken = await ctx.tick().sample(top.broken)
            assert not broken

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(receive)
    if flash:
        simulator.add_testbench(load, background=True)
    if hasattr(top, "broken"):
        simulator.add_testbench(obey, background=True)
    simulator.run()
    return packets, lights


def test_pin_to_pin():
    """Identity, a refused request, and images one close behind the other, as many as the credit allows."""
    network = pointwise((3, 4, 2), 5)
    top = Top(Schedule(network, ENGINE), Fraction(BIT), 64)
    images = np.random.default_rng(SEED).integers(-128, 128, (3, *network.input_shape), np.int8)
    logits = golden.run(network, images)
    assert top.credit <= len(images)
    requests = [Packet(Kind.IDENTIFY, 7), Packet(0x55, 8),
                *(Packet(Kind.INFER, 100 + tag, image.tobytes()) for tag, image in enumerate(images[:top.credit]))]
    line = b"".join(packet.encode() for packet in requests)
    packets, lights = talk(top, line, lambda packets: len(packets) == len(requests))
    identity = Identity(digest(network), network.input_shape, network.result_bytes, top.credit)
    assert packets == [
        Packet(Kind.IDENTITY, 7, identity.pack()), Packet(Kind.ERROR, 8, bytes([Fault.KIND])),
        *(Packet(Kind.RESULT, 100 + tag, pack_answer(row, tag)) for tag, row in enumerate(logits[:top.credit]))]
    assert lights[-1] == (1, 0, int(logits[top.credit - 1].argmax()) & 15)


@pytest.mark.parametrize("good", fast([True, False], 1))
def test_weights_from_flash(good):
    """They are there before the first image; or every image is refused, and the light says so from the beginning."""
    network = pointwise((3, 4, 2), 5)
    schedule = Schedule(network, replace(ENGINE, single_port=True, pipelined=False, requantiser_cycles=3))
    top = Top(schedule, Fraction(BIT), 64, offset=0x20000)
    stored = flash_image(schedule) if good else flash_image(schedule)[:-1]
    image = np.random.default_rng(SEED).integers(-128, 128, (1, *network.input_shape), np.int8)
    logits = golden.run(network, image)[0]
    requests = [Packet(Kind.IDENTIFY, 7), Packet(Kind.INFER, 8, image.tobytes())]
    packets, lights = talk(top, b"".join(packet.encode() for packet in requests), lambda packets: len(packets) == 2,
                           FlashModel({0x20000: stored}))
    assert packets[0].payload == Identity(digest(network), network.input_shape, network.result_bytes, top.credit).pack()
    label = int(logits.argmax())
    if good:
        assert packets[1] == Packet(Kind.RESULT, 8, pack_answer(logits, 0))
        assert lights == [(1, 0, 0), (1, 0, label & 15)]
    else:
        assert packets[1] == Packet(Kind.ERROR, 8, bytes([Fault.WEIGHTS]))
        assert lights == [(0, 1, 0), (0, 1, 0)]


class _WithSdram(wiring.Component):
    """A design and the memory at its pins, behind registers as the pads have them.  ``low`` is a pin and its bit that
    never get to be high there."""

    def __init__(self, top: Top, low: tuple[str, int] = ("", 0)):
        assert top.sdram
        self.top, self.low, self.model = top, low, SdramModel(top.sdram)
        super().__init__({name: member for name, member in top.signature.members.items() if name != "sdram_pins"}
                         | {"broken": Out(len(RULES))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.top, m.submodules.model = self.top, self.model
        for name in self.signature.members:
            if name != "broken":
                inner, outer = getattr(self.top, name), getattr(self, name)
                m.d.comb += outer.eq(inner) if self.signature.members[name].flow is Out else inner.eq(outer)
        m.d.comb += self.broken.eq(self.model.broken)
        for name in self.model.pins.signature.members:
            ends = getattr(self.top.sdram_pins, name), getattr(self.model.pins, name)
            source, sink = ends[::-1] if name == "dq_i" else ends
            m.d.sync += sink.eq(source & ~(1 << self.low[1]) if name == self.low[0] else source)
        return m


STREAMED = Schedule(pointwise((3, 4, 2), 5), replace(ENGINE, weight_words=12))
BEYOND = "a", 6
"""A broken pin that only the upper half of the memory's rows needs; the image lies in the lower one."""


@pytest.mark.parametrize(("spoilt", "low", "test"), fast([
    (None, ("", 0), False), (40, ("", 0), False), (None, ("", 0), True), (None, ("dq_o", 3), False),
    (-1, ("", 0), False), (None, BEYOND, False), (None, BEYOND, True)], 2))
def test_weights_from_sdram(spoilt, low, test, monkeypatch):
    """The image goes from the flash memory into the SDRAM, and every frame has its weights from there; or, where a byte
    of it is another or the SDRAM does not hold it, every image is refused, and the light says so from the beginning.
    So it is where the SDRAM is tested first, though it would hold the image."""
    monkeypatch.setattr(FlashLoader, "REST", 64)
    monkeypatch.setattr(FlashLoader, "ATTEMPTS", 2)
    network, image = STREAMED.network, image_of(STREAMED).data
    timing = replace(SMALL, rows=128, columns=8) if low == BEYOND else replace(SMALL, rows=16)
    top = Top(STREAMED, Fraction(BIT), 64, offset=0x20000, sdram=timing, test_memory=test)
    board, stored = _WithSdram(top, low), bytearray(image)
    if spoilt is not None:
        stored[spoilt] ^= 0x10
    images = np.random.default_rng(SEED).integers(-128, 128, (top.credit, *network.input_shape), np.int8)
    logits = golden.run(network, images)
    requests = [Packet(Kind.INFER, tag, each.tobytes()) for tag, each in enumerate(images)]
    packets, lights = talk(board, b"".join(packet.encode() for packet in requests),
                           lambda packets: len(packets) == len(requests),
                           FlashModel({0x20000: bytes(stored)}, wake_steps=50))
    good = spoilt is None and (not low[0] or (low == BEYOND and not test))
    assert packets == [Packet(Kind.RESULT, tag, pack_answer(row, tag)) if good else
                       Packet(Kind.ERROR, tag, bytes([Fault.WEIGHTS])) for tag, row in enumerate(logits)]
    assert {each[:2] for each in lights} == {(1, 0) if good else (0, 1)}


def test_overrun_is_told():
    """More than the credit into a buffer too small: what is lost is reported, and nothing else is answered wrongly."""
    network = pointwise((2, 2, 2), 12)
    top = Top(Schedule(network, ENGINE), Fraction(BIT), 4)
    assert top.credit == 1
    images = np.random.default_rng(SEED).integers(-128, 128, (12, *network.input_shape), np.int8)
    logits = golden.run(network, images)
    line = b"".join(Packet(Kind.INFER, tag, image.tobytes()).encode() for tag, image in enumerate(images))
    packets, _ = talk(top, line, lambda packets: packets and packets[-1].kind == Kind.ERROR)
    assert packets[-1].payload == bytes([Fault.OVERRUN])
    for packet in packets:
        if packet.kind == Kind.RESULT:
            assert packet.payload[:network.result_bytes] == logits[packet.tag].tobytes()


def test_credit():
    """Many where the line is the limit; else as many as the buffer holds."""
    slow_line = Schedule(pointwise((8, 8, 4), 5), ENGINE)
    assert credit(slow_line, 1000, 2048) == MOST
    assert credit(slow_line, 1, 2048) == min(MOST, 1 + 2048 // Packet.line_bytes(256))
    assert credit(slow_line, 1, 100) == 1
    more_out_than_in = Schedule(pointwise((8, 8, 1), 40), ENGINE)
    assert credit(more_out_than_in, 1000, 128) == 1 + 128 // Packet.line_bytes(64)
    assert CycleModel(slow_line).interval_cycles < 1000 * LINE_BITS


def test_verilog(tmp_path):
    """It goes the project's way to Verilog, and Verilator finds nothing to say of it."""
    top = Top(Schedule(pointwise((3, 4, 2), 5), ENGINE), bit_time(25_000_000, 3_000_000))
    export = export_component(top, yosys.to_verilog)
    write_files(export.files(), tmp_path)
    text = re.search(r"^module tepal\(.*?^endmodule", export.verilog, re.M | re.S)
    assert text
    ports = set(re.findall(r"^  (input|output) (?:wire |reg )?(?:\[(\d+):0\] )?(\w+);", text[0], re.M))
    assert ports == {("input", "", "clk"), ("input", "", "rst"), ("input", "", "rx"), ("output", "", "tx"),
                     ("output", "", "ready"), ("output", "", "busy"), ("output", "", "error"),
                     ("output", "3", "result")}
    done = subprocess.run([verilator_folder() / "verilator", "--quiet", "--lint-only", "-Wall", "tepal.vlt", "tepal.v",
                           "--top-module", "tepal"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

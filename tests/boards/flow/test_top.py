# SPDX-License-Identifier: Apache-2.0
"""A board's design from pin to pin: the host's bytes in, its answers out, and Verilog of the whole."""

import re
import subprocess
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from amaranth.sim import Simulator
from flash import FlashModel
from networks import fast, pointwise
from tepal.boards.flow import yosys
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.top import MOST, Top, credit
from tepal.hdl import EngineConfig, Schedule, export_component
from tepal.hdl.answer import pack_answer
from tepal.hdl.link.protocol import Fault, Identity, Kind, Packet, Splitter
from tepal.hdl.link.uart import LINE_BITS, bit_time
from tepal.hdl.plan.flash_image import flash_image
from tepal.quant import digest
from tepal.sim import CycleModel, golden
from tepal.sim.simulators import verilator_folder

SEED = 3
BIT = 4
ENGINE = EngineConfig(2, 2, 2, (1, 1))


def talk(top: Top, line: bytes, enough, flash: FlashModel | None = None,
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

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(send)
    simulator.add_testbench(receive)
    if flash:
        simulator.add_testbench(load, background=True)
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

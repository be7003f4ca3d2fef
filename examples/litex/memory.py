# SPDX-License-Identifier: Apache-2.0
"""A LiteX system whose accelerators read their weights from the board's memory, through LiteDRAM.

    python memory.py DESCRIPTION... --board ecpix5 -o build/memory            the system's Verilog, scripts and csr.csv
    python memory.py DESCRIPTION... --board ecpix5 -o build/memory --build    a bitstream as well

``DESCRIPTION`` is the ``.json`` file that ``tepal generate --weight-words N`` wrote; each one becomes a peripheral, and
a master of AXI4 at a port of LiteDRAM's. There is no processor: ``weights.py``, at the other end of the serial port,
initialises the memory, finds the delays of a DDR3's data, and writes the weights.

``--board simulation`` has LiteDRAM's model of a memory instead of one, and the bus instead of a serial port.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerator import TepalPeripheral
from litedram import modules
from litedram.frontend.axi import LiteDRAMAXI2Native
from litedram.init import get_sdram_phy_init_sequence
from litedram.phy import ECP5DDRPHY, GENSDRPHY
from litedram.phy.model import SDRAMPHYModel
from litex.build.generic_platform import Pins
from litex.build.io import CRG
from litex.build.sim import SimPlatform
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc_core import SoCMini
from litex.soc.interconnect import wishbone
from litex_boards.platforms import gsd_orangecrab, lambdaconcept_ecpix5, radiona_ulx3s
from litex_boards.targets.gsd_orangecrab import _CRGSDRAM as OrangeCrabClocks
from litex_boards.targets.lambdaconcept_ecpix5 import _CRG as Ecpix5Clocks
from litex_boards.targets.radiona_ulx3s import _CRG as Ulx3sClocks


@dataclass
class Memory:
    """What a board gives: its ``platform``, what makes its clocks, and its memory's PHY and geometry. ``training`` is
    the PHY if its delays must be found, else None."""

    platform: Any
    clocks: Any
    phy: Any
    module: Any
    training: Any = None


def ulx3s(clock: float) -> Memory:
    """SDR SDRAM of 16 bits."""
    platform = radiona_ulx3s.Platform(device="LFE5U-85F", toolchain="trellis")
    return Memory(platform, Ulx3sClocks(platform, clock), GENSDRPHY(platform.request("sdram"), clock),
                  modules.MT48LC16M16(clock, "1:1"))


def ecpix5(clock: float) -> Memory:
    """DDR3 SDRAM of 16 bits."""
    platform = lambdaconcept_ecpix5.Platform(device="85F", toolchain="trellis")
    clocks = Ecpix5Clocks(platform, clock)
    phy = ECP5DDRPHY(platform.request("ddram"), sys_clk_freq=clock)
    return Memory(platform, clocks, phy, modules.MT41K256M16(clock, "1:2"), phy)


def orangecrab(clock: float) -> Memory:
    """DDR3 SDRAM of 16 bits, whose two bytes are masked by each other's pins; a serial port at GPIO 0 and 1."""
    platform = gsd_orangecrab.Platform(revision="0.2", device="85F", toolchain="trellis")
    platform.add_extension(gsd_orangecrab.feather_serial)
    clocks, pads = OrangeCrabClocks(platform, clock), platform.request("ddram")
    # Below 64 MHz the commands need more delay than the clock's, as LiteX's own system for this board has it.
    phy = ECP5DDRPHY(pads, sys_clk_freq=clock, dm_remapping={0: 1, 1: 0}, cmd_delay=0 if clock > 64e6 else 100)
    phy.settings.rtt_nom = "disabled"
    # Pins beside the memory's that are held at its supply and at ground.
    clocks.comb += [pads.vccio.eq(0b111111), pads.gnd.eq(0)]
    return Memory(platform, clocks, phy, modules.MT41K64M16(clock, "1:2"), phy)


class Simulated(SimPlatform):
    """Verilog for any simulator; LiteX's own would have a main program as well, and what that is linked with."""

    def build(self, soc, build_dir, build_name, **_):
        made = self.get_verilog(soc, name=build_name)
        for name, text in {f"{build_name}.v": made.main_source, **made.data_files}.items():
            (Path(build_dir) / name).write_text(text)


def simulation(clock: float) -> Memory:
    """LiteDRAM's model of the ULX3S's memory; it has no pins."""
    platform = Simulated("SIM", [("sys_clk", 0, Pins(1)), ("sys_rst", 0, Pins(1))])
    module = modules.MT48LC16M16(clock, "1:1")
    return Memory(platform, CRG(platform.request("sys_clk"), platform.request("sys_rst")),
                  SDRAMPHYModel(module, data_width=16, clk_freq=clock), module)


BOARDS = {"ulx3s": (ulx3s, 50e6), "ecpix5": (ecpix5, 75e6), "orangecrab": (orangecrab, 48e6),
          "simulation": (simulation, 50e6)}
"""Of each board what it has, and the clock that LiteX's own system for it runs at, in Hz."""


class MemorySystem(SoCMini):
    """The board's memory at ``main_ram``, a bridge to the bus from the serial port, and a peripheral for each
    accelerator, called ``tepal_`` and the accelerator's name."""

    def __init__(self, board: str, descriptions, baudrate: int = 115_200):
        make, clock = BOARDS[board]
        self.memory = memory = make(clock)
        super().__init__(memory.platform, clock, ident="Tepal on LiteX", ident_version=False)
        self.crg, self.phy = memory.clocks, memory.phy
        if memory.training:
            # The PHY stops the clock that it is made of while it starts.
            self.comb += [self.crg.stop.eq(self.phy.init.stop), self.crg.reset.eq(self.phy.init.reset)]
        self.add_sdram("sdram", phy=self.phy, module=memory.module, l2_cache_size=0)
        if board == "simulation":
            bridge = wishbone.Interface(data_width=32, address_width=32, addressing="word")
            memory.platform.add_extension(bridge.get_ios("bridge"))
            self.comb += bridge.connect_to_pads(memory.platform.request("bridge"), mode="slave")
            self.bus.add_master("bridge", bridge)
        else:
            self.add_uartbone(baudrate=baudrate)
        for description in descriptions:
            peripheral = TepalPeripheral(memory.platform, description)
            name = peripheral.core.description["top"]
            if peripheral.core.axi is None:
                raise SystemExit(f"memory.py: {description}: this core has its weights inside: soc.py is for such")
            self.add_module(f"tepal_{name}", peripheral)
            # Addresses in this port begin with the memory, and not where the bus has it.
            port = self.sdram.crossbar.get_port(data_width=peripheral.core.axi.data_width)
            self.add_module(f"tepal_{name}_port", LiteDRAMAXI2Native(peripheral.core.axi, port))

    def settings(self) -> dict:
        """What ``weights.py`` must know: the commands that initialise the memory, as (address, bank, command, cycles
        to wait), and how many delays a PHY has whose delays must be found (``training``)."""
        phy = self.phy.settings
        commands, _ = get_sdram_phy_init_sequence(phy, self.memory.module.timing_settings)
        training = self.memory.training and {"bytes": phy.databits // 8, "delays": phy.delays, "bitslips": phy.bitslips}
        return {"commands": [list(command[1:]) for command in commands], "training": training}


def main():
    parser = argparse.ArgumentParser(description="A LiteX system whose Tepal accelerators have weights in LiteDRAM.")
    parser.add_argument("descriptions", nargs="+", metavar="DESCRIPTION",
                        help=".json file that 'tepal generate --weight-words N' wrote")
    parser.add_argument("--board", required=True, choices=BOARDS, help="whose memory it is")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--baudrate", type=int, default=115_200, help="of the serial port (default: %(default)s)")
    parser.add_argument("--build", action="store_true", help="run synthesis, place and route, and ecppack")
    arguments = parser.parse_args()
    if arguments.build and arguments.board == "simulation":
        parser.error("the board 'simulation' has no bitstream")
    system = MemorySystem(arguments.board, arguments.descriptions, arguments.baudrate)
    output = Path(arguments.output)
    Builder(system, output_dir=str(output), csr_csv=str(output / "csr.csv"), compile_software=False).build(
        run=arguments.build, build_name="memory")
    (output / "memory.json").write_text(json.dumps(system.settings(), indent=1) + "\n")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""A LiteX system with accelerators for the ULX3S: no processor, a bridge from the serial port to the bus.

    python soc.py DESCRIPTION... -o build/soc            the system's Verilog, scripts and csr.csv
    python soc.py DESCRIPTION... -o build/soc --build    a bitstream as well (yosys, nextpnr-ecp5 and ecppack)

``DESCRIPTION`` is the ``.json`` file that ``tepal generate`` wrote; each one becomes a peripheral.
"""

import argparse

from accelerator import TepalPeripheral
from litex.build.io import CRG
from litex.soc.integration.builder import Builder
from litex.soc.integration.soc_core import SoCMini
from litex_boards.platforms import radiona_ulx3s

CLOCK = 25_000_000


class TepalSoC(SoCMini):
    """The board's own clock, a bridge from its serial port (see ``litex_server --uart``), and a peripheral for each
    accelerator, called ``tepal_`` and the accelerator's name."""

    def __init__(self, descriptions, device: str = "LFE5U-85F", baudrate: int = 115_200):
        platform = radiona_ulx3s.Platform(device=device, toolchain="trellis")
        self.crg = CRG(platform.request("clk25"))
        super().__init__(platform, clk_freq=CLOCK, ident="Tepal on LiteX", ident_version=False)
        self.add_uartbone(baudrate=baudrate)
        for description in descriptions:
            peripheral = TepalPeripheral(platform, description)
            if peripheral.core.axi is not None:
                raise SystemExit(f"soc.py: {description}: this core has its weights outside: memory.py is for such")
            self.add_module(f"tepal_{peripheral.core.description['top']}", peripheral)


def main():
    parser = argparse.ArgumentParser(description="A LiteX system with Tepal accelerators for the ULX3S.")
    parser.add_argument("descriptions", nargs="+", metavar="DESCRIPTION", help=".json file that 'tepal generate' wrote")
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--device", default="LFE5U-85F", help="FPGA of the board (default: %(default)s)")
    parser.add_argument("--baudrate", type=int, default=115_200, help="of the serial port (default: %(default)s)")
    parser.add_argument("--build", action="store_true", help="run synthesis, place and route, and ecppack")
    arguments = parser.parse_args()
    soc = TepalSoC(arguments.descriptions, arguments.device, arguments.baudrate)
    builder = Builder(soc, output_dir=arguments.output, csr_csv=f"{arguments.output}/csr.csv",
                      compile_software=False, compile_gateware=True)
    builder.build(run=arguments.build, build_name="soc")


if __name__ == "__main__":
    main()

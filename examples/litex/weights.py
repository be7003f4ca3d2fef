# SPDX-License-Identifier: Apache-2.0
"""Brings weights into the memory of a board that runs memory.py's system, through ``litex_server``.

    litex_server --uart --uart-port=/dev/ttyUSB0 &
    python weights.py DESCRIPTION... --system build/memory
    python classify.py DESCRIPTION IMAGES.npy --csr build/memory/csr.csv

``DESCRIPTION`` is the ``.json`` file of one of the system's accelerators; the weights lie beside it.
"""

import argparse
import json
import time
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from litex import RemoteClient

CONTROL = {"SEL": 1, "CKE": 2, "ODT": 4, "RESET_N": 8}
COMMAND = {"CS": 1, "WE": 2, "CAS": 4, "RAS": 8}
"""Bits of LiteDRAM's registers ``dfii_control`` and ``dfii_pi0_command``."""

CHUNK = 64
"""Words of 32 bits that are written or read at once."""

ALIGNMENT = 128
"""What a core's ``weights_base`` is a multiple of, in bytes."""

RATE = 10e6
"""Bytes a second at which any of the boards' memories is read, and several times more."""

ERRORS = {1: "they are another network's", 2: "they are damaged", 3: "the memory answered with an error"}


def initialise(bus, commands) -> None:
    """Wake the memory and set its modes: while LiteDRAM's controller is off, commands are given through registers.

    A register is written in more cycles than most of the pauses that the commands need; the long ones, until the
    supply is stable, are far over before a program can speak to the board."""
    registers = bus.regs
    registers.sdram_dfii_control.write(CONTROL["CKE"] | CONTROL["ODT"] | CONTROL["RESET_N"])
    for address, bank, names, _ in commands:
        kinds, bits = zip(*(name.removeprefix("DFII_").split("_", 1) for name in names.split("|")), strict=True)
        if kinds[0] == "CONTROL":
            registers.sdram_dfii_control.write(sum(CONTROL[bit] for bit in bits))
        else:
            registers.sdram_dfii_pi0_address.write(address)
            registers.sdram_dfii_pi0_baddress.write(bank)
            registers.sdram_dfii_pi0_command.write(sum(COMMAND[bit] for bit in bits))
            registers.sdram_dfii_pi0_command_issue.write(1)
    registers.sdram_dfii_control.write(CONTROL["SEL"])


def train(bus, training) -> None:
    """Find, for each byte of a DDR3's data, when it is read: the middle of the longest row of delays at which what
    was written comes back, of all delays and all shifts by a bit (``bitslips``).

    Raises SystemExit if a byte never does."""
    registers, base = bus.regs, bus.mems.main_ram.base
    # Neighbouring words differ in half their bits, and each byte takes many values.
    pattern = [number * 0x9E3779B1 & 0xFFFFFFFF for number in range(1, CHUNK + 1)]
    bus.write(base, pattern)
    written = b"".join(word.to_bytes(4, "little") for word in pattern)
    for byte in range(training["bytes"]):
        registers.phy_dly_sel.write(1 << byte)
        rows = []
        for bitslip in range(training["bitslips"]):
            place(registers, bitslip, 0)
            works = []
            for _ in range(training["delays"]):
                got = b"".join(word.to_bytes(4, "little") for word in bus.read(base, length=CHUNK))
                works.append(got[byte::training["bytes"]] == written[byte::training["bytes"]])
                registers.phy_rdly_dq_inc.write(1)
            rows += [(length, bitslip, begin + length // 2) for begin, length in runs(works)]
        if not rows:
            raise SystemExit(f"weights.py: byte {byte} of the memory's data comes back wrong at every delay")
        place(registers, *max(rows)[1:])
    registers.phy_dly_sel.write(0)


def place(registers, bitslip: int, delay: int) -> None:
    """Set both for the byte that ``dly_sel`` names."""
    registers.phy_rdly_dq_bitslip_rst.write(1)
    for _ in range(bitslip):
        registers.phy_rdly_dq_bitslip.write(1)
    registers.phy_rdly_dq_rst.write(1)
    for _ in range(delay):
        registers.phy_rdly_dq_inc.write(1)


def runs(works: list[bool]) -> list[tuple[int, int]]:
    """(first, length) of each row of True that is as long as can be."""
    rows = [[number for number, _ in row] for good, row in groupby(enumerate(works), key=itemgetter(1)) if good]
    return [(row[0], len(row)) for row in rows]


def load(bus, address: int, image: bytes) -> None:
    """Write ``image`` behind the memory's begin, and read it back.

    Raises SystemExit where it differs."""
    words = [int.from_bytes(image[at:at + 4], "little") for at in range(0, len(image), 4)]
    chunks = [(bus.mems.main_ram.base + address + 4 * at, words[at:at + CHUNK]) for at in range(0, len(words), CHUNK)]
    for at, chunk in chunks:
        bus.write(at, chunk)
    for at, chunk in chunks:
        if bus.read(at, length=len(chunk)) != chunk:
            raise SystemExit(f"weights.py: the memory gives back something else at 0x{at:08x} than was written")


def start(bus, description: dict, address: int, pause=time.sleep) -> None:
    """Tell an accelerator where its weights are, and ``pause`` for the seconds in which it reads all of them.

    Raises SystemExit if they are not its own."""
    base, begin, error = (getattr(bus.regs, f"tepal_{description['top']}_weights_{name}")
                          for name in ("base", "start", "error"))
    base.write(address)
    begin.write(1)
    pause(description["ports"]["m_axi"]["bytes"] / RATE)
    if wrong := error.read():
        raise SystemExit(f"weights.py: {description['top']} refuses its weights: {ERRORS[wrong]}")


def bring(bus, system: Path, descriptions: list[Path], pause=time.sleep) -> None:
    """All of it, for the accelerators of ``descriptions``, whose weights come one behind the other."""
    settings = json.loads((system / "memory.json").read_text())
    initialise(bus, settings["commands"])
    if settings["training"]:
        train(bus, settings["training"])
    address = 0
    for path in descriptions:
        description = json.loads(path.read_text())
        image = (path.parent / description["ports"]["m_axi"]["file"]).read_bytes()
        load(bus, address, image)
        start(bus, description, address, pause)
        address += -(-len(image) // ALIGNMENT) * ALIGNMENT


def main():
    parser = argparse.ArgumentParser(description="Bring weights into the memory of a board with memory.py's system.")
    parser.add_argument("descriptions", nargs="+", type=Path, metavar="DESCRIPTION",
                        help=".json file that 'tepal generate --weight-words N' wrote")
    parser.add_argument("--system", required=True, type=Path, metavar="DIR", help="folder that memory.py wrote to")
    arguments = parser.parse_args()
    bus = RemoteClient(csr_csv=str(arguments.system / "csr.csv"))
    bus.open()
    bring(bus, arguments.system, arguments.descriptions)
    bus.close()


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""The SDRAM's pins on a ULX3S: every one has its register, and the controller's signals fit them."""

import re

from amaranth import Module
from amaranth.lib import wiring
from amaranth_boards.ulx3s import ULX3S_85F_Platform
from sdram import ulx3s
from tepal.hdl.memories.sdram import SdramController
from tepal.hdl.memories.sdram_pads import READ_DELAY, SdramPads


def test_cells():
    timing, platform, m = ulx3s(100_000_000), ULX3S_85F_Platform(), Module()
    m.submodules.controller = controller = SdramController(timing, READ_DELAY)
    m.submodules.pads = pads = SdramPads(timing, platform.request("sdram", dir="-"))
    wiring.connect(m, controller.pins, pads.pins)
    text = platform.prepare(m).files["top.il"]
    cells = re.findall(r"^  cell \\(\w+)", text.decode() if isinstance(text, bytes) else text, re.M)
    # Addresses, banks and masks, commands and clock enable, and data.
    pins = 13 + 2 + 2 + 5 + 16
    # Each has a register for its direction, if only a constant, and so has the clock.
    assert cells.count("OFS1P3DX") == 2 * pins + 1
    assert cells.count("IFS1P3DX") == 16
    assert cells.count("ODDRX1F") == 1

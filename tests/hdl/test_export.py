# SPDX-License-Identifier: Apache-2.0
"""Equal modules are written once."""

import re

import pytest
from amaranth.back import rtlil
from tepal.hdl import EngineConfig
from tepal.hdl.export import TOP, merge_equal_modules
from tepal.hdl.primitives import VerilogExport
from tepal.hdl.units.systolic import SystolicArray


def modules(rows, columns, packing):
    array = SystolicArray(EngineConfig(rows, columns, 1, spread=1, packing=packing), accumulator=20)
    text = merge_equal_modules(rtlil.convert(array, name=TOP, platform=VerilogExport(), emit_src=False))
    names = re.findall(r"^module (\S+)$", text, re.M)
    assert len(set(names)) == len(names)
    # Every module that is used is there, with the ports that it is used by.
    ports = {match[1]: set(re.findall(r"^  wire [^\n]*put \d+ .*?(\\\S+)$", match[2], re.M))
             for match in re.finditer(r"^module (\S+)\n(.*?)^end\n", text, re.M | re.S)}
    for cell in re.finditer(r"^  cell (\\\S+) \S+\n(.*?)^  end\n", text, re.M | re.S):
        assert set(re.findall(r"^    connect (\\\S+)", cell[2], re.M)) == ports[cell[1]]
    return names


@pytest.mark.parametrize("packing", [1, 2])
def test_merge_equal_modules(packing):
    """What differs is corners and borders, of which a larger array has no more."""
    small, large = modules(6, 3, packing), modules(12, 5, packing)
    assert len(small) == len(large) <= 15

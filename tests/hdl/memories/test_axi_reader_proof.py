# SPDX-License-Identifier: Apache-2.0
"""What a memory may rely on, and the reader itself, proved for whatever memory, engine and time."""

import pytest
from amaranth import Elaboratable, Module, Mux, Signal
from amaranth.hdl import Assert, Assume
from axi import image_of
from formal import proved
from tepal.hdl.memories.axi_reader import AxiReader
from tepal.hdl.memories.image_check import WeightError

IMAGE = image_of(5, 37)


class Promises(Elaboratable):
    """A reader with ``bursts``, and what it promises.  A ``forgetful`` memory gives beats that nobody asked for."""

    def __init__(self, *, forgetful: bool):
        self.reader, self.forgetful = AxiReader(IMAGE, bursts=2), forgetful

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = self.reader
        depth = reader.fifo.depth
        # Beats of bursts that the memory has accepted and not answered.
        owed = Signal(range(4 * depth))
        accepted = reader.m_axi_arvalid & reader.m_axi_arready
        m.d.sync += owed.eq(owed + Mux(accepted, reader.m_axi_arlen + 1, 0) - reader.m_axi_rvalid)
        if not self.forgetful:
            m.d.comb += Assume(~reader.m_axi_rvalid | (owed != 0))
        # An address stays until it is accepted.
        held, address, length = Signal(), Signal.like(reader.m_axi_araddr), Signal.like(reader.m_axi_arlen)
        m.d.sync += [held.eq(reader.m_axi_arvalid & ~reader.m_axi_arready), address.eq(reader.m_axi_araddr),
                     length.eq(reader.m_axi_arlen)]
        with m.If(held):
            m.d.comb += Assert(reader.m_axi_arvalid & (reader.m_axi_araddr == address)
                               & (reader.m_axi_arlen == length))
        # No burst is longer than 16 beats or begins elsewhere than at a multiple of 128 bytes.
        with m.If(reader.m_axi_arvalid):
            m.d.comb += Assert((reader.m_axi_arlen < 16) & (reader.m_axi_araddr[:7] == 0))
        # All that was asked for has room, so that no beat waits and none is lost.
        pending = Mux(reader.m_axi_arvalid, reader.m_axi_arlen + 1, 0)
        m.d.comb += [
            Assert(reader.m_axi_rready), Assert(~reader.fifo.w_en | reader.fifo.w_rdy), Assert(owed <= depth),
            Assert((reader.error != WeightError.NONE)
                   | (reader.room + pending + owed + reader.fifo.level == depth)),
            Assert(reader.room + pending + owed + reader.fifo.level <= depth),
            # Without this the induction would begin in states of the FIFO that it never comes to.
            Assert(reader.fifo.r_rdy | (reader.fifo.level <= 1)),
        ]
        return m


@pytest.mark.parametrize("forgetful", [False, True])
def test_promises(forgetful, tmp_path):
    """And a memory that gives more than it owes breaks them: the proof can fail."""
    design = Promises(forgetful=forgetful)
    reader = design.reader
    ports = [reader.base, reader.start, reader.ready, reader.m_axi_arready, reader.m_axi_rdata, reader.m_axi_rresp,
             reader.m_axi_rvalid, reader.m_axi_rlast]
    assert proved(design, ports, tmp_path) == (not forgetful)

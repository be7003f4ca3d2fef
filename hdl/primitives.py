# SPDX-License-Identifier: Apache-2.0
"""What every unit is made with: delays, relays, and what is known of where a design is going."""

import numpy as np
from amaranth import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Relay", "VerilogExport", "bits_for", "choices", "delay", "delay_events", "is_ecp5", "relayed", "stream_of"]


class VerilogExport:
    """Stands in place of a platform where Verilog is made; collects ROM contents by file name.

    ``roms`` maps a file name to (width in bits, list of words)."""

    def __init__(self):
        self.roms: dict[str, tuple[int, list[int]]] = {}


def bits_for(count: int) -> int:
    """Bits of an index into ``count`` things, at least one."""
    return max(1, (count - 1).bit_length())


def choices(count):
    """Inputs of a tree of two-way choices between ``count`` things, an integer or an array of them: what it takes of
    logic goes with them."""
    return np.where(np.equal(count, 1), 0, 2 ** np.ceil(np.log2(count)))


def stream_of(shape, **options) -> stream.Signature:
    """A stream of ``shape``.  (Type checkers don't see that integers and layouts are shapes to Amaranth.)"""
    return stream.Signature(shape, **options)


def delay_events(m: Module, event, value, cycles: int, spacing: int, *, name: str):
    """(``event``, ``value``) of ``cycles`` ago, the latter only where there is an event.

    Events are at least ``spacing`` cycles apart: a register holds each for so long, instead of one for every cycle."""
    held = 0
    value = Value.cast(value)
    while held < cycles:
        register = Signal(value.shape(), name=f"{name}_{held}", reset_less=True)
        with m.If(event):
            m.d.sync += register.eq(value)
        value = register
        step = min(spacing, cycles - held)
        event = delay(m, event, step, name=f"{name}_event_{held}")
        held += step
    return event, value


def delay(m: Module, signal, cycles: int, *, name: str):
    """``signal`` as it was ``cycles`` clock cycles ago.

    A single bit is taken for control and cleared by a reset, so that no event from before it arrives after it;
    anything wider is data and needs none."""
    for i in range(cycles):
        register = Signal.like(signal, name=f"{name}_d{i + 1}", reset_less=len(signal) > 1)
        m.d.sync += register.eq(signal)
        signal = register
    return signal


def is_ecp5(platform) -> bool:
    """Whether the design is being made for a Lattice ECP5, whose primitives are worth naming."""
    return getattr(platform, "device", "").startswith("LFE5")


class Relay(wiring.Component):
    """A word a cycle later, in a module of its own: equal registers of one module are made once."""

    def __init__(self, width: int):
        super().__init__({"word": In(width), "late": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.late.eq(delay(m, self.word, 1, name="late"))
        return m


def relayed(m: Module, word, cycles: int, *, name: str):
    """``word`` as it was so many clock cycles ago, through registers that it shares with nothing: for readers of a part
    of the chip, when others read the same word elsewhere."""
    for number in range(cycles):
        m.submodules[f"{name}_{number}"] = relay = Relay(len(word))
        m.d.comb += relay.word.eq(word)
        word = relay.late
    return word

# SPDX-License-Identifier: Apache-2.0
"""The window generator: from positions to windows of activations."""

from typing import Any

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.config import EngineConfig
from tepal.hdl.memories.streamed import ScatteredRam
from tepal.hdl.primitives import bits_for, delay

from .arithmetic import modular_sum
from .input_layout import InputLayout
from .instance_name import InstanceName
from .widths import Widths

__all__ = ["WindowGenerator", "coordinate_layout"]


def coordinate_layout(value_bits: int, banks: int, address_bits: int) -> data.StructLayout:
    """One coordinate of a position in a banked feature map.

    ``value`` (signed; padding is outside 0 … size - 1), ``remainder`` = value mod banks, and ``address``, what the
    whole part of value / banks adds to an address, modulo the memory's size."""
    return data.StructLayout({"value": signed(value_bits), "remainder": range(max(2, banks)),
                              "address": unsigned(address_bits)})


class WindowGenerator(wiring.Component):
    """Reads ``rows x columns`` neighbouring activations of ``lanes`` channels every cycle.

    The feature map lies in one memory bank per tap: pixel (y, x) in bank (y mod rows, x mod columns), so that
    the taps of any window, at any stride, lie in different banks and are read at once.  Where results are written to
    two words at once (``config.written_words``), each channel group lies a bank column further on.  What comes out
    of the banks is rotated into place, and taps outside the map are replaced by the zero point.

    Latency :meth:`latency`, one window a cycle; no multipliers; ``rows * columns`` memory ports.

    Parameters
    ----------
    config, widths
        Shape of the engine, and widths of what the units hand to each other.  If the engine is pipelined, memories have
        a register at their outputs, and the generator has more of them; :meth:`latency`.
    layout
        Of the input memory, from which ``config.tile_lanes`` bytes are copied at once.  A pixel is one word there, or
        one for each channel group.

    Members
    -------
    y, x : In(coordinate_layout(...))
        Position of the window's first tap.
    group : In(address_bits)
        Address of the channel group in pixel (0, 0); in the input memory, the group itself.
    bank_turn : In, with two ``config.written_words`` alone
        Bank columns by which the channel group lies further on than the first one.
    from_input : In(1)
        Copy from the input memory instead of the banks.
    pitch, step : In(address_bits)
        Words from one row of a bank to the next, and from one column to the next.
    height, width, zero_point
        Of the feature map.
    bank_address, bank_data, input_address, input_data
        To the memories' read ports; data comes two cycles after the address, or one in an engine
        that is not pipelined; and :attr:`ScatteredRam.LATENCY` later where the engine is scattered.
    taps : Out(8 * lanes) per tap
        Row-major.
    copied : Out(8 * config.tile_lanes)
        Tap (0, 0) as it is to be copied; wider words from the input memory.
    """

    NAME = InstanceName("window", "window generator", "window generator")

    def __init__(self, config: EngineConfig, widths: Widths, layout: InputLayout):
        self.config, self.layout = config, layout
        rows, columns = config.window
        word, copied, input_address = 8 * config.lanes, config.tile_lanes, bits_for(layout.depth)
        address = max(widths.bank, input_address, bits_for(-(-layout.word_bytes // copied)))
        super().__init__({
            "y": In(coordinate_layout(widths.coordinate, rows, address)),
            "x": In(coordinate_layout(widths.coordinate, columns, widths.column)),
            "group": In(address), "from_input": In(1),
            "pitch": In(address), "step": In(address),
            "height": In(widths.coordinate), "width": In(widths.coordinate), "zero_point": In(signed(8)),
            "bank_address": Out(widths.bank).array(config.taps), "bank_data": In(word).array(config.taps),
            "input_address": Out(input_address), "input_data": In(8 * layout.word_bytes),
            "taps": Out(word).array(config.taps), "copied": Out(8 * copied),
            **({"bank_turn": In(range(columns))} if config.written_words > 1 else {}),
        })

    @staticmethod
    def latency(config: EngineConfig) -> int:
        """Cycles from a position to its window."""
        return (6 if config.pipelined else 3) + ScatteredRam.LATENCY * config.scattered

    @staticmethod
    def features(engine: Any) -> dict[str, Any]:
        """Features for the LUT estimate."""
        return {"products": engine.lanes * engine.taps, "taps": engine.taps}

    def elaborate(self, platform):
        m = Module()
        rows, columns = self.config.window
        copied, whole_pixels = 8 * self.config.tile_lanes, self.layout.parts == 1

        # In brackets: the cycles without ``pipelined``, where only the second of each two steps ends in a register.
        deep = int(self.config.pipelined)
        slow = ScatteredRam.LATENCY * self.config.scattered
        late = 2 + 2 * deep + slow

        def register(name, value):
            signal = Signal(value.shape(), name=name, reset_less=True)
            m.d[("comb", "sync")[deep]] += signal.eq(value)
            return signal

        # Cycle 1 (1): both parts of the address, as they are and one bank row or column on; which taps are
        # inside the map.
        width = len(self.group)
        row_address = [register(f"row_address_{i}", value[:width]) for i, value in enumerate(
            (self.y.address + self.group, self.y.address + self.group + self.pitch))]
        column_address = [register(f"column_address_{i}", value[:len(self.x.address)]) for i, value in enumerate(
            (self.x.address, self.x.address + self.step))]

        def inside(coordinate, size, tap):
            place = coordinate.value + tap
            return ~place[-1] & (place < size.as_signed())

        row_inside = [register(f"row_inside_{i}", inside(self.y, self.height, i)) for i in range(rows)]
        column_inside = [register(f"column_inside_{i}", inside(self.x, self.width, i)) for i in range(columns)]
        y_remainder = register("y_remainder", self.y.remainder)
        x_remainder = register("x_remainder", self.x.remainder)
        first_column, later = x_remainder, [j < x_remainder for j in range(columns)]
        if self.config.written_words > 1:
            # As in banks that are not turned, each column's taken from the one from which it was turned away.
            turn = register("bank_turn_1", self.bank_turn)
            later = [Array(later[j - turned] for turned in range(columns))[turn] for j in range(columns)]
            first_column, _ = modular_sum(m, x_remainder, turn, columns, name="first_column")
        from_input = register("from_input_1", self.from_input)

        # Cycle 2 (1): the address of each bank.  Banks before the window's first hold its later taps, which
        # lie one bank row (or column) further on.
        for i in range(rows):
            for j in range(columns):
                m.d.sync += self.bank_address[i * columns + j].eq(
                    Mux(i < y_remainder, row_address[1], row_address[0])
                    + Mux(later[j], column_address[1], column_address[0]))
        # A pixel's groups are in one word, or lie one after the other as they do in the banks.
        input_row = delay(m, self.y.address, deep, name="input_row") if whole_pixels else row_address[0]
        m.d.sync += self.input_address.eq(input_row + column_address[0])

        # Cycles 3 and 4 (2): the memories.  Cycle 5 (3): rows into place.
        y_remainder = delay(m, y_remainder, 1 + deep + slow, name="y_remainder")
        x_remainder = delay(m, first_column, late - 1, name="x_remainder")
        input_data = self.input_data
        if whole_pixels:
            groups = -(-len(self.input_data) // copied)
            group = delay(m, self.group[:bits_for(groups)], late, name="group")
            input_data = Array([self.input_data[copied * i:copied * (i + 1)] for i in range(groups)])[group]
        input_data = register("input_group", input_data)

        def turned(name, words, turn):
            """Word number ``turn`` of the cycle before, slice by slice."""
            chosen = []
            for low, part in _slices(len(words[0])):
                m.submodules[f"{name}_{low}"] = unit = _Turn(len(words), len(words[0][part]))
                m.d.comb += [unit.turn.eq(turn), *(unit.words[i].eq(word[part]) for i, word in enumerate(words))]
                chosen.append(unit.word)
            return Cat(chosen)

        def bordered(name, word, visible):
            """``word``, or the zero point where ``visible`` was not set in the cycle before, slice by slice."""
            shown = []
            for low, part in _slices(len(word)):
                m.submodules[f"{name}_{low}"] = unit = _Border(len(word[part]))
                m.d.comb += [unit.visible.eq(visible), unit.zero_point.eq(self.zero_point.as_unsigned()),
                             unit.word.eq(word[part])]
                shown.append(unit.shown)
            return Cat(shown)

        across = [register(f"turned_{i}_{j}", turned(
            f"row_{i}_{j}", [self.bank_data[(i + turn) % rows * columns + j] for turn in range(rows)], y_remainder))
            for i in range(rows) for j in range(columns)]

        # Cycle 6 (3): columns into place, zero point outside.
        row_inside = [delay(m, s, late - 1, name=f"row_inside_{i}") for i, s in enumerate(row_inside)]
        column_inside = [delay(m, s, late - 1, name=f"column_inside_{i}") for i, s in enumerate(column_inside)]
        for i in range(rows):
            for j in range(columns):
                word = turned(f"column_{i}_{j}", [across[i * columns + (j + turn) % columns]
                                                  for turn in range(columns)], x_remainder)
                visible = row_inside[i] & column_inside[j]
                m.d.sync += self.taps[i * columns + j].eq(bordered(f"border_{i}_{j}", word, visible))
                if i == j == 0:
                    words = [Cat(value, C(0, len(self.copied)))[:len(self.copied)] for value in (word, input_data)]
                    source = turned("source", words, delay(m, from_input, late - 1, name="from_input"))
                    m.d.sync += self.copied.eq(bordered("copied_border", source, visible))
        return m


_SLICE = 16
"""Bits of a word that share what chooses them: as many as a memory block gives, for the blocks lie all over the part.

The register that chooses for a slice is in a module of its own, which synthesis leaves alone."""


def _slices(width: int):
    """(lowest bit, slice) of the parts of a word."""
    return ((low, slice(low, min(low + _SLICE, width))) for low in range(0, width, _SLICE))


class _Turn(wiring.Component):
    """One of several words, that number ``turn`` of the cycle before."""

    def __init__(self, count: int, width: int):
        super().__init__({"turn": In(range(max(2, count))), "words": In(width).array(count), "word": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.word.eq(Array(self.words)[delay(m, self.turn, 1, name="turn")])
        return m


class _Border(wiring.Component):
    """``word``, or the zero point in each of its bytes where ``visible`` was not set in the cycle before."""

    def __init__(self, width: int):
        super().__init__({"visible": In(1), "zero_point": In(8), "word": In(width), "shown": Out(width)})

    def elaborate(self, platform):
        m = Module()
        visible = delay(m, self.visible, 1, name="visible")
        zero_point = delay(m, self.zero_point, 1, name="zero_point")
        m.d.comb += self.shown.eq(Mux(visible, self.word, zero_point.replicate(len(self.word) // 8)))
        return m

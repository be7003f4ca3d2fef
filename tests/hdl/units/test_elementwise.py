# SPDX-License-Identifier: Apache-2.0
"""The elementwise unit: tables, sums and clamps, a value a cycle in each lane, with words of the skip memory that are
read and then overwritten."""

from dataclasses import replace

import numpy as np
import pytest
from stepping import trace
from tepal.hdl.memories.streamed import StreamedRom
from tepal.hdl.units.elementwise import ElementwiseFormat, ElementwiseUnit

CYCLES = 200
WORDS = 16


def made_up(rng, operands: int) -> ElementwiseFormat:
    tables = tuple(tuple(rng.integers(-1 << 12, 1 << 12, 256) for _ in range(count))
                   for count in rng.integers(1, 5, operands))
    return ElementwiseFormat(tables, int(rng.integers(0, 6)), ((-128, 127), (-7, 100)), WORDS)


@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize("operands", [1, 2])
@pytest.mark.parametrize("seed", range(3))
def test_results(seed, operands, pipelined):
    """Tables and clamp change in every cycle.  Each cycle's word is written over some cycles after it was read."""
    rng = np.random.default_rng(seed)
    fmt, lanes = made_up(rng, operands), int(rng.integers(1, 4))
    unit = ElementwiseUnit(fmt, lanes, pipelined=pipelined)
    latency = ElementwiseUnit.latency(fmt, pipelined)
    values, written = (rng.integers(-128, 128, (CYCLES, lanes)) for _ in range(2))
    used = [rng.integers(len(tables), size=CYCLES) for tables in fmt.tables]
    modes, address = rng.integers(2, size=CYCLES), np.arange(CYCLES) % WORDS

    def driven(cycle):
        found = [*((unit.results[lane], values[cycle, lane]) for lane in range(lanes)), (unit.mode, modes[cycle]),
                 *((getattr(unit, f"table_{i}"), each[cycle]) for i, each in enumerate(used))]
        if operands > 1:
            word = int.from_bytes(written[cycle].astype(np.int8).tobytes(), "little")
            # A word is read WORDS - latency cycles after it was written.
            found += [(unit.read_address, address[cycle]), (unit.write_address, address[cycle - latency]),
                      (unit.write_enable, cycle >= latency), (unit.write_data, word)]
        return found

    rows = trace(unit, CYCLES, driven, list(unit.out))
    least, most = np.array(fmt.modes)[modes].T
    for cycle in range(WORDS, CYCLES - latency):
        total = fmt.tables[0][used[0][cycle]][values[cycle] + 128]
        if operands > 1:
            total = total + fmt.tables[1][used[1][cycle]][written[cycle - WORDS + latency] + 128]
        assert rows[cycle + latency] == [*np.clip(total >> fmt.shift, least[cycle], most[cycle])]


@pytest.mark.parametrize("pipelined", [True, False])
def test_tables_from_outside(pipelined):
    """They are written while others are read, and a pass's is read where it lies."""
    rng = np.random.default_rng(5)
    size = ElementwiseUnit.TABLE_WORDS
    table = rng.integers(-1 << 12, 1 << 12, size)
    fmt = ElementwiseFormat(((table,),), 5, ((-128, 127),), WORDS)
    rom = StreamedRom(fmt.widths[0], 3 * size, int(pipelined))
    unit = ElementwiseUnit(fmt, 1, pipelined=pipelined, roms=[[rom]])
    values, place = rng.integers(-128, 128, 2 * size), 2

    def driven(cycle):
        # First the table comes, then it is used while other words come.
        word = fmt.contents(0, table)[cycle] if cycle < size else 0
        return [(rom.write_enable, 1), (rom.write_data, word), (unit.table_0, place), (unit.results[0], values[cycle]),
                (rom.write_address, size * place + cycle if cycle < size else cycle - size)]

    rows = trace(unit, 2 * size, driven, [unit.out[0]])
    latency = ElementwiseUnit.latency(fmt, pipelined)
    for cycle in range(size, 2 * size - latency):
        assert rows[cycle + latency] == [np.clip(table[values[cycle] + 128] >> 5, -128, 127)]


@pytest.mark.parametrize(("widest", "begins", "bits"), [(1 << 10, (0, 12), 24), (1 << 30, (0, 32), 64),
                                                        (1 << 31, (0, 64), 97)])
def test_word_of_all_operands(widest, begins, bits):
    """Each operand's lies in one beat."""
    table = np.linspace(-widest, widest, 256).astype(np.int64)
    fmt = ElementwiseFormat(((table,), (table,)), 0, ((-128, 127),), 1)
    assert (fmt.begins, fmt.word_bits) == (begins, bits)


def test_words():
    """As wide as the widest value of either sign, and each table where its number says."""
    first, second = np.arange(-128, 128), np.arange(-128, 128) * 3
    fmt = ElementwiseFormat(((first, second), (first,)), 0, ((-128, 127),), 1)
    assert fmt.widths == (10, 8)
    assert [fmt.number(0, table) for table in (first, second)] == [0, 1]
    words = fmt.words(0)
    assert [words[256 + value % 256] for value in (-128, -1, 0, 127)] == [1024 - 384, 1024 - 3, 0, 381]
    assert replace(fmt, tables=(fmt.tables[0],)).operands == 1

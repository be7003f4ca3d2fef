# SPDX-License-Identifier: Apache-2.0
"""Tiles written into the buffer come out skewed, with their weights, at the period's end."""

import numpy as np
import pytest
from amaranth import Module
from stepping import trace
from tepal.hdl import EngineConfig
from tepal.hdl.memories.block import ReplayRom
from tepal.hdl.primitives import bits_for
from tepal.hdl.units.descriptor_table import DescriptorTable
from tepal.hdl.units.feeder import Feeder, FeederDescriptor
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.hdl.units.widths import Widths

FRAMES = 2


@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize("seed", range(8))
def test_feeder(seed, pipelined):
    """Three network blocks, two frames, tiles at random distances, often the smallest."""
    rng = np.random.default_rng(seed)
    rows, lanes = (int(n) for n in rng.integers(1, 5, 2))
    blocks = []
    for _ in range(3):
        channels, repeats = int(rng.integers(1, 8)), int(rng.integers(1, 4))
        blocks.append({"channels": channels, "groups": -(-channels // lanes), "repeats": repeats,
                       "inner": channels * repeats, "tiles": int(rng.integers(1, 4)),
                       "outputs": int(rng.integers(1, 4)), "idle": int(rng.choice([0, 0, 1, 5]))})
        blocks[-1]["period"] = blocks[-1]["inner"] + blocks[-1]["idle"]
    words = max(block["groups"] * block["repeats"] for block in blocks)
    table = DescriptorTable([FeederDescriptor(
        last_tile=block["tiles"] - 1, last_block=block["outputs"] - 1, idle=block["idle"],
        last_cycle=block["period"] - 1, last_group=block["groups"] - 1,
        full_lane=lanes - 1, last_lane=(block["channels"] - 1) % lanes,
        ends_frame=int(block is blocks[-1])) for block in blocks])
    weights = rng.integers(0, 256, sum(block["inner"] * block["outputs"] for block in blocks)).tolist()
    config = EngineConfig(rows, 1, lanes, pipelined=pipelined)
    widths = Widths(coordinate=0, address=0, column=0, bank=0, target=0, tile_word=bits_for(words), weight=0)
    m = Module()
    m.submodules.buffer = buffer = TileBuffer(config, [words] * rows)
    m.submodules.feeder = feeder = Feeder(config, widths, table)
    m.submodules.rom = rom = ReplayRom("weights", 8, weights)
    m.d.comb += [getattr(buffer, name).eq(getattr(feeder, name)) for name in ("part", "word", "lane", "first", "last")]
    m.d.comb += [getattr(rom, name).eq(getattr(feeder, name)) for name in ("advance", "rewind", "commit", "restart")]

    # Where and when: every word of a tile in its own cycle, then the tile's feeds.
    writes, expected, begins = {}, [], []
    busy, part_free, part = 0, [0] * TileBuffer.TILES, 0
    for number, block in [*enumerate(blocks)] * FRAMES:
        base = sum(b["inner"] * b["outputs"] for b in blocks[:number])
        for tile in range(block["tiles"]):
            tile_rows = int(rng.integers(1, rows + 1))
            count = tile_rows * block["groups"] * block["repeats"]
            data = rng.integers(0, 256, (tile_rows, block["groups"] * block["repeats"], lanes))
            end = max(busy - 1, part_free[part] + count - 1, max(writes, default=-1) + count)
            end += int(rng.choice([0, 0, 3]))
            for i, (pixel, word) in enumerate(np.ndindex(data.shape[:2])):
                writes[end - count + 1 + i] = (part, word, pixel, data[pixel, word], i == count - 1)
            busy = end + 1
            if tile == 0:
                begins.append((busy, number))
            # Bytes of a pixel as they lie, without the lanes beyond the last channel.
            pixels = data.reshape(tile_rows, block["repeats"], -1)[:, :, :block["channels"]].reshape(tile_rows, -1)
            for output in range(block["outputs"]):
                for k in range(block["inner"]):
                    now = busy + block["idle"] + k
                    expected.append((now, pixels[:, k], weights[base + output * block["inner"] + k],
                                     k == 0, k == block["inner"] - 1))
                busy += block["period"]
            part_free[part], part = busy, (part + 1) % TileBuffer.TILES
    total = busy + rows + TileBuffer.latency(pipelined) + 2

    def late(row):
        return TileBuffer.latency(pipelined) + (row if pipelined else 0)

    def drive(cycle):
        if cycle not in writes:
            return [(buffer.write, 0), (feeder.tile_end, 0)]
        part, word, pixel, data, end = writes[cycle]
        return [(buffer.write, 1), (buffer.write_part, part), (buffer.write_word, word), (buffer.pixel, pixel),
                (buffer.data, int.from_bytes(bytes(data.tolist()), "little")), (feeder.tile_end, end)]

    got = trace(m, total, drive, [feeder.begins, feeder.number, rom.data,
                                  *buffer.x, *buffer.first_out, *buffer.last_out])
    assert [(cycle, row[1]) for cycle, row in enumerate(got) if row[0]] == begins
    for flag in range(2):
        for row in range(rows):
            at = [cycle for cycle, values in enumerate(got) if values[3 + rows * (1 + flag) + row]]
            assert at == [now + late(row) for now, *_, first, last in expected if (first, last)[flag]]
    for now, pixels, weight, _, _ in expected:
        assert got[now + ReplayRom.latency(0)][2] == weight
        for pixel, value in enumerate(pixels):
            row = rows - 1 - pixel
            assert got[now + late(row)][3 + row] & 0xFF == value

# SPDX-License-Identifier: Apache-2.0
"""Windows at any place of any map, out of banks laid out as the schedule does it."""

import numpy as np
import pytest
from amaranth import Module, unsigned
from amaranth.lib.memory import Memory
from stepping import trace
from tepal.hdl import EngineConfig
from tepal.hdl.memories.streamed import ScatteredRam
from tepal.hdl.plan.places import FeatureMap
from tepal.hdl.primitives import bits_for, delay
from tepal.hdl.units.input_layout import InputLayout
from tepal.hdl.units.widths import Widths
from tepal.hdl.units.window import WindowGenerator

CYCLES = 150


def words(pixels: np.ndarray, lanes: int) -> list[int]:
    """Of (n, channels), words of ``lanes`` bytes, the last of a pixel filled with 99."""
    groups = -(-pixels.shape[1] // lanes)
    filled = np.full((len(pixels), groups * lanes), 99, np.int8)
    filled[:, :pixels.shape[1]] = pixels
    return [int.from_bytes(word.tobytes(), "little") for word in filled.reshape(-1, lanes)]


@pytest.mark.parametrize(("pipelined", "scattered"), [(True, False), (False, False), (True, True)])
@pytest.mark.parametrize("seed", range(10))
def test_window(seed, pipelined, scattered):
    rng = np.random.default_rng(seed)
    window = tuple(int(n) for n in rng.integers(1, 4, 2))
    lanes, channels = int(rng.integers(1, 5)), int(rng.integers(1, 8))
    height, width = (int(n) for n in rng.integers(1, 9, 2))
    zero_point = int(rng.integers(-128, 128))
    image = FeatureMap((height, width, channels), window, lanes, base=int(rng.integers(0, 5)))
    copy_lanes = lanes + int(rng.integers(3))
    wide = FeatureMap((height, width, channels), (1, 1), copy_lanes, wide=True)
    activations, inputs = rng.integers(-128, 128, (2, height, width, channels), np.int8)

    depth = image.base + image.depth
    config = EngineConfig(1, 1, lanes, window, copy_lanes=copy_lanes, pipelined=pipelined,
                          weight_words=1 if scattered else None)
    late = pipelined + ScatteredRam.LATENCY * scattered
    widths = Widths(coordinate=6, address=0, column=bits_for(max(image.pitch, wide.pitch)), bank=bits_for(depth),
                    target=0, tile_word=0, weight=0)
    # Windows of a pixel each: the input memory holds the image as it is.
    generator = WindowGenerator(config, widths, InputLayout((height, width, channels), width, 1, 1, 0, zero_point))
    m = Module()
    m.submodules.generator = generator
    for bank in range(window[0] * window[1]):
        mine = activations[bank // window[1]::window[0], bank % window[1]::window[1]]
        contents = [0] * depth
        for row, line in enumerate(mine):
            start = image.base + row * image.pitch
            contents[start:start + len(line) * image.groups] = words(line, lanes)
        m.submodules[f"bank_{bank}"] = memory = Memory(shape=unsigned(8 * lanes), depth=depth, init=contents)
        port = memory.read_port()
        m.d.comb += [port.addr.eq(generator.bank_address[bank]),
                     generator.bank_data[bank].eq(delay(m, port.data, late, name=f"late_{bank}"))]
    m.submodules.inputs = memory = Memory(shape=unsigned(8 * channels), depth=wide.depth,
                                          init=words(inputs.reshape(-1, channels), channels))
    port = memory.read_port()
    m.d.comb += [port.addr.eq(generator.input_address),
                 generator.input_data.eq(delay(m, port.data, late, name="late"))]

    # Whole runs from the input and from the banks: the block's constants do not change from step to step.
    places = np.stack([rng.integers(-9, height + 9, CYCLES), rng.integers(-9, width + 9, CYCLES),
                       rng.integers(image.groups, size=CYCLES)], axis=1).tolist()
    from_input = [cycle // 50 % 2 for cycle in range(CYCLES)]
    for place, wide_word in zip(places, from_input, strict=True):
        place[2] %= wide.groups if wide_word else image.groups

    def coordinate(place, value):
        wrapped = value[2] % (1 << len(place.address))
        return place, dict(zip(("value", "remainder", "address"), (*value[:2], wrapped), strict=True))

    def drive(cycle):
        y, x, group = places[cycle]
        source = wide if from_input[cycle] else image
        return [coordinate(generator.y, source.row(y)), coordinate(generator.x, source.column(x)),
                (generator.group, source.base + group), (generator.from_input, from_input[cycle]),
                (generator.pitch, source.pitch), (generator.step, source.words), (generator.height, height),
                (generator.width, width), (generator.zero_point, zero_point)]

    def expected(cycle, row, column):
        y, x, group = places[cycle][0] + row, places[cycle][1] + column, places[cycle][2]
        if not (0 <= y < height and 0 <= x < width):
            return [zero_point] * lanes
        return activations[y, x, group * lanes:group * lanes + lanes].tolist()

    def copied(cycle):
        y, x, group = places[cycle]
        if not from_input[cycle]:
            return expected(cycle, 0, 0)
        if not (0 <= y < height and 0 <= x < width):
            return [zero_point] * copy_lanes
        return inputs[y, x, group * copy_lanes:group * copy_lanes + copy_lanes].tolist()

    def signed_bytes(word, count):
        return np.frombuffer(int(word).to_bytes(count, "little"), np.int8).tolist()

    rows = trace(m, CYCLES, drive, [generator.copied, *generator.taps])
    latency = WindowGenerator.latency(config)
    for cycle in range(CYCLES - latency):
        copy, *taps = rows[cycle + latency]
        wanted = copied(cycle)
        assert signed_bytes(copy, copy_lanes)[:len(wanted)] == wanted
        for tap in range(0 if from_input[cycle] else len(taps)):
            wanted = expected(cycle, tap // window[1], tap % window[1])
            assert signed_bytes(taps[tap], lanes)[:len(wanted)] == wanted

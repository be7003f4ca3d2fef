# SPDX-License-Identifier: Apache-2.0
"""The packets as the host makes and reads them, and what a flaw on the line does to them."""

import zlib
from dataclasses import fields, replace
from math import gcd
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import random_network
from tepal.boards.registry import BOARDS
from tepal.hdl import Formats, Schedule
from tepal.hdl.config import EngineConfig
from tepal.hdl.link.protocol import (
    CRC,
    DELIMITER,
    VERSION,
    Identity,
    Kind,
    Packet,
    PacketError,
    Splitter,
    Stage,
    Trace,
    Traced,
)
from tepal.quant import DIGEST_BYTES, Network, digest, read_model

packets = st.builds(Packet, st.sampled_from([*Kind, 0x42]), st.integers(0, 2**32 - 1), st.binary(max_size=600),
                    st.integers(0, 255))


@given(packets)
def test_round_trip(packet):
    line = packet.encode()
    assert line.count(0) == 1
    assert line.endswith(DELIMITER)
    assert len(line) <= Packet.line_bytes(len(packet.payload))
    assert Packet.decode(line[:-1]) == packet


def test_layout():
    """As documented, byte by byte, so that other hosts can be written."""
    body = bytes([VERSION, 2, 0x78, 0x56, 0x34, 0x12, 9, 0, 7])
    line = Packet(Kind.INFER, 0x12345678, bytes([9, 0, 7])).encode()
    crc = zlib.crc32(body).to_bytes(4, "little")
    assert 0 not in crc
    assert line == bytes([8]) + body[:7] + bytes([6]) + body[8:] + crc + DELIMITER
    assert Identity(bytes(range(16)), (0x102, 3, 4), 0x10203, 5).pack() == bytes(
        [*range(16), 2, 1, 3, 0, 4, 0, 3, 2, 1, 0, 5])
    assert Trace(0x102, Stage.MATRIX, 0x3040506).pack() == bytes([2, 1, 1, 6, 5, 4, 3])
    engine = EngineConfig(0x902, 16, 4, (3, 5), 1, 6, 7, 2, 9, 10, 11, True, False)
    traced = Traced(0x1020304, engine, b"8 bytes.")
    assert traced.pack() == bytes([4, 3, 2, 1, 2, 9, 16, 0, 4, 0, 3, 0, 5, 0, 1, 0, 6, 0, 7, 0, 2, 0, 9, 0, 10, 0,
                                   11, 0, 1, 0]) + b"8 bytes."
    assert Traced.unpack(traced.pack()) == traced
    in_bands = Traced(0, replace(engine, single_port=False, activation_words=0x30201), b"abcd")
    assert in_bands.pack()[-10:] == bytes([0, 2, 1, 2, 3, 0]) + b"abcd"
    assert Traced.unpack(in_bands.pack()) == in_bands
    streamed = Traced(0, replace(in_bands.engine, requantiser_cycles=1, lane_cycles=1, weight_words=5), b"abcd")
    assert streamed.pack()[-14:] == bytes([0, 6, 1, 2, 3, 0, 5, 0, 0, 0]) + b"abcd"
    assert Traced.unpack(streamed.pack()) == streamed


OTHER = {"rows": 6, "columns": 6, "lanes": 6, "window": (1, 2), "requantisers": 1, "input_bytes": 4, "spread": 1,
         "packing": 2, "copy_lanes": 9, "requantiser_cycles": 3, "lane_cycles": 4, "single_port": True,
         "pipelined": False, "activation_words": 70_000, "weight_words": 90_000, "input_rows": 8, "operands": 4,
         "logic_columns": 2, "columns_abreast": 2, "requantiser_multiplier": 16}
"""Another value for each field of an engine."""


@pytest.mark.parametrize("name", [field.name for field in fields(EngineConfig)])
def test_every_field_of_an_engine_travels(name):
    engine = EngineConfig(4, 4, 4)
    if name == "requantisers":
        engine = replace(engine, requantisers=2)
    if name == "logic_columns":
        engine = replace(engine, packing=2)
    other = replace(engine, **{name: OTHER[name]})
    assert other != engine
    payload = Traced(1, other, b"").pack()
    assert payload != Traced(1, engine, b"").pack()
    assert Traced.unpack(payload).engine == other
    assert type(getattr(Traced.unpack(payload).engine, name)) is type(OTHER[name])


@pytest.mark.parametrize("model", ["digits/digits.tflite", "cifar10/models/large_0.50_32_int8.onnx"])
def test_the_host_schedules_the_device_s_own_engine(model):
    """As :func:`tepal.host.compare.compare` does, from what a tap tells: also where the schedule made another engine
    of the board's, to copy whole rows of a folded window."""
    network = read_model(Path(__file__).parents[3] / "examples" / model)
    formats, changed = Formats(network), 0
    width, channels = network.input_shape[1:]
    for config in {config for board in BOARDS.values() for config in board.engines}:
        config = replace(config, input_bytes=gcd(config.input_bytes, width * channels))
        device = Schedule(network, config, formats)
        engine = Traced.unpack(Traced(1, device.config, b"").pack()).engine
        host = Schedule(network, engine, formats)
        assert (engine, host.config) == (device.config, device.config)
        assert [(block.tiles, block.tile_pixels, block.tile_windows, block.start, block.slot) for block in host.passes
                ] == [(block.tiles, block.tile_pixels, block.tile_windows, block.start, block.slot)
                      for block in device.passes]
        changed += device.config != config
    assert changed


@pytest.mark.parametrize(("payload", "sentence"), [
    (bytes(29), "a trace of 29 bytes"), (bytes(30), "rows must be a positive integer, not 0"),
    (Traced(1, EngineConfig(1, 1, 2), b"odd").pack(), "3 bytes in words of 2"),
    (Traced(1, EngineConfig(1, 1, 2, activation_words=9), b"").pack()[:-1], "a trace of 33 bytes"),
    (Traced(1, EngineConfig(1, 1, 2, activation_words=9), b"").pack()[:-4] + bytes(4),
     "activation_words must be a positive integer, not 0"),
])
def test_strange_traces(payload, sentence):
    with pytest.raises(PacketError, match=f"^{sentence}$"):
        Traced.unpack(payload)


@given(st.binary(max_size=50))
def test_crc_of_gateware_and_host(content):
    assert CRC.compute(content) == zlib.crc32(content)


@given(packets, st.data())
def test_flaws_are_found(packet, data):
    """A changed, lost or added byte: nothing comes out, or what was sent, or (a delimiter added) its two parts."""
    line = bytearray(packet.encode())
    place = data.draw(st.integers(0, len(line) - 1))
    match data.draw(st.sampled_from(["flip", "lose", "add"])):
        case "flip":
            line[place] ^= data.draw(st.integers(1, 255))
        case "lose":
            del line[place]
        case _:
            line.insert(place, data.draw(st.integers(0, 255)))
    after = Packet(Kind.IDENTIFY, 1)
    found = []
    for encoded in Splitter(5000).feed(bytes(line) + DELIMITER + after.encode()):
        try:
            found.append(Packet.decode(encoded))
        except PacketError:
            continue
    assert found in ([after], [packet, after])


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=12), st.lists(st.integers(1, 30), min_size=1))
def test_splitter(parts, sizes):
    """However the bytes are cut into reads; what is too long is left out, and the next one is whole again."""
    parts = [part.replace(b"\0", b"\1") for part in parts]
    line, splitter, found = b"\0" + b"\0".join(parts) + b"\0\0", Splitter(30), []
    while line:
        for size in sizes:
            found += splitter.feed(line[:size])
            line = line[size:]
    assert found == [part for part in parts if len(part) <= 30]


def test_splitter_s_limit():
    """A packet of just as many bytes is one, however it is cut."""
    for cut in range(31):
        splitter, line = Splitter(30), b"x" * 30 + b"\0" + b"y" * 31 + b"\0" + b"z" * 30 + b"\0"
        assert splitter.feed(line[:cut]) + splitter.feed(line[cut:]) == [b"x" * 30, b"z" * 30]


def test_identity():
    identity = Identity(bytes(range(DIGEST_BYTES)), (96, 96, 3), 1000, 4)
    assert Identity.unpack(identity.pack()) == identity
    with pytest.raises(PacketError):
        Identity.unpack(identity.pack() + b"\0")


def test_digest():
    """Names and scales don't count; every weight does."""
    networks = [random_network(np.random.default_rng(seed)) for seed in range(20)]
    digests = {digest(network) for network in networks}
    assert len(digests) == len(networks)
    assert {len(value) for value in digests} == {DIGEST_BYTES}
    for network in networks:
        layers = tuple(replace(layer, name="other", index=9, tensor=5, output_scale=0.25) for layer in network.layers)
        assert digest(Network("other", layers, 0.5, np.int64(network.input_zero_point))) == digest(network)
        weighted = [place for place, layer in enumerate(layers) if getattr(layer, "weights", None) is not None]
        for place in weighted:
            weights = layers[place].weights.copy()
            weights.flat[-1] ^= 1
            changed = (*layers[:place], replace(layers[place], weights=weights), *layers[place + 1:])
            assert digest(replace(network, layers=changed)) != digest(network)

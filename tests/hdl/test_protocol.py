"""The packets as the host makes and reads them, and what a flaw on the line does to them."""

import zlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from networks import random_network
from tepal.hdl.config import EngineConfig
from tepal.hdl.protocol import (
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
from tepal.quant import DIGEST_BYTES, Network, digest

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
    engine = EngineConfig(0x901, 16, 4, (3, 5), 2, 6)
    traced = Traced(0x1020304, engine, b"8 bytes.")
    assert traced.pack() == bytes([4, 3, 2, 1, 1, 9, 16, 0, 4, 0, 3, 0, 5, 0, 2, 0, 6, 0]) + b"8 bytes."
    assert Traced.unpack(traced.pack()) == traced


@pytest.mark.parametrize(("payload", "sentence"), [
    (bytes(17), "a trace of 17 bytes"), (bytes(18), "rows must be a positive integer, not 0"),
    (Traced(1, EngineConfig(1, 1, 2), b"odd").pack(), "3 bytes in words of 2"),
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

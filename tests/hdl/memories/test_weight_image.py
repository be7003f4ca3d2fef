# SPDX-License-Identifier: Apache-2.0
"""The image of weights in an external memory: what lies where, and what is said of one that can't be taken."""

import re
import struct
import zlib

import pytest
from axi import IDENTITY, image_of
from tepal.hdl.memories.weight_image import VERSION, WeightImageError, read_weight_image, weight_image

IMAGE = image_of(3, 17)


@pytest.mark.parametrize(("prologue", "frame"), [(0, 1), (3, 17), (16, 16), (15, 160), (33, 1)])
def test_layout(prologue, frame):
    image = image_of(prologue, frame)
    data = image.data
    assert struct.unpack_from("<8sIIII16s", data) == (
        b"TEPALWTS", VERSION, zlib.crc32(data[16:]), 8 * prologue, 8 * frame, IDENTITY)
    assert not any(data[40:128])
    assert len(data) % 128 == 0
    assert len(data) == 8 * image.beats
    assert (image.prologue_beats, image.frame_beats) == (prologue, frame)
    # Each part begins at a multiple of 128 bytes, and nothing but padding lies between them.
    begin = -(-(128 + 8 * prologue) // 128) * 128
    assert begin == 8 * image.first_frame_beat
    assert data[128:begin] == image.prologue + bytes(begin - 128 - 8 * prologue)
    assert data[begin:] == image.frame + bytes(len(data) - begin - 8 * frame)
    assert len(image.prologue) == 8 * prologue
    assert len(image.frame) == 8 * frame


def test_contents():
    prologue, frame = bytes(range(24)), bytes(range(100, 140))
    image = weight_image(IDENTITY, prologue, frame)
    assert (image.prologue, image.frame, image.identity) == (prologue, frame, IDENTITY)
    assert (image.header_crc, image.crc) == (zlib.crc32(image.data[:128]), zlib.crc32(image.data))


@pytest.mark.parametrize("parts", [(bytes(7), bytes(8)), (bytes(8), bytes(12)), (bytes(8), b"")])
def test_impossible_parts(parts):
    with pytest.raises(ValueError, match="make no image"):
        weight_image(IDENTITY, *parts)


def test_impossible_identity():
    with pytest.raises(ValueError, match="identity of 15 make no image"):
        weight_image(IDENTITY[:15], b"", bytes(8))


@pytest.mark.parametrize("behind", [b"", b"\xff" * 300])
def test_read(behind):
    """What was read back from a memory may be longer."""
    assert read_weight_image(IMAGE.data + behind, IDENTITY) == read_weight_image(IMAGE.data) == IMAGE


@pytest.mark.parametrize("data", [b"", b"TEPALWTS", IMAGE.data[:127], b"\xff" * 4096, b"\0" * 4096,
                                  b"tepalwts" + IMAGE.data[8:]])
def test_no_image(data):
    with pytest.raises(WeightImageError, match="no image of weights"):
        read_weight_image(data)


@pytest.mark.parametrize("version", [0, VERSION + 1, 4711])
def test_other_version(version):
    with pytest.raises(WeightImageError, match=f"version {version} instead of {VERSION}: generate it anew"):
        read_weight_image(IMAGE.data[:8] + struct.pack("<I", version) + IMAGE.data[12:])


@pytest.mark.parametrize("kept", [128, 384, len(IMAGE.data) - 1])
def test_incomplete(kept):
    with pytest.raises(WeightImageError, match=f"incomplete: {kept} of its {len(IMAGE.data)} bytes"):
        read_weight_image(IMAGE.data[:kept])


@pytest.mark.parametrize("place", range(12, len(IMAGE.data), 4))
def test_damaged(place):
    """A bit of anything behind magic and version: CRC, identity, contents, padding.  (A length then says more than is
    there, or less.)"""
    data = bytearray(IMAGE.data)
    data[place] ^= 1 << place // 4 % 8
    with pytest.raises(WeightImageError, match="damaged" if place not in (16, 20) else "damaged|incomplete"):
        read_weight_image(bytes(data), IDENTITY)


def test_another_networks():
    with pytest.raises(WeightImageError, match="belongs to another network"):
        read_weight_image(IMAGE.data, IDENTITY[::-1])


def test_one_sentence():
    for data in (b"", IMAGE.data[:200], IMAGE.data[:8] + bytes(500)):
        with pytest.raises(WeightImageError) as refusal:
            read_weight_image(data)
        assert not re.search(r"\.\s|\n|\.$", str(refusal.value))

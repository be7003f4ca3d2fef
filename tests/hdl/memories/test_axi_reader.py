# SPDX-License-Identifier: Apache-2.0
"""The reader of weights with a memory behind it: what it hands on, what it asks for, and what it refuses."""

import numpy as np
import pytest
from axi import IDENTITY, image_of, run_reader
from networks import fast
from tepal.hdl.memories.axi_reader import AxiReader
from tepal.hdl.memories.image_check import WeightError
from tepal.hdl.memories.weight_image import VERSION, WeightImage
from tepal.sim.axi_memory import AxiMemory

IMAGE = image_of(5, 37)


def words(data: bytes) -> list[int]:
    return np.frombuffer(data, "<u8").tolist()


def stream(image: WeightImage, frames: int) -> list[int]:
    return words(image.prologue) + frames * words(image.frame)


def refused(image: WeightImage, data: bytes, **options) -> tuple[WeightError, AxiMemory]:
    """Why a reader of ``image`` refuses ``data``; nothing is handed on, and it stops reading."""
    memory = AxiMemory(data, **options)
    run = run_reader(AxiReader(image), memory, beats=1)
    assert not run.beats
    assert not run.running
    return run.error, memory


@pytest.mark.parametrize(("prologue", "frame"), fast([(5, 37), (0, 1), (16, 16), (0, 33), (40, 15), (31, 160)], 3))
@pytest.mark.parametrize("seed", fast([1, 2, 3], 1))
def test_frames_in_a_row(prologue, frame, seed):
    """Ten of them, from a memory that waits at random, for an engine that does."""
    image, random = image_of(prologue, frame), np.random.default_rng(seed)
    memory = AxiMemory(image.data, 0x1234_5680, latency=int(random.integers(1, 40)), seed=seed)
    run = run_reader(AxiReader(image), memory, base=0x1234_5680, beats=prologue + 10 * frame,
                     ready=lambda cycle: random.random() < 0.7)
    assert run.beats == stream(image, 10)
    assert (run.error, run.running) == (WeightError.NONE, True)


def test_addresses():
    """The whole image first; then padding is left out."""
    memory = AxiMemory(IMAGE.data, 0x8000_0080)
    run_reader(AxiReader(IMAGE), memory, base=0x8000_0080, beats=5 + 2 * 37)
    blocks = [(burst - 0x8000_0080) // 128 for burst, _ in memory.bursts]
    assert blocks[:12] == [0, 1, 2, 3, 4, 1, 2, 3, 4, 2, 3, 4]
    assert [beats for _, beats in memory.bursts[:12]] == [16, 16, 16, 16, 16, 5, 16, 16, 5, 16, 16, 5]


@pytest.mark.parametrize("bursts", [1, 4, 8])
def test_outstanding(bursts):
    """As many bursts as the FIFO has room for, also if nothing leaves it."""
    memory = AxiMemory(IMAGE.data)
    run_reader(AxiReader(IMAGE, bursts=bursts), memory, beats=1, cycles=1000, ready=lambda cycle: False)
    checked = IMAGE.beats // 16
    assert len(memory.bursts) >= checked + bursts
    assert 16 * (bursts - 1) < sum(beats for _, beats in memory.bursts[checked:]) <= 16 * bursts


def test_wide_address():
    memory = AxiMemory(IMAGE.data, 0x12_3456_7880)
    run = run_reader(AxiReader(IMAGE, address_bits=40), memory, base=0x12_3456_7880, beats=42)
    assert run.beats == stream(IMAGE, 1)


def test_start():
    """Nothing is read before, and all comes as much later."""
    runs = [run_reader(AxiReader(IMAGE), AxiMemory(IMAGE.data), beats=42, start=start) for start in (0, 25)]
    assert runs[0].taken == runs[1].taken
    memory = AxiMemory(IMAGE.data)
    run_reader(AxiReader(IMAGE), memory, beats=1, start=300, cycles=0)
    assert not memory.bursts


OTHERS = {
    "magic": b"X" + IMAGE.data[1:],
    "version": IMAGE.data[:8] + bytes([VERSION + 1]) + IMAGE.data[9:],
    "network": image_of(5, 37, identity=IDENTITY[::-1]).data,
    "weights": image_of(5, 37, seed=4).data,
    "length": image_of(5, 36).data,
    "padding": IMAGE.data[:127] + b"\1" + IMAGE.data[128:],
    "erased": b"\xff" * len(IMAGE.data),
    "zeros": bytes(len(IMAGE.data)),
    "shifted": IMAGE.data[8:] + bytes(8),
}


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_other_image(data):
    error, memory = refused(IMAGE, data)
    assert error == WeightError.OTHER_IMAGE
    assert len(memory.bursts) <= 5


def test_stops_at_the_header():
    """A large memory that holds something else is not read through."""
    image = image_of(5, 1000)
    error, memory = refused(image, image_of(5, 1000, seed=4).data, latency=20)
    assert error == WeightError.OTHER_IMAGE
    assert len(memory.bursts) < 10


@pytest.mark.parametrize("bit", fast([8 * 128, 8 * len(IMAGE.data) - 1, 8 * 300 + 5, 8 * (128 + 5 * 8), 2222], 3))
def test_damaged(bit):
    """One bit: the first behind the header, the last one, of weights, of padding."""
    data = bytearray(IMAGE.data)
    data[bit // 8] ^= 1 << bit % 8
    assert refused(IMAGE, bytes(data))[0] == WeightError.DAMAGED


def test_incomplete():
    """The rest of the memory is erased."""
    assert refused(IMAGE, IMAGE.data[:512].ljust(len(IMAGE.data), b"\xff"))[0] == WeightError.DAMAGED


def test_beyond_the_memory():
    assert refused(IMAGE, IMAGE.data[:512])[0] == WeightError.MEMORY


@pytest.mark.parametrize("beat", [0, 15, 16, IMAGE.beats - 1])
def test_error_at_first(beat):
    assert refused(IMAGE, IMAGE.data, error_at=8 * beat, latency=9)[0] == WeightError.MEMORY


@pytest.mark.parametrize("seed", [0, 6])
def test_error_later(seed):
    """What came before it is handed on, and nothing after it."""
    memory = AxiMemory(IMAGE.data, latency=9, seed=seed)
    there = stream(IMAGE, 4)

    def ready(cycle):
        # The fourth frame's tenth beat.
        if len(memory.bursts) > IMAGE.beats // 16 + 1 + 3 * 3:
            memory.error_at = 8 * (IMAGE.first_frame_beat + 9)
        return cycle % 3 == 0

    run = run_reader(AxiReader(IMAGE), memory, beats=5 + 5 * 37, ready=ready)
    assert (run.error, run.running) == (WeightError.MEMORY, False)
    assert 5 + 37 < len(run.beats) < 5 + 4 * 37
    assert run.beats == there[:len(run.beats)]
    assert run.beats[-1] == words(IMAGE.frame)[8]

# SPDX-License-Identifier: Apache-2.0
"""The device's end of the link, stage by stage against the host's codec, and whole, with a network behind it."""

import zlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from amaranth import Module, Signal
from cobs import cobs
from networks import fast, random_case
from streams import run_streams
from tepal.hdl import Schedule
from tepal.hdl.answer import Status, Trailer
from tepal.hdl.link.framing import CobsDecoder, CobsEncoder, CrcAppender, CrcChecker
from tepal.hdl.link.packets import AnswerWriter, LinkedAccelerator, RequestReader
from tepal.hdl.link.protocol import VERSION, Fault, Identity, Kind, Packet, PacketError, Splitter
from tepal.quant import digest
from tepal.sim import CycleModel, golden

SEED = 5
END, DAMAGED = 0x100, 0x300
stalls = pytest.mark.parametrize("stall", [0.0, 0.4])


def contents() -> list[bytes]:
    """Packets with what COBS finds hard: zeros, none at all, and blocks of about 254 bytes."""
    rng = np.random.default_rng(SEED)
    mixed = [bytes(rng.choice([0, 1, 255, 7], size, p=[0.3, 0.1, 0.1, 0.5]).tolist())
             for size in rng.integers(1, 40, 8)]
    around = [b"x" * size + tail for size in (253, 254, 255) for tail in (b"", b"\0y")]
    return [b"\0", b"\1", b"\0\0\0", b"abc\0", b"z" * 508, *around, *mixed]


def symbols(packets, damaged=()) -> list[int]:
    return [symbol for place, packet in enumerate(packets)
            for symbol in [*packet, DAMAGED if place in damaged else END]]


def plain(taken: list[int]) -> list[int]:
    """Symbols without what does not count: the byte of an end, and damage before it."""
    return [symbol & DAMAGED if symbol & END else symbol & 0xFF for symbol in taken]


@stalls
def test_cobs_encoder(stall):
    dut = CobsEncoder()
    (line,), _ = run_streams(dut, [(dut.i, symbols(contents()))], [dut.o], stall=stall, seed=SEED)
    assert bytes(line) == b"".join(cobs.encode(content) + b"\0" for content in contents())


@stalls
def test_cobs_decoder(stall):
    dut = CobsDecoder()
    whole = b"\0\0".join(cobs.encode(content) for content in contents())
    (taken,), _ = run_streams(dut, [(dut.i, [*b"\0\0", *whole, *b"\0\5abc\0\0\2b\0"])], [dut.o], stall=stall, seed=SEED)
    assert plain(taken) == symbols([*contents(), b"abc", b"b"], damaged=[len(contents())])


@stalls
def test_crc(stall):
    short = [content for content in contents() if len(content) < 100]
    packets = [content + zlib.crc32(content).to_bytes(4, "little") for content in short]
    appender = CrcAppender()
    (taken,), _ = run_streams(appender, [(appender.i, symbols(short))], [appender.o], stall=stall, seed=SEED)
    assert plain(taken) == symbols(packets)

    rng = np.random.default_rng(SEED)
    sent = packets + [bytes([packet[0] ^ 1 << rng.integers(8)]) + packet[1:] for packet in packets]
    sent += [packet[:-1] for packet in packets] + [b"abc", b"\0\0\0\1"] + packets[:1]
    checker = CrcChecker()
    (taken,), _ = run_streams(checker, [(checker.i, symbols(sent))], [checker.o], stall=stall, seed=SEED)
    good = [*range(len(packets)), len(sent) - 1]
    expected = symbols([packet[:-4] for packet in sent], damaged=set(range(len(sent))) - set(good))
    assert plain(taken) == expected


def split_image(taken: list[int], beat: int, beats: int) -> list[bytes]:
    """The images that an InputLoader would make of the beats that it was given."""
    images, rows = [], []
    for item in taken:
        rows.append((item & (1 << 8 * beat) - 1).to_bytes(beat, "little"))
        if len(rows) == beats:
            assert item >> 8 * beat
            images.append(b"".join(rows))
        if len(rows) == beats or item >> 8 * beat:
            rows = []
    assert not rows
    return images


def request(kind: int, tag: int, payload: bytes = b"", version: int = VERSION) -> bytes:
    """As the reader gets it, without CRC."""
    return bytes([version, kind]) + tag.to_bytes(4, "little") + payload


def random_request(rng, tag: int, size: int) -> tuple[bytes, bool, int | None]:
    """(request, whether it arrives damaged, the reply's fault: 0 for the identity, None for an image to infer)."""
    image, more, less = rng.bytes(size), rng.bytes(rng.integers(1, 5)), int(rng.integers(size))
    return [
        (request(Kind.INFER, tag, image), False, None),
        (request(Kind.INFER, tag, image), True, Fault.DAMAGED),
        (request(Kind.INFER, tag, image[:less]), True, Fault.DAMAGED),
        (request(Kind.INFER, tag, image + more), True, Fault.DAMAGED),
        (request(Kind.INFER, tag, image[:less]), False, Fault.LENGTH),
        (request(Kind.INFER, tag, image + more), False, Fault.LENGTH),
        (request(Kind.INFER, tag, image, version=9), False, Fault.VERSION),
        (request(0x33, tag, image), False, Fault.KIND),
        (request(Kind.IDENTIFY, tag), False, 0),
        (request(Kind.IDENTIFY, tag, image), False, Fault.LENGTH),
        (request(Kind.INFER, tag)[:int(rng.integers(6))], True, Fault.DAMAGED),
    ][rng.choice(11, p=[0.3, *[0.07] * 10])]


@stalls
@pytest.mark.parametrize(("size", "beat"), [(1, 1), (2, 1), (3, 1), (12, 4), (4, 4), (8, 4), (9, 3), (40, 1)])
def test_request_reader(size, beat, stall):
    """Of requests good and bad in every way, the accelerator gets each good image and nothing else."""
    rng = np.random.default_rng([SEED, size, beat])
    dut = RequestReader(size, beat, 4)
    requests = {tag: random_request(rng, tag, size) for tag in range(1, 40)}
    sent = [symbol for content, damaged, _ in requests.values()
            for symbol in symbols([content], damaged=[0] if damaged else [])]
    taken, seen = run_streams(dut, [(dut.i, sent)], [dut.image, dut.tags, dut.replies], stall=stall, seed=SEED,
                              watch=[dut.fault, dut.done])
    beats, tags, replies = taken
    wanted = {tag: content[6:] for tag, (content, _, fault) in requests.items() if fault is None}
    assert split_image(beats, beat, size // beat) == list(wanted.values())
    assert tags == list(wanted)
    assert [(reply & 0xFFFFFFFF, reply >> 32) for reply in replies] == [
        (tag if len(content) >= 6 else 0, fault) for tag, (content, _, fault) in requests.items() if fault is not None]
    assert seen == [(int(bool(fault)), int(not fault)) for _, _, fault in requests.values()]


@pytest.mark.parametrize("beat", [2, 4])
def test_image_and_part_of_a_beat(beat):
    """Whatever is too much or too little of an image, to the byte: it is refused, and the next one is right."""
    size, image = 4 * beat, bytes(range(100))
    lengths = [length for length in range(size - 2 * beat, size + 2 * beat + 1) if length != size]
    dut = RequestReader(size, beat, len(lengths))
    sent = symbols([request(Kind.INFER, length, image[:each]) for length in lengths for each in (length, size)])
    (beats, tags, replies), _ = run_streams(dut, [(dut.i, sent)], [dut.image, dut.tags, dut.replies], stall=0,
                                            seed=SEED)
    assert (split_image(beats, beat, 4), tags) == ([image[:size]] * len(lengths), lengths)
    assert [(reply & 0xFFFFFFFF, reply >> 32) for reply in replies] == [(length, Fault.LENGTH) for length in lengths]


def test_bad_requests_never_hold_up_good_ones():
    """Nobody takes the replies; what does not fit their queue is dropped."""
    dut = RequestReader(3, 1, 4)
    sent = symbols([request(0x33, tag) for tag in range(9)] + [request(Kind.INFER, 77, b"abc")])
    (beats, tags), _ = run_streams(dut, [(dut.i, sent)], [dut.image, dut.tags], stall=0, seed=SEED)
    assert (split_image(beats, 1, 3), tags) == ([b"abc"], [77])


def test_overrun_is_reported_once():
    m, dut = Module(), RequestReader(3, 1, 4)
    m.submodules.dut = dut
    begun = Signal()
    m.d.sync += begun.eq(1)
    m.d.comb += dut.overrun.eq(~begun)
    sent = symbols([request(0x33, 1), request(Kind.INFER, 2, b"a"), request(Kind.INFER, 3, b"a")], damaged=[1, 2])
    (replies,), _ = run_streams(dut, [(dut.i, sent)], [dut.replies], stall=0, seed=SEED, top=m)
    assert [reply >> 32 for reply in replies] == [Fault.KIND, Fault.OVERRUN, Fault.DAMAGED]


def test_without_weights():
    """Every image is refused and forgotten; what is wrong with a request is told first."""
    m, dut = Module(), RequestReader(3, 1, 4)
    m.submodules.dut = dut
    m.d.comb += dut.unloaded.eq(1)
    sent = symbols([request(Kind.INFER, 1, b"abc"), request(Kind.INFER, 2, b"a"), request(Kind.IDENTIFY, 3)])
    (beats, tags, replies), _ = run_streams(dut, [(dut.i, sent)], [dut.image, dut.tags, dut.replies], stall=0,
                                            seed=SEED, top=m)
    assert [(reply & 0xFF, reply >> 32) for reply in replies] == [(1, Fault.WEIGHTS), (2, Fault.LENGTH), (3, 0)]
    assert (split_image(beats, 1, 3), tags) == ([], [])


@stalls
def test_answer_writer(stall):
    """Results keep their tags; replies come between them, whole."""
    rng = np.random.default_rng(SEED)
    identity = Identity(rng.bytes(16), (4, 5, 6), 7, 3)
    dut = AnswerWriter(identity)
    results = {int(tag): rng.bytes(rng.integers(1, 9)) for tag in rng.integers(0, 2**32, 8)}
    replies = [(int(tag), int(fault)) for tag, fault in zip(rng.integers(0, 2**32, 8), [0, 1, 2, 3, 4, 5, 0, 1],
                                                           strict=True)]
    (taken,), _ = run_streams(dut, [
        (dut.result, [byte | (place == len(result) - 1) << 8
                      for result in results.values() for place, byte in enumerate(result)]),
        (dut.tags, list(results)), (dut.replies, [tag | fault << 32 for tag, fault in replies]),
    ], [dut.o], stall=stall, seed=SEED)
    packets = bytes(symbol & 0xFF if symbol < END else 0xFF for symbol in taken)
    ends = [0, *(place + 1 for place, symbol in enumerate(taken) if symbol & END)]
    answers = [packets[begin:end - 1] for begin, end in pairwise(ends)]
    expected_results = [request(Kind.RESULT, tag, result) for tag, result in results.items()]
    expected_replies = [request(Kind.ERROR, tag, bytes([fault])) if fault else
                        request(Kind.IDENTITY, tag, identity.pack()) for tag, fault in replies]
    assert [answer for answer in answers if answer[1] == Kind.RESULT] == expected_results
    assert [answer for answer in answers if answer[1] != Kind.RESULT] == expected_replies


def damage(rng, line: bytes) -> bytes:
    """``line`` with one flaw: a byte flipped, lost, doubled or added, the end cut off, or noise behind it."""
    place = int(rng.integers(len(line)))
    return [
        line[:place] + bytes([line[place] ^ 1 << rng.integers(8)]) + line[place + 1:],
        line[:place] + line[place + 1:],
        line[:place] + line[place:place + 1] + line[place:],
        line[:place] + rng.bytes(1) + line[place:],
        line[:place],
        line + rng.bytes(rng.integers(1, 30)),
    ][rng.integers(6)]


@pytest.mark.parametrize("pipelined", [True, False])
@pytest.mark.parametrize("seed", fast([40, 17], 1))
def test_linked_accelerator(seed, pipelined):
    """A real network behind the link, every other request flawed: what is answered is right, what came whole is
    answered, and at the end all is in step."""
    rng = np.random.default_rng([SEED, seed])
    network, config, images = random_case(seed, 8)
    schedule = Schedule(network, config if pipelined else replace(config, requantisers=1, pipelined=False))
    dut = LinkedAccelerator(schedule, 4)
    logits = golden.run(network, images)
    expected, line = [], b""
    for tag, image in enumerate(images):
        content = Packet(Kind.INFER, tag, image.tobytes()).encode()
        expected.append((logits[tag].tobytes(), int(logits[tag].argmax())))
        line += damage(rng, content) if 0 < tag < len(images) - 1 and rng.random() < 0.5 else content
        if rng.random() < 0.3:
            line += Packet(Kind.IDENTIFY, 1000 + tag).encode()
    # What an image whose delimiter was lost runs into must not be the last one.
    line = line[:-len(content)] + b"\0" + content if line.endswith(content) else line
    heard = []
    for encoded in Splitter(10000).feed(line):
        try:
            heard.append(Packet.decode(encoded))
        except PacketError:
            heard.append(None)
    (taken,), _ = run_streams(dut, [(dut.i, list(line))], [dut.o], stall=0.1, seed=SEED,
                             idle=2 * CycleModel(schedule).cycles)
    answers = [Packet.decode(encoded) for encoded in Splitter(10000).feed(bytes(taken))]
    inferred = [packet.tag for packet in heard if packet and packet.kind == Kind.INFER]
    results = {answer.tag: answer.payload for answer in answers if answer.kind == Kind.RESULT}
    assert list(results) == inferred
    assert {0, len(images) - 1} <= results.keys()
    after = -1
    for tag, payload in results.items():
        values, (index, number, status) = payload[:network.result_bytes], Trailer.unpack(payload[network.result_bytes:])
        assert (values, index) == expected[tag]
        # Where frames are missing they were abandoned; a packet of which next to nothing came began none.
        assert number > after
        assert status == (Status.ABANDONED if number > after + 1 else 0)
        after = number
    for answer in answers:
        if answer.kind == Kind.IDENTITY:
            assert Identity.unpack(answer.payload) == Identity(
                digest(network), network.input_shape, network.result_bytes, 4)
        elif answer.kind == Kind.ERROR:
            assert answer.payload == bytes([Fault.DAMAGED])
    errors = sum(answer.kind == Kind.ERROR for answer in answers)
    assert min(1, heard.count(None)) <= errors <= heard.count(None)

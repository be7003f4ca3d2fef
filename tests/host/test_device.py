# SPDX-License-Identifier: Apache-2.0
"""The host against a device made of Python, on lines good and bad: each image ends in its result or a clear error."""

import contextlib
import os
import pty
import re
import threading
import time

import numpy as np
import pytest
from amaranth.sim import Simulator
from device import BadLine, PythonDevice, infer_under_faults, terminal
from networks import pointwise
from tepal.hdl import EngineConfig, Schedule
from tepal.hdl.answer import Status, Trailer
from tepal.hdl.link.packets import LinkedAccelerator
from tepal.hdl.link.protocol import Fault, Identity, Kind, Packet
from tepal.host.device import Device, HostError
from tepal.quant import digest
from tepal.sim import golden

SEED = 21
NETWORK = pointwise((3, 4, 2), 5)
FAULTS = 1000


def pictures(count: int, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(seed).integers(-128, 128, (count, *NETWORK.input_shape), np.int8)
    return images, golden.run(NETWORK, images)


def check(device: Device, count: int = 20) -> None:
    images, expected = pictures(count)
    logits, classes = device.infer(images)
    assert (logits == expected).all()
    assert (classes == expected.argmax(axis=1)).all()


@pytest.mark.parametrize("credit", [1, 3, 8, 255])
def test_good_line(credit):
    calls = []
    with PythonDevice(NETWORK, credit) as model, Device(model.port, timeout=5) as device:
        assert device.identify() == model.identity
        check(device, 100)
        device.infer(pictures(3)[0], lambda *call: calls.append(call))
        logits, classes = device.infer(pictures(0)[0])
        assert model.requests == 104
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert logits.shape == (0, NETWORK.result_bytes)
    assert classes.shape == (0,)


def test_bad_line():
    """1,000 faults both ways: bytes lost, doubled, flipped and added, packets cut short."""
    print("seed", SEED)
    line = BadLine(SEED, 400)
    timeout, attempts, batch = 0.3, 8, 200
    with PythonDevice(NETWORK, 8, line) as model, Device(model.port, timeout=timeout, attempts=attempts,
                                                         first_tag=SEED) as device:
        # Each attempt may take as long as the timeout (and this machine's own delays).
        infer_under_faults(device, line, NETWORK, faults=FAULTS, batch=batch, longest=attempts * batch * timeout + 30)


@pytest.mark.slow
def test_gateware():
    """The host and the accelerator's own link, simulated, over a line with faults."""
    line, credit = BadLine(SEED, 250), 3
    dut = LinkedAccelerator(Schedule(NETWORK, EngineConfig(2, 2, 2, (1, 1))), credit)
    done = threading.Event()

    async def carry(ctx):
        waiting, answer = bytearray(), bytearray()
        ctx.set(dut.o.ready, 1)
        while not done.is_set():
            if not waiting:
                with contextlib.suppress(BlockingIOError):
                    waiting += line(0, os.read(master, 4096))
            ctx.set(dut.i.valid, bool(waiting))
            ctx.set(dut.i.payload, waiting[0] if waiting else 0)
            _, _, ready, valid, byte = await ctx.tick().sample(dut.i.ready, dut.o.valid, dut.o.payload)
            if waiting and ready:
                del waiting[0]
            if valid:
                answer.append(byte)
                if not byte:
                    os.write(master, line(1, bytes(answer)))
                    answer.clear()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(carry)
    thread = threading.Thread(target=simulator.run)
    with terminal() as (master, port):
        os.set_blocking(master, False)
        thread.start()
        try:
            with Device(port, timeout=3, attempts=12, first_tag=SEED) as device:
                assert device.identify() == Identity(digest(NETWORK), NETWORK.input_shape, NETWORK.result_bytes, credit)
                check(device, 8)
        finally:
            done.set()
            thread.join(30)
    assert line.count


def test_credit_is_used_and_kept():
    """A device that answers only when its credit is used up: a host that waited for each answer would wait for ever."""
    held = []

    def behave(number, packet, answers):
        if packet.kind != Kind.INFER:
            return answers
        held.extend(answers)
        full = held[:] if len(held) == 4 else []
        del held[:len(full)]
        return full

    with Odd(behave) as model, Device(model.port, timeout=20) as device:
        check(device, 20)


class Odd(PythonDevice):
    """Answers as ``behave(request number, packet, answers)`` says."""

    def __init__(self, behave, credit: int = 4):
        super().__init__(NETWORK, credit)
        self.behave = behave

    def answer(self, packet):
        return self.behave(self.requests, packet, super().answer(packet))


def error(fault: int):
    return lambda packet: [Packet(Kind.ERROR, packet.tag, bytes([fault]))]


@pytest.mark.parametrize("fault", [Fault.DAMAGED, Fault.OVERRUN])
def test_reported_damage_is_sent_again_at_once(fault):
    def behave(number, packet, answers):
        return error(fault)(packet) if number in (3, 4, 9) else answers

    begun = time.monotonic()
    with Odd(behave) as model, Device(model.port, timeout=20) as device:
        check(device)
        assert model.requests == 24
    assert time.monotonic() - begun < 20


def test_loss_is_noticed_from_the_next_result():
    def behave(number, packet, answers):
        return [] if number in (3, 7, 8) else answers

    begun = time.monotonic()
    with Odd(behave) as model, Device(model.port, timeout=20) as device:
        check(device)
    assert time.monotonic() - begun < 20


def test_old_and_strange_answers_do_not_count():
    """Results to tags that nobody asked with, doubled results, and results that come after the host gave them up."""
    late = []

    def behave(number, packet, answers):
        if packet.kind == Kind.INFER and number % 5 == 0:
            late.extend(answers)
            return []
        wrong = Packet(Kind.RESULT, (packet.tag + 1000) % 2**32, bytes(NETWORK.result_bytes + Trailer.BYTES))
        return [wrong, *late, *answers, *answers]

    with Odd(behave) as model, Device(model.port, timeout=0.2) as device:
        check(device)


def test_abandoned_images_are_counted():
    """The device says before which results it abandoned damaged images; each other bit is another matter."""
    def behave(number, packet, answers):
        if packet.kind == Kind.INFER and number % 4 == 0:
            return [Packet(Kind.RESULT, packet.tag, answers[0].payload[:-1] + bytes([Status.ABANDONED]))]
        return answers

    with Odd(behave) as model, Device(model.port, timeout=5) as device:
        check(device)
        assert device.abandoned == sum(number % 4 == 0 for number in range(1, model.requests + 1))


def after_three(answer):
    """Well-behaved for three requests, then always ``answer(packet)``."""
    return lambda number, packet, answers: answer(packet) if number > 3 else answers


def result(payload: bytes):
    return lambda packet: [Packet(Kind.RESULT, packet.tag, payload)]


SILENT = "the device on PORT does not answer at 3,000,000 baud: is it programmed, and is that its rate?"
def test_slow_answers_count():
    """Each comes after the host has asked again: they are right all the same."""
    def behave(number, packet, answers):
        if packet.kind == Kind.INFER:
            time.sleep(0.3)
        return answers

    with Odd(behave, 1) as model, Device(model.port, timeout=0.2, attempts=3) as device:
        check(device, 4)


REFUSALS = {
    "version": (lambda number, packet, answers: [Packet(Kind.ERROR, packet.tag, bytes([Fault.VERSION]), 9)],
                "the device on PORT speaks version 9 of the protocol, and this is version 2: generate its design "
                "again"),
    "another shape": (after_three(error(Fault.LENGTH)),
                      "the device on PORT refuses images that it said it takes: it may have been programmed anew"),
    "weights": (after_three(error(Fault.WEIGHTS)),
                "the device on PORT could not load its weights: what its flash memory holds is damaged, or belongs to "
                "another design; write it again with tepal program"),
    "short result": (after_three(result(b"\1\2")),
                     "the device on PORT contradicts itself: a result of 2 bytes instead of 64"),
    "empty result": (after_three(result(b"")),
                     "the device on PORT contradicts itself: a result of 0 bytes instead of 64"),
    "wrong class": (after_three(result(bytes([0, 9, *[0] * 58, 3, 0, 0, 0]))),
                    "the device on PORT contradicts itself: it names class 3, its scores class 1"),
    "too long": (after_three(result(bytes([0, 9, *[0] * 58, 1, 0, 0, 1]))),
                 "the device on PORT contradicts itself: it says that an image of the right length was not (status "
                 "0x01)"),
    "cut off": (after_three(result(bytes([0, 9, *[0] * 58, 1, 0, 0, 0x82]))),
                "the device on PORT contradicts itself: it says that an image of the right length was not (status "
                "0x82)"),
    "silence": (after_three(lambda packet: []),
                "image NUMBER was sent to the device on PORT 2 times without a result, the last time not answered: "
                "the line is bad, or its rate wrong"),
    "damage": (after_three(error(Fault.DAMAGED)),
               "image NUMBER was sent to the device on PORT 2 times without a result, the last time damaged on the "
               "way: the line is bad, or its rate wrong"),
    "no identity": (lambda number, packet, answers: [], SILENT),
    "chatter": (lambda number, packet, answers: [Packet(Kind.RESULT, 5, b"x")] * 50, SILENT),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusals(name):
    behave, sentence = REFUSALS[name]
    with (Odd(behave) as model, Device(model.port, timeout=0.1, attempts=2, first_tag=99) as device,
          pytest.raises(HostError) as caught):
        check(device)
    assert re.sub(r"image \d+", "image NUMBER", str(caught.value)) == sentence.replace("PORT", model.port)


def test_wrong_model():
    other = pointwise((3, 4, 2), 6)
    with PythonDevice(NETWORK) as model, Device(model.port, timeout=5) as device:
        assert device.require(iter([other, NETWORK]), "mine.onnx") is NETWORK
        with pytest.raises(HostError, match=rf"^the device on {model.port} runs another model than other.onnx \(its "
                                            rf"identity is {digest(NETWORK).hex()[:8]}…\): program it"):
            device.require([other], "other.onnx")
        with pytest.raises(HostError, match=r"takes int8 images of \(3, 4, 2\), not int8 \(4, 4, 2\)"):
            device.infer(np.zeros((1, 4, 4, 2), np.int8))


def test_ports():
    with pytest.raises(HostError, match=r"^there is no port '/dev/none' \(found: .*\): is the board connected\?$"):
        Device("/dev/none")
    with pytest.raises(HostError, match=r"^the port what://x can't be opened"):
        Device("what://x")
    master, slave = pty.openpty()
    port = os.ttyname(slave)
    with Device(port, timeout=0.1) as device:
        with pytest.raises(HostError, match=f"^the port {port} is in use by another program$"):
            Device(port)
        os.close(master)
        with pytest.raises(HostError, match=rf"^the device on {port} is gone \(.+\)$"):
            device.identify()
    os.close(slave)


def test_device_goes_away():
    """Between one image and the next."""
    with PythonDevice(NETWORK) as model:
        device = Device(model.port, timeout=0.2, attempts=2)
        check(device)
    with pytest.raises(HostError, match="is gone"):
        check(device)
    device.close()

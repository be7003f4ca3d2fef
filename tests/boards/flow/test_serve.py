# SPDX-License-Identifier: Apache-2.0
"""The whole way, from the host's command through a serial port and the design's pins into the simulated board."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from device import BadLine, Proxy, PythonDevice, infer_under_faults
from networks import doubled, pointwise, random_case
from tepal.boards.flow import yosys
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.serve import BIT, patience, simulated_top
from tepal.boards.registry import get_board
from tepal.hdl import EngineConfig, Schedule, export_component
from tepal.hdl.link.debug_tap import Tracer
from tepal.hdl.link.protocol import Identity, Stage
from tepal.hdl.streamed import image_of
from tepal.host.compare import compare, find_first_mismatch
from tepal.host.device import Device, HostError
from tepal.host.traced import layer_map
from tepal.quant import digest, read_model
from tepal.sim import Server, SimulationError, golden

EXAMPLE = Path(__file__).parents[3] / "examples/cifar10"
MODEL = EXAMPLE / "models/small_0.25_32_int8.onnx"
SEED = 24
FAULTS = 1000
TIMEOUT = 5.0
"""Seconds; this computer may have other things to do."""

pytestmark = pytest.mark.rtl


def start(folder: Path, *more) -> tuple[subprocess.Popen, dict]:
    """``tepal simulate --serve --json`` with its temporary files in ``folder``, and what it prints."""
    command = [sys.executable, "-m", "tepal", "simulate", MODEL, "--board", "icebreaker", "--serve",
               "--json", *more]
    process = subprocess.Popen(command, env=os.environ | {"TMPDIR": str(folder)}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout
    return process, json.loads(process.stdout.readline())


def seconds_of_processor(process: int) -> float:
    """That all threads of a process have taken."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_idle(server: Server) -> None:
    """Until the simulated design has nothing more to do."""
    assert server.process
    taken = -1.0
    while (now := seconds_of_processor(server.process.pid)) > taken:
        taken = now
        time.sleep(2)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@pytest.mark.slow
def test_command(tmp_path, run):
    """The bundled pictures through the bundled model: every class and score as the golden model's."""
    network = read_model(MODEL)
    pictures = network.quantise_input(np.load(EXAMPLE / "pictures.npz")["images"])
    expected = golden.run(network, pictures)
    folder = tmp_path / "temporary"
    folder.mkdir()
    process, report = start(folder)
    try:
        assert (report["model"], report["board"]) == (str(MODEL), "icebreaker")
        for more in [], ["--compare"]:
            code, out, err = run("run", MODEL, EXAMPLE / "pictures.npz", "--port", report["port"], "--json",
                                 "--timeout", report["timeout"], *more)
            assert (code, err) == (0, "")
            result = json.loads(out)
            assert result["outputs"] == expected.tolist()
            assert result["classes"] == expected.argmax(axis=1).tolist()
        assert (result["different"], result["verdict"]) == (
            [], f"All {expected.size} results are equal to the golden model's.")
        simulator, = children(process.pid)
        time.sleep(1)
        begun = seconds_of_processor(simulator)
        time.sleep(1)
        assert seconds_of_processor(simulator) - begun < 0.1
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0
        assert not Path(f"/proc/{simulator}").exists()
        assert not list(folder.iterdir())
    finally:
        process.kill()
        process.wait()


def wrong_network():
    """A network of several stages, and the same with one weight changed, of a layer that is not the first."""
    network, engine, images = random_case(SEED, 8)
    layers = list(network.layers)
    weights = layers[WRONG].weights.copy()
    weights.flat[0] = -1 - weights.flat[0]
    layers[WRONG] = replace(layers[WRONG], weights=weights)
    return network, replace(network, layers=tuple(layers)), engine, images


WRONG = 1


@pytest.fixture(scope="module")
def wrong_server(tmp_path_factory):
    """A design with debug tap that says it is one network's and computes another, with one weight changed."""
    network, wrong, engine, _ = wrong_network()
    folder = tmp_path_factory.mktemp("wrong")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tepal.hdl.link.packets.digest", lambda _: digest(network))
        patch.setattr(Tracer, "WORDS", 13)
        top = simulated_top(Schedule(wrong, engine), debug=True)
        write_files(export_component(top, yosys.to_verilog).files(), folder)
    with Server(folder, BIT) as server:
        yield server


@pytest.mark.slow
def test_every_layer_is_traced_exactly(wrong_server):
    """The tap gives what the golden model of the changed network says; and of the unchanged one, the first layer,
    pixel and channel that differs."""
    network, wrong, engine, images = wrong_network()
    with Device(wrong_server.port, timeout=TIMEOUT) as device:
        assert device.identify() == Identity(digest(network), network.input_shape, network.result_bytes, 8)
        assert device.engine() == Schedule(wrong, engine).config
        for image in images[:2]:
            assert find_first_mismatch(device, Schedule(wrong, engine), image) is None
        for layer, wanted in enumerate(golden.run(wrong, images[:1], layers=True)):
            assert (layer_map(device, Schedule(wrong, engine), images[0], layer) == wanted[0]).all()
        expected, got = (golden.run(n, images, layers=True) for n in (network, wrong))
        logits, _ = device.infer(images)
        assert (logits == golden.run(wrong, images)).all()
        comparison = compare(device, network, images, logits)
        frame = comparison.different[0]
        assert comparison.different == np.flatnonzero((logits != golden.run(network, images)).any(axis=1)).tolist()
        place = np.argwhere(expected[WRONG][frame] != got[WRONG][frame])[0]
        mismatch = comparison.mismatch
        assert (mismatch.frame, mismatch.layer, *mismatch.pixel, mismatch.channel) == (frame, WRONG, *place)
        assert mismatch.expected == expected[WRONG][frame][tuple(place)]
        assert mismatch.got == got[WRONG][frame][tuple(place)]
        assert comparison.verdict == (
            f"{len(comparison.different)} of 8 images have other results than the golden model, image {frame} first; "
            f"frame {frame}: layer {WRONG} (layer{WRONG}) first differs at pixel {mismatch.pixel}, channel "
            f"{mismatch.channel}: {mismatch.got} instead of {mismatch.expected}")
        with pytest.raises(HostError, match=rf"^the device on {device.port} wrote only \d+ of 100000 words in the "
                                            "matrix stage of block 0$"):
            device.trace(images[0], 0, Stage.MATRIX, 100000)


@pytest.mark.slow
def test_two_words_are_traced(tmp_path):
    """Of an engine that writes more bytes at once than its lanes work on: every byte of every stage."""
    network, engine, images = random_case(SEED, 1, frugal=False)
    schedule = Schedule(network, doubled(engine, 2, 1, (3, 3)))
    write_files(export_component(simulated_top(schedule, debug=True), yosys.to_verilog).files(), tmp_path)
    with Server(tmp_path, BIT) as server, Device(server.port, timeout=TIMEOUT) as device:
        assert device.engine() == schedule.config
        assert find_first_mismatch(device, schedule, images[0]) is None
        for layer, wanted in enumerate(golden.run(network, images, layers=True)):
            assert (layer_map(device, schedule, images[0], layer) == wanted[0]).all()


@pytest.mark.slow
def test_bad_line(wrong_server):
    """1,000 faults both ways: every image ends in its result or a clear sentence, in bounded time."""
    print("seed", SEED)
    _, network, _, _ = wrong_network()
    line = BadLine(SEED, 400)
    with Proxy(wrong_server.port, line) as proxy, Device(proxy.port, timeout=0.3, attempts=8, first_tag=SEED) as device:
        infer_under_faults(device, line, network, faults=FAULTS, batch=50, longest=180)
    # And the good line finds the device in step.
    with Device(wrong_server.port, timeout=TIMEOUT) as device:
        _, _, _, images = wrong_network()
        assert (device.infer(images)[0] == golden.run(network, images)).all()


@pytest.mark.slow
def test_trace_on_a_bad_line(wrong_server):
    """Answers of the tap that are lost or damaged are asked for again."""
    network, wrong, engine, images = wrong_network()
    line = BadLine(SEED, 1500)
    with Proxy(wrong_server.port, line) as proxy, Device(proxy.port, timeout=0.3, attempts=20,
                                                         first_tag=SEED) as device:
        while line.count < 20:
            assert find_first_mismatch(device, Schedule(wrong, engine), images[0]) is None
        assert find_first_mismatch(device, Schedule(network, engine), images[0]).layer == WRONG


def test_no_tap():
    """Without one, the host says how to get it."""
    network, wrong, _, images = wrong_network()
    with PythonDevice(wrong) as model:
        model.identity = replace(model.identity, digest=digest(network))
        with Device(model.port, timeout=TIMEOUT) as device:
            logits, _ = device.infer(images)
            comparison = compare(device, device.require([network], "mine.onnx"), images, logits)
    assert comparison.mismatch is None
    assert re.fullmatch(r"\d of 8 images have other results than the golden model, image \d first; the device has no "
                        "debug tap to say in which layer: build its design with --debug", comparison.verdict)


@pytest.mark.slow
def test_weights_in_an_sdram(tmp_path):
    """They come from the flash memory; if that holds another image, the host is told."""
    network, config, images = random_case(SEED, 8)
    schedule = Schedule(network, replace(config, weight_words=2000, requantiser_cycles=1, lane_cycles=1))
    timing, image = replace(get_board("ulx3s-85f").memory.timing, pause=300), image_of(schedule).data
    write_files(export_component(simulated_top(schedule, sdram=timing), yosys.to_verilog).files(), tmp_path,
                also=Server.FILES)
    server = Server(tmp_path, BIT, image, timing)
    with server, Device(server.port, timeout=patience(schedule, timing) + TIMEOUT) as device:
        assert (device.infer(images)[0] == golden.run(network, images)).all()
    (tmp_path / Server.FILES[1]).write_bytes(image[:-1] + bytes([image[-1] ^ 1]))
    with server, Device(server.port, timeout=TIMEOUT) as device:
        # What was sent before it has failed for good would wait for ever.
        wait_until_idle(server)
        with pytest.raises(HostError, match="could not load its weights"):
            device.infer(images)


@pytest.mark.slow
def test_failures(tmp_path, wrong_server):
    (tmp_path / "tepal.v").write_text("module tepal(input nonsense")
    with pytest.raises(SimulationError, match=rf"^the simulator could not be built: see {tmp_path}/build.log$"):
        Server(tmp_path, BIT)
    assert (tmp_path / "build.log").read_text()
    with Server(wrong_server.directory, BIT) as server:
        assert server.process
        server.process.kill()
        with pytest.raises(SimulationError, match=r"^the simulator ended by itself \(exit code -9\)$"):
            server.wait()


@pytest.mark.parametrize(("more", "sentence"), [
    (["--serve", "--mean", "0.5"], "--mean does not go with --serve: images come over the port, from tepal run"),
    (["--serve", "--stalls", "3"], "--stalls does not go with --serve: images come over the port, from tepal run"),
    (["--input", EXAMPLE / "pictures.npz", "--debug"], "--debug goes with --serve: without it, every layer is "),
])
def test_refusals(refusal, more, sentence):
    assert sentence in refusal("simulate", MODEL, "--board", "icebreaker", *more)


def test_tap_costs_nothing_unless_built_in():
    schedule = Schedule(pointwise((3, 4, 2), 5), EngineConfig(2, 2, 2, (1, 1)))
    plain, debug = (export_component(simulated_top(schedule, debug=debug), lambda rtlil: rtlil).verilog
                    for debug in (False, True))
    built_in = r"trace|written\.depthwise"
    assert len(set(re.findall(built_in, debug))) == 2
    assert not re.search(built_in, plain)

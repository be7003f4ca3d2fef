# SPDX-License-Identifier: Apache-2.0
"""The networks of examples/cifar10: what their model card says of them, and their simulation."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from models import require_data
from onnx_models import integers, maps, real, run, step
from tepal.boards.flow.fit import default_engine
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.flow.shortage import require_fit
from tepal.boards.registry import BOARDS
from tepal.hdl import Schedule
from tepal.quant import Network, read_model
from tepal.sim import Build, accuracy, golden, simulate

EXAMPLE = Path(__file__).parents[2] / "examples/cifar10"
RESULTS = json.loads((EXAMPLE / "models/results.json").read_text())


def integer_network(name: str) -> Network:
    network = read_model(EXAMPLE / f"models/{name}_int8.onnx")
    assert isinstance(network, Network)
    # A pixel less 128 is its int8.
    assert (network.input_scale, network.input_zero_point) == (1 / 128, 0)
    return network


@pytest.fixture(scope="module")
def test_images() -> tuple[np.ndarray, np.ndarray]:
    """All test images, uint8 (10000, 32, 32, 3), and labels."""
    path = require_data("cifar10_jpeg.npz")
    sys.path.insert(0, str(EXAMPLE))
    from data import load

    return load(path, ["test"])["test"]


def codes_for(network: Network, images: np.ndarray) -> np.ndarray:
    """int8, in the network's size, of uint8 images (frames, 32, 32, 3)."""
    if network.input_shape[0] != 32:
        from data import resize

        images = resize(images, network.input_shape[0])
    return (images.astype(np.int16) - 128).astype(np.int8)


@pytest.mark.slow
@pytest.mark.model
def test_accuracy(test_images):
    """The bit-exact golden model over all test images, to the last one."""
    name, (images, labels) = "small_0.25_32", test_images
    network = integer_network(name)
    assert round(100 * accuracy(network, codes_for(network, images), labels), 2) == RESULTS[name]["int8"]


@pytest.mark.slow
@pytest.mark.model
@pytest.mark.parametrize("name", RESULTS)
def test_onnx_runtime_agrees(name, test_images):
    """An independent check of the written file: each layer within one step, and the class of 995 of 1,000 images."""
    network = integer_network(name)
    codes = codes_for(network, test_images[0][:1000])
    model = onnx.load(EXAMPLE / f"models/{name}_int8.onnx")
    # The file's own output is called logits, so the layer of that name has another one there.
    named = replace(network, layers=[*network.layers[:-1], replace(network.layers[-1], name=list(integers(model))[-1])])
    assert step(network, codes[:8], maps(model, named, real(network, codes[:8]))) <= 1
    for optimised in (False, True):
        (logits,) = run(model, real(network, codes), optimised=optimised, names=["logits"])
        same = logits.argmax(axis=1) == golden.run(network, codes).argmax(axis=1)
        assert same.mean() >= 0.995


@pytest.mark.rtl
@pytest.mark.slow
@pytest.mark.parametrize(("name", "board", "frames", "cycles"), [
    ("large_0.50_32", "ulx3s-85f", 2, 60_000), ("small_0.25_32", "icebreaker", 3, 46_000),
])
def test_simulation(name, board, frames, cycles, tmp_path, compile_for):
    """Pictures through the Verilog: no byte differs, no event is off its cycle."""
    compile_for(board)
    network = integer_network(name)
    images = network.quantise_input(np.load(EXAMPLE / "pictures.npz")["images"][:frames])
    schedule = Schedule(network, default_engine(BOARDS[board], network))
    require_fit(schedule, BOARDS[board])
    write_files(generate(schedule, BOARDS[board]), tmp_path)
    report = simulate(Build(tmp_path), schedule, images)
    assert len(images) == frames
    assert (report.mismatches, report.cycle_errors, report.problems) == (0, [], [])
    assert report.in_memory_cycles <= cycles

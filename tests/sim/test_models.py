# SPDX-License-Identifier: Apache-2.0
"""Published models on the boards' own engines: every byte, every cycle, and cycles within their goals."""

import numpy as np
import pytest
from litert import reference
from models import require_model
from tepal.boards.flow.fit import default_engine
from tepal.boards.flow.folder import write_files
from tepal.boards.flow.generate import generate
from tepal.boards.flow.shortage import require_fit
from tepal.boards.registry import BOARDS
from tepal.hdl import Schedule
from tepal.quant import read_tflite
from tepal.sim import Build, CycleModel, simulate

pytestmark = [pytest.mark.model, pytest.mark.rtl, pytest.mark.slow]


# The slowest first: with several workers they run side by side.
@pytest.mark.parametrize(("model", "board", "frames", "stalled", "goal"), [
    ("mlperf_vww_int8", "ulx3s-85f", 2, 1, 75_000),
    ("mlperf_kws_int8", "icebreaker", 2, 1, 180_000),
    ("mlperf_resnet8_int8", "ulx3s-85f", 2, 1, 50_800),
    ("tinymaix_mnist_dw_int8", "ulx3s-85f", 4, 2, 6_000),
])
def test_model(model, board, frames, stalled, goal, tmp_path, compile_for):
    compile_for(board)
    folder = require_model(model)
    network = read_tflite(folder / "model.tflite")
    images, published = np.load(folder / "inputs.npy"), np.load(folder / "outputs.npy")
    assert len(images) >= frames
    schedule = Schedule(network, default_engine(BOARDS[board], network))
    require_fit(schedule, BOARDS[board])
    write_files(generate(schedule, BOARDS[board]), tmp_path)
    build = Build(tmp_path)

    report = simulate(build, schedule, images[:frames])
    assert report.first_mismatch is None, report.first_mismatch.describe(network)
    assert (report.mismatches, report.cycle_errors) == (0, [])
    assert report.in_memory_cycles <= goal
    assert np.array_equal(network.softmax(report.outputs), published[:frames])

    report = simulate(build, schedule, images[frames - stalled:frames], stalls=frames)
    assert report.first_mismatch is None, report.first_mismatch.describe(network)
    assert report.mismatches == 0
    assert np.array_equal(network.softmax(report.outputs), published[frames - stalled:frames])


def test_goal():
    """Of keyword spotting, by the cycle model, which is exact wherever networks are simulated."""
    network, board = read_tflite(require_model("mlperf_kws_int8") / "model.tflite"), BOARDS["ulx3s-85f"]
    schedule = Schedule(network, default_engine(board, network))
    require_fit(schedule, board)
    assert CycleModel(schedule).in_memory_cycles <= 10_100


def test_vector(tmp_path, compile_quickly):
    """A fully connected network whose input is a vector of 640 bytes fits, and computes LiteRT's bytes."""
    model = (require_model("mlperf_ad01_int8") / "model.tflite").read_bytes()
    (tmp_path / "model.tflite").write_bytes(model)
    network, board = read_tflite(tmp_path / "model.tflite"), BOARDS["ulx3s-85f"]
    schedule = Schedule(network, default_engine(board, network))
    used = require_fit(schedule, board).used
    assert used["DP16KD"] <= 181
    assert CycleModel(schedule).in_memory_cycles <= 4_809
    folder = tmp_path / "core"
    write_files(generate(schedule, board), folder)
    images = np.random.default_rng(0).integers(-128, 128, (2, *network.input_shape), np.int8)
    report = simulate(Build(folder), schedule, images)
    assert (report.mismatches, report.cycle_errors) == (0, [])
    # The model takes real numbers, and quantises them itself.
    reals = ((images.astype(float) - network.input_zero_point) * network.input_scale).astype(np.float32)
    expected = reference(model, reals)[network.layers[-1].tensor]
    assert np.array_equal(report.outputs.reshape(expected.shape), expected)

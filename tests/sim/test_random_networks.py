# SPDX-License-Identifier: Apache-2.0
"""Random networks on random engines: every byte as the golden model says, every event in its cycle."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from graphs import graphs
from hypothesis import given, settings
from networks import doubled, fast, pointwise, random_case, wide_case
from tepal.boards.flow.yosys import to_verilog
from tepal.hdl import TOP, EngineConfig, Schedule, export_verilog
from tepal.hdl.answer import Status
from tepal.quant import Network
from tepal.sim import golden
from tepal.sim.simulate import Build, simulate

SEEDS = [2, 15, 40]
"""Of any kind of engine.  In 15 and 40 the first block is folded.  (tests/hdl/test_accelerator.py has more of them.)"""

FRUGAL = [100, 101, 102, 104, 105]
"""Of the kind that iCE40 parts get: each of its options is on in some and off in others, single-port memories with
serial requantisers and without among them."""

FRAMES = 3

pytestmark = [pytest.mark.rtl, pytest.mark.usefixtures("compile_quickly")]


def check(network: Network, config: EngineConfig, images: np.ndarray, directory: Path, stalls: int):
    schedule = Schedule(network, config)
    for name, text in export_verilog(schedule, to_verilog).files().items():
        (directory / name).write_text(text)
    build = Build(directory)
    report = simulate(build, schedule, images)
    assert report.first_mismatch is None, report.first_mismatch.describe(network)
    assert report.mismatches == 0
    assert report.cycle_errors == []
    assert simulate(build, schedule, images, stalls=stalls).mismatches == 0


def test_seeds():
    """What is said of them above."""
    engines = [random_case(seed, 1, frugal=True)[1] for seed in FRUGAL]
    assert {(e.single_port, e.pipelined) for e in engines} == {(a, b) for a in (False, True) for b in (False, True)}
    assert {(e.single_port, e.requantiser_cycles > 1) for e in engines} >= {(True, False), (True, True)}
    assert {e.lane_cycles > 1 for e in engines} == {False, True}


@pytest.mark.parametrize("seed", fast(SEEDS, 1))
def test_random_network(seed, tmp_path):
    check(*random_case(seed, FRAMES), tmp_path, stalls=seed)


@pytest.mark.parametrize("seed", fast(FRUGAL, 1))
def test_frugal_network(seed, tmp_path):
    """Weights are loaded from outside where memories have a single port."""
    check(*random_case(seed, FRAMES, frugal=True), tmp_path, stalls=seed)


@pytest.mark.parametrize("seed", fast([3, 40], 0))
def test_many_at_once(seed, tmp_path):
    """Results of two words, or two pixels, operands and columns are several at once; multipliers are the part's, and
    in requantisers too."""
    network, config, images = random_case(seed, FRAMES, frugal=False)
    config = replace(doubled(config, network.layers[0].output_shape[2], 1, (3, 3)), rows=4, packing=2, operands=2,
                     columns_abreast=2, logic_columns=1, requantiser_multiplier=18)
    check(network, config, images, tmp_path, stalls=seed)


@pytest.mark.parametrize("seed", fast([2], 0))
def test_wide_input(seed, tmp_path):
    """Vectors, and pixels of many channels: images in several narrow words a pixel."""
    check(*wide_case(seed, FRAMES), tmp_path, stalls=seed)


@pytest.mark.slow
def test_corner(tmp_path):
    """Many more columns than output channels: the drain passes over what is not there."""
    network = pointwise((2, 2, 3), 1)
    images = np.random.default_rng(0).integers(-128, 128, (FRAMES, *network.input_shape), np.int8)
    check(network, EngineConfig(2, 40, 2), images, tmp_path, stalls=0)


@pytest.mark.parametrize("stalls", fast([3, None], 1))
def test_wrong_lengths(stalls, tmp_path):
    """The generated Verilog, whole: frames too long and too short are told, and a reset within an answer ends it."""
    network, config, images = random_case(17, 9)
    schedule = Schedule(network, config)
    for name, text in export_verilog(schedule, to_verilog).files().items():
        (tmp_path / name).write_text(text)
    beats = images.reshape(len(images), -1).view(np.uint8).reshape(len(images), -1, config.input_bytes)
    frames = [[int.from_bytes(beat.tobytes(), "little") for beat in frame] for frame in beats]
    size = len(frames[0])
    lengths = [size, 1, size, size + 1, size - 1, size - 1, 3 * size, size, size + 2]
    frames = [(frame * 3)[:length] for frame, length in zip(frames, lengths, strict=True)]
    order = tmp_path / "bench.json"
    order.write_text(json.dumps({"frames": frames, "stalls": stalls, "cut": network.result_bytes + 1,
                                 "answers": sum(length >= size for length in lengths)}))
    build = Build(tmp_path)
    build._logged("run.log", lambda: build.runner.test(
        test_module="wrong_lengths", hdl_toplevel=TOP, test_dir=tmp_path, build_dir=build.folder,
        results_xml=str(tmp_path / "results.xml"),
        extra_env={"TEPAL_BENCH": str(order), "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}))
    seen = json.loads((tmp_path / "answers.json").read_text())

    answers = [logits.tobytes() + int(logits.argmax()).to_bytes(2, "little") for logits in golden.run(network, images)]
    status, expected = 0, []
    for number, length in enumerate(lengths):
        if length >= size:
            expected.append(answers[number] + bytes([number, status | Status.TOO_LONG * (length > size)]))
        status = Status.ABANDONED if length < size else 0
    assert [bytes.fromhex(packet) for packet in seen["packets"]] == [*expected, answers[0] + bytes(2)]
    assert bytes.fromhex(seen["begun"]) == answers[0][:network.result_bytes + 1]
    assert bytes.fromhex(seen["ended"]) == bytes([Status.CUT_OFF])
    assert (seen["errors"], seen["in_reset"]) == ([0, 1, 0], [False] * 2)


@pytest.mark.parametrize(("part", "frugal"), fast([*((part, False) for part in range(4)), (4, True), (5, True)], 1))
@settings(max_examples=2)
@given(graph=graphs())
def test_random_graph(part, frugal, graph, tmp_path_factory):
    """Residuals, tables of values, several outputs."""
    check(*graph.case(FRAMES, frugal=frugal), tmp_path_factory.mktemp("graph"), stalls=part)

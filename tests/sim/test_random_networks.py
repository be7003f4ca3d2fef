"""Random networks on random engines: every byte as the golden model says, every event in its cycle."""

from pathlib import Path

import numpy as np
import pytest
from networks import pointwise, random_case, wide_case
from tepal.boards.yosys import to_verilog
from tepal.hdl import EngineConfig, Schedule, export_verilog
from tepal.quant import Network
from tepal.sim.simulate import Build, simulate

SEEDS = [*range(32), 40]
"""In 15 and 40 the first block is folded."""

FRAMES = 3

pytestmark = pytest.mark.rtl


@pytest.fixture(scope="module", autouse=True)
def compile_quickly():
    """A few thousand cycles: optimising takes longer than it saves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAKEFLAGS", "OPT_FAST=-O0 VM_USER_CFLAGS=-O0")
        yield


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


@pytest.mark.parametrize("seed", SEEDS)
def test_random_network(seed, tmp_path):
    check(*random_case(seed, FRAMES), tmp_path, stalls=seed)


@pytest.mark.parametrize("seed", range(13))
def test_wide_input(seed, tmp_path):
    """Vectors, and pixels of many channels: images in several narrow words a pixel."""
    check(*wide_case(seed, FRAMES), tmp_path, stalls=seed)


@pytest.mark.parametrize(("network", "config"), [
    # Padding far larger than map and kernel: coordinates.
    (pointwise((1, 2, 3), 2, around=(40, 3, 0, 25), stride=(7, 5)), EngineConfig(2, 2, 2)),
    # Many more columns than output channels: the drain passes over what is not there.
    (pointwise((2, 2, 3), 1), EngineConfig(2, 40, 2)),
    # More channel groups than the input memory has words.
    (pointwise((1, 2, 40), 3), EngineConfig(3, 2, 1)),
    # One byte in, one byte out.
    (pointwise((1, 1, 1), 1), EngineConfig(1, 1, 1, window=(1, 1))),
], ids=["padding", "columns", "groups", "one"])
def test_corner(network, config, tmp_path):
    images = np.random.default_rng(0).integers(-128, 128, (FRAMES, *network.input_shape), np.int8)
    check(network, config, images, tmp_path, stalls=0)

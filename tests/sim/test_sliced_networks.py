# SPDX-License-Identifier: Apache-2.0
"""Networks in slices, simulated: every byte as the golden model says, every event in its cycle."""

from collections import Counter

import pytest
from engine_check import check
from graphs import sliced_case
from networks import fast
from tepal.boards.flow.yosys import to_verilog
from tepal.hdl import Schedule, export_verilog
from tepal.sim.simulate import Build, simulate

SEEDS = [43, 8, 10, 12, 14, 16, 22, 26, 42]
"""In the first one, the lanes' parameters are several words, to which each slice returns."""

FRAMES = 2


def test_seeds():
    """Slices of every kind are among them."""
    slices, engines = [], []
    for seed in SEEDS:
        network, config, _ = sliced_case(seed, 0)
        schedule = Schedule(network, config)
        counts = Counter(schedule.wholes)
        slices += [each for each, whole in zip(schedule.passes, schedule.wholes, strict=True) if counts[whole] > 1]
        engines.append(config)
    for kind in (lambda each: each.added is not None, lambda each: each.other is not None,
                 lambda each: each.work.output is not None, lambda each: each.reduces,
                 lambda each: each.work.source is None, lambda each: each.column_groups > 1):
        assert set(map(kind, slices)) == {False, True}
    assert {config.pipelined for config in engines} == {False, True}
    assert {config.columns % config.lanes == 0 for config in engines} == {False, True}
    assert {config.requantisers for config in engines} >= {1, 2, 3}


@pytest.mark.parametrize("seed", fast(SEEDS, 1))
def test_sliced_network(seed):
    """In Amaranth's simulator: the bytes, with waiting streams and without, and there the cycles of the model."""
    network, config, images = sliced_case(seed, FRAMES)
    schedule = Schedule(network, config)
    assert len(schedule.passes) > len(schedule.formats.passes)
    check(schedule, images, seed)


@pytest.mark.rtl
@pytest.mark.usefixtures("compile_quickly")
@pytest.mark.parametrize("seed", fast([12, 43], 0))
def test_verilog(seed, tmp_path):
    """What every stage writes, of layers that are reduced again for each slice too, and every layer's first and last
    cycle."""
    network, config, images = sliced_case(seed, FRAMES)
    schedule = Schedule(network, config)
    for name, text in export_verilog(schedule, to_verilog).files().items():
        (tmp_path / name).write_text(text)
    build = Build(tmp_path, schedule)
    report = simulate(build, schedule, images)
    assert report.first_mismatch is None, report.first_mismatch.describe(network)
    assert (report.mismatches, report.cycle_errors, report.problems) == (0, [], [])
    assert simulate(build, schedule, images, stalls=seed).mismatches == 0

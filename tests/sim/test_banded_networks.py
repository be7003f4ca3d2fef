# SPDX-License-Identifier: Apache-2.0
"""Networks in bands, simulated: every byte as the golden model says, every event in its cycle."""

from dataclasses import replace

import numpy as np
import pytest
from engine_check import check
from graphs import groups_in_any_order, groups_with_kept_rows, inverted_residuals
from networks import chain, fast, random_engine
from tepal.boards.flow.yosys import to_verilog
from tepal.hdl import EngineConfig, Schedule, export_verilog
from tepal.hdl.plan.bands import Group, aligned, lasts
from tepal.hdl.plan.descriptors import descriptor_memories
from tepal.hdl.plan.passes import covered
from tepal.hdl.plan.widths import Formats
from tepal.hdl.units.descriptor_table import DescriptorTable
from tepal.sim import run_engine
from tepal.sim.simulate import Build, simulate

SEEDS = [2, 0, 1, 3, 13]
"""Residuals, outputs in bands, engines with serial requantisers and without are among them."""

FRAMES = 2


def case(seed: int, frugal: bool | None = None):
    """(network, engine, formats, images, generator)."""
    rng = np.random.default_rng([seed, 7])
    network = inverted_residuals(rng)
    config = replace(random_engine(rng, network, frugal=frugal), single_port=False)
    return network, config, Formats(network), rng.integers(-128, 128, (FRAMES, *network.input_shape), np.int8), rng


def random_groups(rng, passes) -> tuple[Group, ...]:
    """All passes in bands of any height, one pass alone or several."""
    groups, number = [], 0
    while number < len(passes):
        last = int(rng.choice([number, *lasts(passes, number)]))
        groups.append(Group(number, last, int(rng.integers(1, passes[last].window.output_size[0] + 1))))
        number = last + 1
    return aligned(passes, groups)


@pytest.mark.parametrize("seed", fast(SEEDS, 1))
def test_random_groups(seed):
    network, config, formats, images, rng = case(seed)
    check(Schedule(network, config, formats, groups=random_groups(rng, formats.passes)), images, seed)


@pytest.mark.parametrize(("seed", "first", "rows"), fast(
    [(2, 1, 1), (2, 1, 6), (11, 0, 4)], 0))
def test_heights(seed, first, rows):
    """Few rows and many: an inverted residual to which its input is added, and one with the first convolution in its
    bands."""
    network, config, formats, images, _ = case(seed)
    assert 2 in lasts(formats.passes, first)
    assert rows < formats.passes[2].window.output_size[0]
    check(Schedule(network, config, formats, groups=[Group(first, 2, rows)]), images, rows)


@pytest.mark.parametrize("seed", fast([50, 6, 4, 13, 24, 8], 2))
def test_kept_rows(seed):
    """Maps that are rings of few rows: what is written goes over their ends, and in half of them windows do; some of
    these maps are added, or are sums, in rings of the skip memory."""
    network, config, formats, images, rng = case(seed)
    schedule = Schedule(network, config, formats, groups=groups_with_kept_rows(rng, formats.passes, config))
    over = [each.source.lap(rows.stop - 1) - each.source.lap(rows.start) for each in schedule.passes
            for rows in [covered(each.work.window, range(each.work.window.output_size[0]))]]
    assert any(over) or seed in (6, 13)
    assert any(each.target.lap(each.work.target_row) for each in schedule.passes)
    check(schedule, images, seed)


@pytest.mark.parametrize("seed", fast([34, 53, 3, 8, 40], 1))
def test_maps_upon_each_other(seed):
    """Bands that begin with the last rows, groups that go ahead before their last ones, and rows that lie where those
    of other maps, or of the one that is read, were."""
    network, config, formats, images, rng = case(seed)
    groups = groups_in_any_order(rng, formats.passes, config)
    schedule = Schedule(network, replace(config, activation_words=1), formats, groups=groups)
    assert any(group.upward or group.ahead is not None for group in groups)
    apart = Schedule(network, config, formats, groups=groups)
    assert schedule.bank_depth < apart.bank_depth
    check(schedule, images, seed)


@pytest.mark.parametrize("weight_words", fast([24, None], 0))
def test_a_chain_that_goes_down_and_up_in_turn(weight_words):
    """As it is chosen: each map lies upon the one before; weights from outside come again for each band."""
    network = chain((12, 2, 4), 12)
    schedule = Schedule(network, EngineConfig(4, 4, 4, activation_words=7, weight_words=weight_words))
    assert {bool(group.upward) for group in schedule.groups} == {True, False}
    images = np.random.default_rng(0).integers(-128, 128, (FRAMES, *network.input_shape), np.int8)
    check(schedule, images, 7)


@pytest.mark.parametrize("seed", fast([2, 3], 1))
def test_tables_in_memory(seed, monkeypatch):
    """Descriptors out of a memory, from the first cycle on and after a reset."""
    network, config, formats, images, rng = case(seed)
    schedule = Schedule(network, config, formats, groups=random_groups(rng, formats.passes))
    expected = run_engine(schedule, images, reset=(400, 1), answers=FRAMES - 1)
    monkeypatch.setattr(DescriptorTable, "MOST_ROWS", 1)
    assert len(descriptor_memories(schedule)) == 5 - (config.requantiser_cycles > 1)
    assert run_engine(schedule, images, reset=(400, 1), answers=FRAMES - 1) == expected
    assert len(expected.answers) == FRAMES - 1


@pytest.mark.rtl
@pytest.mark.usefixtures("compile_quickly")
@pytest.mark.parametrize(("seed", "frugal"), fast([(2, False), (3, True)], 0))
def test_verilog(seed, frugal, tmp_path, monkeypatch):
    """What every stage writes, of rows that are made twice too, and every layer's first and last cycle; descriptors
    lie in memories."""
    monkeypatch.setattr(DescriptorTable, "MOST_ROWS", 1)
    network, config, formats, images, rng = case(seed, frugal)
    schedule = Schedule(network, config, formats, groups=random_groups(rng, formats.passes))
    assert len(schedule.passes) > len(formats.passes)
    for name, text in export_verilog(schedule, to_verilog).files().items():
        (tmp_path / name).write_text(text)
    build = Build(tmp_path)
    report = simulate(build, schedule, images)
    assert report.first_mismatch is None, report.first_mismatch.describe(network)
    assert (report.mismatches, report.cycle_errors, report.problems) == (0, [], [])
    # Not what is done to results on their way to memory, which no stage writes by itself.
    written = {number for each in schedule.passes for number in (
        each.work.layer, each.work.reduction and each.work.reduction.layer) if number is not None}
    assert report.compared > sum(np.prod(network.layers[number].output_shape) for number in written) * FRAMES
    assert simulate(build, schedule, images, stalls=seed).mismatches == 0

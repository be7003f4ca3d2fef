# SPDX-License-Identifier: Apache-2.0
"""Passes in bands: every row is made, each window finds the rows that it covers, and the maps fit where they must."""

from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
import pytest
from graphs import groups_in_any_order, groups_with_kept_rows, inverted_residuals, residuals
from networks import chain, random_engine
from tepal.hdl import ConfigError, EngineConfig, Schedule
from tepal.hdl.plan import bands, places, rom_contents
from tepal.hdl.plan.bands import Group, aligned, banded, has_what_it_adds, lasts
from tepal.hdl.plan.passes import Window, covered
from tepal.hdl.plan.places import Lifetime, Strip, lifetimes, pack
from tepal.hdl.plan.widths import Formats
from tepal.quant import MobileNet, NetworkError
from tepal.sim import CycleModel
from tepal.sim.hazards import conflicts


def case(seed: int):
    """(network, engine with two ports to a memory, formats, generator)."""
    rng = np.random.default_rng(seed)
    network = inverted_residuals(rng)
    return network, replace(random_engine(rng, network), single_port=False), Formats(network), rng


def random_groups(rng, passes) -> tuple[Group, ...]:
    """Any passes in bands of any height that may be."""
    groups, number = [], 0
    while number < len(passes):
        last = int(rng.choice([number, *lasts(passes, number)]))
        if rng.random() < 0.8:
            groups.append(Group(number, last, int(rng.integers(1, passes[last].window.output_size[0] + 1))))
        number = last + 1
    return aligned(passes, groups)


def touched(work, pixel: tuple[int, int]) -> set[tuple[int, int]]:
    """Pixels of the layers' whole input that a window covers, for the pixel of the pass's own output."""
    window, found = work.window, set()
    for tap in np.ndindex(*window.kernel):
        y, x = (at * stride + origin + step for at, stride, origin, step in
                zip(pixel, window.stride, window.origin, tap, strict=True))
        if 0 <= y < window.input_shape[0] and 0 <= x < window.input_shape[1]:
            found.add((y, x))
    return found


@pytest.mark.parametrize("seed", range(40))
def test_parts_make_what_the_whole_makes(seed):
    """The same windows of the same pixels; rows of maps that are stored whole once, and all of them."""
    _, _, formats, rng = case(seed)
    groups = random_groups(rng, formats.passes)
    made, wholes = banded(formats.passes, groups)
    ends = {group.last for group in groups} | set(range(len(formats.passes))) - {
        number for group in groups for number in range(group.first, group.last + 1)}
    rows: dict[int, list[int]] = {}
    for number, (work, whole) in enumerate(zip(made, wholes, strict=True)):
        original = formats.passes[whole]
        assert (work.matrix, work.reduction) == (original.matrix, original.reduction)
        if work.other is not None:
            # The rows that are added are those of a part, or of a map that is whole.
            assert wholes[work.other] == original.other
            assert made[work.other].continues is None
        # Rows of the source map in the input of the layer: all, or those that another part made.
        offset = 0 if work.source is None or wholes[work.source] in ends else made[work.source].first_row
        for pixel in np.ndindex(*work.window.output_size):
            whole_pixel = (pixel[0] + work.first_row, pixel[1])
            assert {(y + offset, x) for y, x in touched(work, pixel)} == touched(original, whole_pixel)
        if whole in ends:
            rows.setdefault(whole, []).extend(range(work.rows.start, work.rows.stop))
            assert made[work.writes(number)].writes(0) == 0
            assert wholes[work.writes(number)] == whole
        if work.source is not None:
            assert wholes[work.source] == original.source
            assert made[work.source].continues is None
    assert rows == {whole: list(range(formats.passes[whole].window.output_size[0])) for whole in ends}


@pytest.mark.parametrize(("window", "rows", "expected"), [
    (Window((9, 9, 1), (9, 9), (3, 3), (1, 1), (-1, -1), 0), range(0, 3), range(0, 4)),
    (Window((9, 9, 1), (9, 9), (3, 3), (1, 1), (-1, -1), 0), range(3, 6), range(2, 7)),
    (Window((9, 9, 1), (9, 9), (3, 3), (1, 1), (-1, -1), 0), range(8, 9), range(7, 9)),
    (Window((9, 9, 1), (5, 5), (5, 5), (2, 2), (-2, -2), 0), range(1, 3), range(0, 7)),
    # Nothing but what lies beyond the edges.
    (Window((2, 2, 1), (9, 9), (1, 1), (1, 1), (-4, -4), 0), range(0, 2), range(0, 1)),
    (Window((2, 2, 1), (9, 9), (1, 1), (1, 1), (-4, -4), 0), range(7, 9), range(1, 2)),
])
def test_covered(window, rows, expected):
    assert covered(window, rows) == expected


@pytest.mark.parametrize("seed", range(30))
def test_no_conflicts(seed):
    """Words, cycles, everything: nothing is read that was not written for it."""
    network, config, formats, rng = case(seed)
    assert conflicts(Schedule(network, config, formats, groups=random_groups(rng, formats.passes))) == []


def test_bands_of_sums():
    """What is added is written in the order in which it is read: in equal bands, all along a chain of sums."""
    network = residuals((6, 5, 4), 3)
    formats, config = Formats(network), EngineConfig(4, 3, 2)
    adders = {number for number, work in enumerate(formats.passes) if work.other is not None}
    chained = adders | {formats.passes[number].other for number in adders}
    schedule = Schedule(network, config, formats, groups=[Group(max(adders), max(adders), 2)])
    assert schedule.groups == tuple(Group(number, number, 2) for number in sorted(chained))
    assert len(chained) == len(adders) + 1
    assert conflicts(schedule) == []


def test_every_height():
    """Of an inverted residual with its convolution in front, in a band each."""
    network, config, formats, _ = case(2)
    for last in range(len(formats.passes)):
        for rows in range(1, formats.passes[last].window.output_size[0] + 1):
            for first in (first for first in range(last + 1) if last in (first, *lasts(formats.passes, first))):
                groups = aligned(formats.passes, [Group(first, last, rows)])
                schedule = Schedule(network, config, formats, groups=groups)
                assert conflicts(schedule) == [], (first, last, rows)


# -- rows that are kept ------------------------------------------------------------------------------------


def keeping(seed: int):
    """(network, engine, formats, groups some of which keep rows)."""
    for attempt in range(seed, seed + 4000, 100):
        network, config, formats, rng = case(attempt)
        groups = groups_with_kept_rows(rng, formats.passes, config)
        if any(group.kept for group in groups):
            return network, config, formats, groups
    raise AssertionError("no group keeps rows")


@pytest.mark.parametrize("seed", range(40))
def test_kept_rows(seed):
    """Each row that is read is there, though others have been written over it; none is made twice."""
    _, _, formats, groups = keeping(seed)
    made, wholes = banded(formats.passes, groups)
    stored: dict[int, dict[int, int]] = {}
    for number, work in enumerate(made):
        original = formats.passes[wholes[number]]
        assert (work.matrix, work.reduction) == (original.matrix, original.reduction)
        if work.source is not None:
            assert made[work.source].continues is None
            window, map_, kept = work.window, stored[work.source], made[work.source].kept
            for row in covered(window, range(window.output_size[0])):
                assert map_[row % kept if kept else row] == row
        for row in range(work.rows.start, work.rows.stop):
            map_ = stored.setdefault(work.writes(number), {})
            assert row > max(map_.values(), default=-1)
            map_[row % work.kept if work.kept else row] = row
    for number, map_ in stored.items():
        kept = made[number].kept
        # Rows that no window covers need not be.
        assert len(map_) <= kept if kept else sorted(map_) == list(
            range(formats.passes[wholes[number]].window.output_size[0]))


@pytest.mark.parametrize("seed", range(40))
def test_no_conflicts_of_kept_rows(seed):
    network, config, formats, groups = keeping(seed)
    assert conflicts(Schedule(network, config, formats, groups=groups)) == []


def test_few_rows_of_what_is_added():
    """Of a chain of sums in one group two rows lie in the skip memory: the one that is added and the one after it, not
    all; with fewer words the replay would see one overwritten."""
    network = residuals((9, 5, 4), 2)
    formats, config = Formats(network), EngineConfig(4, 4, 4)
    last = max(number for number, work in enumerate(formats.passes) if work.other is not None)
    group = Group(0, last, 9, (3,) * last)
    assert has_what_it_adds(formats.passes, group)
    whole, rings = (Schedule(network, config, formats, groups=groups) for groups in ([], [group]))
    assert conflicts(rings) == []
    assert rings.skip_depth < whole.skip_depth
    with pytest.MonkeyPatch.context() as patch:
        original = places._stored_at_once
        patch.setattr(places, "_stored_at_once", lambda *each: original(*each) - 5)
        assert conflicts(Schedule(network, config, formats, groups=[group])) != []


def test_rows_that_are_added_but_never_made():
    """No window covers the last rows of the map that is added."""
    passes = Formats(residuals((6, 5, 4), 1)).passes
    adder = next(number for number, work in enumerate(passes) if work.other is not None)
    group = Group(passes[adder].other, adder, 6, (3,) * (adder - passes[adder].other))
    assert has_what_it_adds(passes, group)
    reader = passes[adder].other + 1
    higher = replace(passes[reader], window=replace(passes[reader].window, origin=(-1, 0)))
    assert not has_what_it_adds((*passes[:reader], higher, *passes[reader + 1:]), group)


def test_too_few_rows_kept(monkeypatch):
    """The replay sees a row that is overwritten before it has been read."""
    network, config, formats = chain((9, 5, 4), 3), EngineConfig(3, 4, 4), Formats(chain((9, 5, 4), 3))
    groups = [Group(0, 2, 9, (6, 6))]
    assert conflicts(Schedule(network, config, formats, groups=groups)) == []
    original = bands.banded
    monkeypatch.setattr("tepal.hdl.plan.input_ring.banded", lambda passes, groups: (
        tuple(replace(work, kept=work.kept and 3) for work in original(passes, groups)[0]),
        original(passes, groups)[1]))
    assert any("overwritten before it is read" in told
               for told in conflicts(Schedule(network, config, formats, groups=groups)))


@pytest.mark.parametrize("words", [420, 306])
def test_rows_are_kept_where_bands_need_more(words):
    """Of a band of a row, the maps in front are up to eleven rows high, and made again for most of them: 430 words."""
    network, config = MobileNet(alpha=0.25, resolution=64).network(), EngineConfig(8, 8, 4, requantisers=4)
    formats = Formats(network)
    whole, bands, rings = (Schedule(network, replace(config, activation_words=each), formats)
                           for each in (None, 430, words))
    assert not any(group.kept for group in bands.groups)
    assert any(group.kept for group in rings.groups)
    assert rings.bank_depth <= words
    assert CycleModel(rings).interval_cycles < 1.05 * CycleModel(whole).interval_cycles


# -- maps upon each other ----------------------------------------------------------------------------------


def upon_each_other(seed: int) -> Schedule:
    """Maps in as few words as there can be, of bands in any order."""
    for attempt in range(seed, seed + 4000, 100):
        network, config, formats, rng = case(attempt)
        groups = groups_in_any_order(rng, formats.passes, config)
        if any(group.upward or group.ahead is not None for group in groups):
            return Schedule(network, replace(config, activation_words=1), formats, groups=groups)
    raise AssertionError("no group begins with its last rows, and none goes ahead")


def share_words(schedule: Schedule) -> bool:
    """Whether maps that live at once have words in common."""
    works = [each.work for each in schedule.passes]
    spans = [(life, schedule.passes[number].target.region) for number, life in lifetimes(works).items()]
    return any(one.meets(other) and begin < behind and start < end
               for (one, (_, begin, end)), (other, (_, start, behind)) in combinations(spans, 2))


@pytest.mark.parametrize("seed", range(40))
def test_no_conflicts_of_maps_upon_each_other(seed):
    schedule = upon_each_other(seed)
    apart = Schedule(schedule.network, replace(schedule.config, activation_words=None), schedule.formats,
                     groups=schedule.groups)
    assert schedule.bank_depth < apart.bank_depth if share_words(schedule) else schedule.bank_depth <= apart.bank_depth
    assert conflicts(schedule) == []


def test_maps_often_lie_upon_each_other():
    assert sum(share_words(upon_each_other(seed)) for seed in range(20)) > 4


@pytest.mark.parametrize("seed", [12, 19, 39])
def test_rows_that_are_taken_too_early(seed, monkeypatch):
    """The replay sees it where a strip's last reader is forgotten."""
    original = places.strips
    monkeypatch.setattr(places, "strips", lambda *each: {
        number: [replace(strip, life=replace(strip.life, read=max(strip.life.written, strip.life.read - 1)))
                 for strip in pieces] for number, pieces in original(*each).items()})
    assert any("overwritten before it is read" in told for told in conflicts(upon_each_other(seed)))


def test_down_and_up_in_turn():
    """A chain of equal maps of four rows of banks, each of which lies upon the one before."""
    network, config = chain((12, 6, 4), 12), EngineConfig(4, 4, 4)
    whole, upon = (Schedule(network, replace(config, activation_words=words)) for words in (None, 14))
    assert whole.bank_depth == 16
    assert upon.bank_depth == 14
    ups = [group.upward > 0 for group in upon.groups if group.first == group.last]
    assert len(ups) > 1
    assert all(one != other for one, other in pairwise(ups))
    assert conflicts(upon) == []


def test_the_least_words_where_maps_lie_upon_each_other():
    """The last rows of the last map of a group lie where its rings were; and the plan keeps what it promises."""
    network = MobileNet(alpha=0.25, resolution=64).network()
    config = EngineConfig(8, 8, 4, requantisers=4, activation_words=305)
    formats = Formats(network)
    while True:
        try:
            schedule = Schedule(network, config, formats)
        except NetworkError as error:
            least = int(str(error).split("activation_words of ")[1].split()[0])
            break
        assert schedule.bank_depth <= config.activation_words
        config = replace(config, activation_words=schedule.bank_depth - 1)
    assert conflicts(schedule) == []
    assert config.activation_words < 290
    assert least > config.activation_words


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_stored_once(seed):
    network, config, formats, _ = case(seed)
    whole = Schedule(network, config, formats)
    parts = Schedule(network, config, formats,
                     groups=[Group(number, number, 1) for number in range(len(formats.passes))])
    assert len(parts.passes) > len(whole.passes)
    for contents in ("matrix_weights", "matrix_parameters", "depthwise_weights", "depthwise_parameters"):
        assert getattr(rom_contents, contents)(parts) == getattr(rom_contents, contents)(whole)


# -- where maps lie ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(50))
def test_packed_maps_share_no_word(seed):
    rng = np.random.default_rng(seed)
    lives = [Lifetime(number, number + int(rng.integers(6))) for number in range(20)]
    depths = [int(depth) for depth in rng.integers(1, 99, 20)]
    bases = pack([[Strip(0, depth, life)] for life, depth in zip(lives, depths, strict=True)])
    for one, other in np.ndindex(20, 20):
        apart = bases[one] + depths[one] <= bases[other] or bases[other] + depths[other] <= bases[one]
        assert one == other or apart or not lives[one].meets(lives[other])
    assert min(bases) == 0


def test_a_map_that_several_passes_write():
    _, _, formats, _ = case(2)
    made, wholes = banded(formats.passes, [Group(0, 1, 1)])
    writers = [number for number, whole in enumerate(wholes) if whole == 1]
    reader = next(number for number, work in enumerate(made) if work.source == writers[0])
    assert reader > writers[-1] > writers[0]
    lives = lifetimes(made)
    assert lives[writers[0]] == Lifetime(writers[0], reader)
    assert not lives.keys() & {*writers[1:]}


# -- which bands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
def test_activation_words(seed):
    """No more words than are asked for, down to the least; where there is room for all, nothing is in bands."""
    network, config, formats, _ = case(seed)
    whole = Schedule(network, config, formats)
    roomy = Schedule(network, replace(config, activation_words=whole.bank_depth), formats)
    assert roomy.groups == ()
    assert CycleModel(roomy).interval_cycles == CycleModel(whole).interval_cycles
    for words in range(whole.bank_depth - 1, 0, -3):
        try:
            schedule = Schedule(network, replace(config, activation_words=words), formats)
        except NetworkError as error:
            least = int(str(error).split("activation_words of ")[1].split()[0])
            assert least > words
            break
        assert schedule.bank_depth <= words
        assert conflicts(schedule) == []
    # Even the narrowest bands need a word.
    else:
        assert words <= 3


@pytest.mark.parametrize(("options", "message"), [
    ({"activation_words": 0}, r"activation_words must be a positive integer, not 0"),
    ({"activation_words": 1.5}, r"activation_words must be a positive integer, not 1.5"),
    ({"activation_words": 99, "single_port": True}, r"activation_words need memories with two ports"),
])
def test_impossible_words(options, message):
    with pytest.raises(ConfigError, match=message):
        EngineConfig(2, 2, 2, **options)


def test_too_few_words():
    """Nine words of a map that is whole, and three of a band."""
    network, config = chain((9, 9, 4), 6), EngineConfig(3, 4, 4, activation_words=12)
    assert Schedule(network, config).bank_depth == 12
    with pytest.raises(NetworkError, match=r"do not fit into 11 words .* choose activation_words of 12 or more"):
        Schedule(network, replace(config, activation_words=11))

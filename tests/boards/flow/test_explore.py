# SPDX-License-Identifier: Apache-2.0
"""The search for engines: a true front, exact cycles, options that reproduce, and refusals."""

import json
import re
import shlex
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from graphs import few_weights, graph_case, residuals
from models import require_model
from networks import pointwise, random_case
from tepal.boards.flow import routed
from tepal.boards.flow.bounds import OPTIONS, Engines, least_blocks, least_cycles
from tepal.boards.flow.explore import CLOSE, Point, candidates, explore, options
from tepal.boards.flow.fit import Fit, blocks, default_engine, fit
from tepal.boards.flow.lut_estimate import MARGIN, estimate, features, logic, table
from tepal.boards.registry import get_board
from tepal.hdl import EngineConfig, Formats, Schedule
from tepal.quant import MobileNet, Network, NetworkError, read_model
from tepal.sim import CycleModel

ROOT = Path(__file__).parents[3]
MODEL = ROOT / "examples/cifar10/models/small_0.25_32_int8.onnx"
BOARD = get_board("ulx3s-85f")


@pytest.fixture(scope="module")
def network() -> Network:
    result = read_model(MODEL)
    assert isinstance(result, Network)
    return result


@pytest.fixture(scope="module")
def formats(network) -> Formats:
    return Formats(network)


@pytest.fixture(scope="module")
def front(network, formats):
    return explore(network, BOARD, formats)


def bases(network) -> list[EngineConfig]:
    """What is not searched over: the board's own engine, and one that takes an operand at a time."""
    usual = replace(default_engine(BOARD, network), input_rows=None)
    return [usual, usual.plain]


def grid_of(network, formats, packing: int, most: int = 156, *, plain: bool = False):
    """Candidates, how many there are, and what makes a schedule of one's number."""
    base = replace(bases(network)[plain], rows=packing, packing=packing)
    grid = candidates(base, formats, most)

    def make(number: int) -> Schedule:
        engine = {name: int(getattr(grid, name)[number]) for name in OPTIONS if name != "packing"}
        return Schedule(network, replace(base, **engine), formats)
    return grid, len(grid.rows), make


def some(count: int, most: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, most, count).tolist()


def test_front(front):
    """Smaller is slower, all along."""
    assert len(front) > 10
    for smaller, larger in pairwise(front):
        assert smaller.logic < larger.logic
        assert smaller.in_memory_cycles > larger.in_memory_cycles
    assert all(point.fit.within({}) for point in front)


def test_nothing_beats_the_front(network, formats, front):
    """No engine, the default included, is smaller than all points that are as fast."""
    others = []
    for packing, plain in product((1, 2), (False, True)):
        _, count, make = grid_of(network, formats, packing, plain=plain)
        others += map(make, some(60, count, seed=1))
    for schedule in [*others, Schedule(network, default_engine(BOARD, network), formats)]:
        found = fit(schedule, BOARD)
        if found.within({}):
            cycles = CycleModel(schedule).in_memory_cycles
            assert any(point.logic <= found.used["LUT4"] and (1 - CLOSE) * point.in_memory_cycles <= cycles
                       for point in front), schedule.config


def test_exhaustive(network, formats):
    """With few multipliers and one number of lanes, looking at all engines finds the same front."""
    limits = {BOARD.part.multiplier: 4, "LUT4": 16_000}
    found = explore(network, BOARD, formats, limits=limits, fixed={"lanes": 3})
    points = set()
    for packing, plain in product((1, 2), (False, True)):
        grid, _, make = grid_of(network, formats, packing, 4, plain=plain)
        for schedule in map(make, np.flatnonzero(grid.lanes == 3)):
            if fit(schedule, BOARD).within(limits):
                points.add((fit(schedule, BOARD).used["LUT4"], CycleModel(schedule).in_memory_cycles))
    best = {point for point in points
            if not any(other != point and other[0] <= point[0] and other[1] <= point[1] for other in points)}
    got = {(point.logic, point.in_memory_cycles) for point in found}
    assert got <= best
    for size, cycles in best - got:
        assert any(other[0] <= size and (1 - CLOSE) * other[1] <= cycles for other in got)


def test_points_are_exact(network, front):
    """From nothing but the configuration: cycles of the model, resources of the estimate."""
    for point in front[::7]:
        schedule = Schedule(network, point.config)
        model = CycleModel(schedule)
        assert (point.in_memory_cycles, point.interval_cycles) == (model.in_memory_cycles, model.interval_cycles)
        assert point.fit == fit(schedule, BOARD)


@pytest.mark.parametrize(("cycles", "packing", "plain"), [(1, 1, False), (1, 1, True), (1, 2, True), (4, 1, False)])
def test_bounds(network, formats, cycles, packing, plain, monkeypatch):
    """Neither bound is above what it bounds; and that of cycles is near."""
    monkeypatch.setattr("test_explore.BOARD", replace(BOARD, config=replace(BOARD.config, lane_cycles=cycles)))
    grid, count, make = grid_of(network, formats, packing, plain=plain)
    least = least_cycles(grid, formats)
    parts = estimate(BOARD, features(grid, formats)).get("LUT4")
    ratios = []
    for index in some(100, count, seed=2):
        schedule = make(index)
        exact = CycleModel(schedule).in_memory_cycles
        assert least[index] <= exact, schedule.config
        ratios.append(least[index] / exact)
        if parts is not None:
            assert parts[index] <= logic(schedule, BOARD)["LUT4"] + 0.5
    assert np.median(ratios) > 0.9


@pytest.mark.parametrize("seed", [*range(40), 302])
def test_cycle_bound(seed):
    """Of any network; in the last one a pass reads nothing of what the last tiles before it write."""
    check_bounds(*random_case(seed)[:2])


@pytest.mark.parametrize("seed", range(40))
def test_bounds_of_graphs(seed):
    """Passes that read maps of any before them, and add others."""
    check_bounds(*graph_case(seed, frugal=None)[:2])


@pytest.mark.parametrize(("network", "config"), [
    *(graph_case(seed)[:2] for seed in range(8)),
    (residuals((3, 4, 4), 6), EngineConfig(2, 4, 4, (1, 1), requantisers=4)),
    (pointwise((1, 2, 64), 800), EngineConfig(2, 4, 4, (1, 1)))])
def test_bounds_of_weights_from_outside(network, config):
    """Weights and tables that are not all on the chip at once: the last networks have many of one of them."""
    check_bounds(network, few_weights(network, replace(config, weight_words=1)))


def check_bounds(network: Network, config: EngineConfig):
    schedule = Schedule(network, config)
    engines = Engines(config, **{name: np.array([getattr(config, name)]) for name in OPTIONS})
    assert least_cycles(engines, schedule.formats) <= CycleModel(schedule).in_memory_cycles
    board = get_board("icebreaker") if config.single_port else BOARD
    used = fit(schedule, board).used
    for kind, least in least_blocks(engines, schedule.formats, board).items():
        assert least <= used[kind]


@pytest.mark.parametrize("name", ["ulx3s-85f", "icebreaker"])
def test_memory_bound(name):
    """What all memories but the parameters' take is never below the bound, and it is near."""
    # Large maps: a word too many in each row is more blocks.
    network = MobileNet(0.25, 160, classes=10).network()
    formats, board, ratios = Formats(network), get_board(name), []
    base = replace(default_engine(board, network), rows=1, packing=1, activation_words=None, input_rows=None)
    grid = candidates(base, formats, (board.part.primitives or 0) * board.part.products)
    least = least_blocks(grid, formats, board)
    for number in some(60, len(grid.rows), seed=3):
        engine = {option: int(getattr(grid, option)[number]) for option in OPTIONS if option != "packing"}
        taken = dict.fromkeys(least, 0)
        for use in Schedule(network, replace(base, **engine), formats).memories:
            if not use.role.endswith("_parameters"):
                kind, count = blocks(board, use)
                taken[kind] += count
        assert all(least[kind][number] <= taken[kind] for kind in taken), engine
        ratios += [least[kind][number] / taken[kind] for kind in taken]
    assert np.median(ratios) > 0.8


@pytest.mark.parametrize(("mobilenet", "board", "begin"), [
    (MobileNet(0.5, 32, classes=10), "ulx3s-25f",
     "no engine makes the network fit ulx3s-25f: its weights alone are 812,768 bytes and all memories of LFE5U-25F "
     "hold 129,024; "),
    # The weights alone would fit.
    (MobileNet(0.25, 64, classes=10), "ulx3s-45f", "no engine that ulx3s-45f has room for runs this network; "),
])
def test_stops_at_once(mobilenet, board, begin, monkeypatch):
    """No engine is scheduled for a network that none has memory for; what would fit is said."""
    network = mobilenet.network()
    monkeypatch.setattr(Point, "of", classmethod(lambda *_: pytest.fail("an engine was scheduled")))
    with pytest.raises(NetworkError) as error:
        explore(network, get_board(board))
    assert str(error.value).startswith(begin)
    assert re.search(r"; 0\.\d+ times the model's width at \d+ x \d+ pixels( or .*)? would fit", str(error.value))


@pytest.mark.parametrize(("model", "engine"), [
    (MODEL, (4, 4, 2)), ("mlperf_kws_int8", (5, 3, 2)),
], ids=["cifar10", "kws"])
def test_icebreaker(model, engine):
    """The board's engines, or better ones, and smaller ones; each with the board's serial requantisers."""
    path = model if isinstance(model, Path) else require_model(model) / "model.tflite"
    network, board = read_model(path), get_board("icebreaker")
    formats = Formats(network)
    found = explore(network, board, formats)
    assert len({(point.config.rows, point.config.columns, point.config.lanes) for point in found}) > 5
    assert all(replace(point.config, rows=4, columns=4, lanes=2, copy_lanes=1) == replace(board.config, copy_lanes=1)
               for point in found)
    usual = Point.of(network, default_engine(board, network, formats), board, formats)
    assert (usual.config.rows, usual.config.columns, usual.config.lanes) == engine
    assert any(point.logic <= usual.logic and point.in_memory_cycles <= (1 + CLOSE) * usual.in_memory_cycles
               for point in found)


def test_formats_are_the_same_for_all(network, formats):
    """Requantisers that were fitted for another engine are those that this one would be given."""
    config = EngineConfig(2, 4, 2, requantisers=2)
    shared, own = Schedule(network, config, formats), Schedule(network, config)
    assert shared.matrix_format == own.matrix_format
    assert shared.depthwise_format == own.depthwise_format
    assert [each.start for each in shared.passes] == [each.start for each in own.passes]
    assert Schedule(network, replace(config, lane_cycles=4), formats).depthwise_format != own.depthwise_format


@pytest.mark.parametrize("family", table())
def test_estimates(family):
    """Every engine that was synthesised is estimated within the margin, each of its large parts too."""
    assert len(table()[family]["engines"]) >= 4
    for engine in table()[family]["engines"]:
        for kind in range(2):
            counted, off = (sum(part[kind] for part in engine[key].values()) for key in ("counted", "off"))
            assert abs(off) <= MARGIN * counted


def test_estimate_grows(network, formats):
    """More of anything is never less logic."""
    base = EngineConfig(2, 4, 2, requantisers=2, spread=2)
    size = logic(Schedule(network, base, formats), BOARD)["LUT4"]
    for more in ({"rows": 3}, {"columns": 8}, {"lanes": 4}, {"lanes": 4, "columns": 4, "requantisers": 4},
                 {"input_bytes": 4}, {"copy_lanes": 9}):
        assert logic(Schedule(network, replace(base, **more), formats), BOARD)["LUT4"] > size


def test_too_much_logic_is_refused(run):
    """Before synthesis, and only if the estimate leaves no doubt."""
    code, out, err = run("estimate", MODEL, "--board", "ulx3s-85f", "--rows", 1, "--columns", 24, "--lanes", 24,
                         "--requantiser-multiplier", 0, "--json")
    report = json.loads(out)
    assert (code, report["fits"]) == (2, False)
    assert report["used"]["LUT4"] > report["available"]["LUT4"] == 83_640
    assert f"by estimate it needs {report['used']['LUT4']:,} LUT4, and LFE5U-85F has 83,640" in err
    assert Fit({"LUT4": 105, "FF": 1}, {"LUT4": 100, "FF": 100}).ok
    assert not Fit({"LUT4": 105, "FF": 1}, {"LUT4": 100, "FF": 100}).within({})
    assert not Fit({"LUT4": 111, "FF": 1}, {"LUT4": 100, "FF": 100}).ok


def test_command(run, network):
    """One object; the options of a point are those that make ``estimate`` say the same."""
    code, out, err = run("explore", MODEL, "--board", "ulx3s-85f", "--clock", 100, "--limit", "LUT4=30000", "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["front"]
    assert report["clock_mhz"] == 100
    assert all(entry["used"]["LUT4"] <= 30_000 for entry in report["front"])
    # The smallest take one operand at a time, the fastest do as the board's own engine does.
    assert {entry["engine"]["operands"] for entry in report["front"]} == {1, BOARD.config.operands}
    entries = [report["front"][0], report["front"][-1], report["default"]]
    assert [entry["default"] for entry in entries] == [False, False, True]
    for entry in entries:
        code, out, _ = run("estimate", MODEL, "--board", "ulx3s-85f", *shlex.split(entry["options"]), "--json")
        told = json.loads(out)
        assert code == 0
        assert told["in_memory_cycles"] == entry["in_memory_cycles"]
        assert told["interval_cycles"] == entry["interval_cycles"]
        assert told["used"] == entry["used"]
        assert entry["in_memory_ms"] == pytest.approx(entry["in_memory_cycles"] / 100e3)
    assert report["default"]["options"] == options(default := default_engine(BOARD, network), default)


def test_what_is_printed(run, tmp_path, monkeypatch):
    argv = ["explore", MODEL, "--board", "ulx3s-85f", "--columns", 8, "--points", 5]
    monkeypatch.setattr(routed, "ROUTED", tmp_path / "routed.json")
    routed.ROUTED.write_text("{}")
    code, out, err = run(*argv)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].split() == ["cycles", "MULT18X18D", "DP16KD", "LUT4", "FF", "engine"]
    assert all("--columns 8 " in line or line.endswith("(default)") for line in lines[1:-1])
    assert 4 <= len(lines[1:-1]) <= 6
    assert "There is no clock" in lines[-1]
    routed.ROUTED.write_text(json.dumps({"ulx3s-85f": {"clock_mhz": 50.0, "design": "another one"}}))
    lines = run(*argv)[1].splitlines()
    assert lines[0].split()[:2] == ["cycles", "ms"]
    cycles, latency = lines[1].split()[:2]
    assert float(latency) == pytest.approx(int(cycles.replace(",", "")) / 50e3, abs=1e-3)
    assert "50.00 MHz, which another one reached after routing" in lines[-1]


def test_part(run):
    """Within the limits of a part; no engine is the generic board's own, and the options make the same engine there."""
    argv = [MODEL, "--board", "generic", "--part", "5CEBA4", "--json"]
    code, out, err = run("explore", *argv, "--columns", 4, "--limit", "ALM=9000")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert (report["part"], report["default"]) == ("5CEBA4", None)
    assert report["available"] == {"DSP block": 66, "M10K": 308, "ALM": 18_480, "FF": 73_920}
    assert not any(entry["default"] for entry in report["front"])
    for entry in report["front"][0], report["front"][-1]:
        told = json.loads(run("estimate", *argv, *shlex.split(entry["options"]))[1])
        assert told["in_memory_cycles"] == entry["in_memory_cycles"]
        assert told["used"] == entry["used"]
        assert entry["used"]["ALM"] <= 9000


@pytest.mark.parametrize(("argv", "sentence"), [
    (["--board", "generic"], "generic has no limits to look for engines within: give its --part, such as XC7A35T, or "
                             "name a board that has"),
    (["--board", "generic", "--part", "XC7A36T"], "there is no part 'XC7A36T'; did you mean XC7A35T"),
    (["--board", "ulx3s-85f", "--part", "XC7A35T"],
     "--part goes with --board generic: ulx3s-85f has a part of its own"),
    (["--board", "generic", "--part", "XC7A35T", "--limit", "LUT4=9000"],
     "generic has no LUT4 to limit; it has DSP48E1, RAMB18, LUT, FF"),
    (["--board", "tangnano20k"],
     "the logic that engines take of GW2AR-18C has not been measured: name another board"),
    (["--board", "generic", "--part", "XC7A35T", "--build"], "the board generic is no board to build for"),
    (["--board", "ulx3s-85f", "--limit", "LUT=3"], "ulx3s-85f has no LUT to limit; it has MULT18X18D, DP16KD, "),
    (["--board", "ulx3s-85f", "--limit", "LUT4=300"],
     "no engine with at most 300 LUT4 that ulx3s-85f has room for runs this network\n"),
    (["--board", "ulx3s-85f", "--limit", "MULT18X18D=0"], "no engine with at most 0 MULT18X18D that ulx3s-85f "),
    (["--board", "ulx3s-85f", "--rows", "0", "--limit", "LUT4=60000"],
     "no engine with 0 rows and at most 60,000 LUT4 that ulx3s-85f has room for runs this network\n"),
    (["--board", "ulx3s"], "there is no board 'ulx3s'; did you mean"),
])
def test_refused(refusal, argv, sentence):
    assert sentence in refusal("explore", MODEL, *argv)


def test_several_operands(run):
    """Engines of arrays that take several operands of a sum at once: as many multipliers as there are, and options that
    reproduce them, also where there are more requantisers than lanes."""
    argv = [MODEL, "--board", "ulx3s-85f", "--json"]
    given = ["--packing", 2, "--operands", 4, "--logic-columns", 1, "--columns-abreast", 2]
    code, out, _ = run("explore", *argv, *given)
    front = json.loads(out)["front"]
    assert code == 0
    assert any(entry["engine"]["requantisers"] == 2 * entry["engine"]["lanes"] for entry in front)
    for entry in front:
        assert entry["used"]["MULT18X18D"] <= 156
        assert entry["engine"]["columns"] % 2 == 0
    again = json.loads(run("estimate", *argv, *front[-1]["options"].split())[1])
    assert again["in_memory_cycles"] == front[-1]["in_memory_cycles"]
    assert again["engine"] | {"operands": 4, "logic_columns": 1, "columns_abreast": 2} == again["engine"]


def test_usage(run):
    for argv in (["--limit", "LUT4"], ["--limit", "LUT4=many"], ["--clock", "nan"], ["--points", "0"]):
        code, out, err = run("explore", MODEL, "--board", "ulx3s-85f", *argv)
        assert (code, out) == (2, "")
        assert err.startswith(f"tepal explore: argument {argv[0]}: ")
        assert err.count("\n") == 1

# SPDX-License-Identifier: Apache-2.0
"""The scripts in ``benchmarks/``: pages say what was measured, and commands are ones that ``tepal`` takes."""

import importlib.util
import json
import re
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
from tepal.boards.registry import get_board
from tepal.cli.main import parser
from tepal.hdl import Formats, Schedule
from tepal.scheduler import Threads
from tepal.sim import CycleModel

ROOT = Path(__file__).parents[1]


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"benchmarks/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


bench, boards, growth, calibrate, suite, published, residual, full_size, scale, place_and_route, soak = (
    script(name) for name in ("bench", "boards", "growth", "calibrate", "suite", "published", "residual", "full_size",
                              "scale", "place_and_route", "soak"))


def test_pages():
    """The committed pages are those that the committed figures make."""
    assert bench.PAGE.read_text() == bench.page(json.loads(bench.RESULTS.read_text()))
    assert boards.PAGE.read_text() == boards.page(boards.read_results())
    assert full_size.PAGE.read_text() == full_size.page(
        full_size.read_results(), full_size.read_results(full_size.SCHEDULED))
    assert growth.FIGURE.with_suffix(".md").read_text() == growth.page(json.loads(growth.RESULTS.read_text()))
    assert published.PAGE.read_text() == published.page(json.loads(published.RESULTS.read_text()))
    assert scale.PAGE.read_text() == scale.page(scale.PAGE.read_text(), json.loads(scale.RESULTS.read_text()))
    assert residual.TABLE.read_text() == residual.page(json.loads(residual.RESULTS.read_text()))
    assert residual.FIGURE.read_text() == residual.drawing(json.loads(residual.RESULTS.read_text()))


def test_routed():
    """A clock is told of the design that was simulated, and of no other; frames a second follow from both."""
    found = {"engine": {"rows": 9, "columns": 16}, "interval_cycles": 1_000_000, "predicted_interval_cycles": 1_000_001}
    report = {"board": full_size.BOARD, "interval_cycles": 1_000_001, "fmax_mhz": 85.2, "clock_mhz": 83.333333,
              "passed": True, "used": {"lut": 50_000, "ff": 2, "dsp": 3, "bram": 4}, "available": {}, "tools": {},
              "critical_path": None, "seeds": [{}]}
    told = {"net": found | {"routed": full_size.routed(found, report)}}
    line = "| net | 9 x 16 | 1,000,000 | 50,000 | 2 | 3 | 4 | 85.20 | 83.33 | yes | 83.3 |"
    assert line in full_size.routed_page(told).splitlines()
    assert full_size.routed_page({"net": found}) == ""
    for other in ({"interval_cycles": 1_000_000}, {"board": "ulx3s-45f"}):
        with pytest.raises(SystemExit, match="build what was simulated"):
            full_size.routed(found, report | other)


def test_scale():
    """What was found is what the cycle model says now; a page has every table, and what it says of many engines follows
    from one."""
    points = json.loads(scale.RESULTS.read_text())
    assert [(point["network"], point["budget"]) for point in points] == [
        (name, budget) for name in scale.NETWORKS for budget in scale.BUDGETS]
    assert re.findall("<!-- scale: (.+), (.+) -->", scale.PAGE.read_text()) == [
        (table, name) for name in scale.NETWORKS for table in scale.TABLES]
    for name, architecture in scale.NETWORKS.items():
        network = architecture.network()
        formats = Formats(network)
        for point in scale.row_of(points, name):
            shape = scale.Shape(point["rows"], point["columns"], point["lanes"])
            model = CycleModel(Schedule(network, shape.config(), formats))
            assert (model.interval_cycles, model.in_memory_cycles) == (
                point["interval_cycles"], point["in_memory_cycles"])
            assert shape.multipliers == point["multipliers"] <= point["budget"]
        for budget, point, count in scale.several(points, name):
            assert count * point["multipliers"] <= budget
            assert count / point["interval_cycles"] >= 1 / next(
                each["interval_cycles"] for each in scale.row_of(points, name) if each["budget"] == budget)
    # Twice the engines, or a network of twice the weights: twice the bandwidth.
    small = {"network": "n", "budget": 10, "multipliers": 10, "interval_cycles": 1000, "in_memory_cycles": 1200,
             "weight_bytes": 2000}
    large = {**small, "budget": 40, "multipliers": 40, "interval_cycles": 500}
    cells = [line.split(" | ")[1:] for line in scale.side_by_side([small, large], "n").splitlines()[2:]]
    assert cells == [["1", "10", "1,000.0", "1.00", "1,200", "0.0", "0.20", "0.20", "0.001 |"],
                     ["4", "10", "4,000.0", "2.00", "1,200", "0.0", "0.80", "0.20", "0.003 |"]]


def test_shares_of_place_and_route():
    """They are those of the measured builds; what was left was missed by no more than a factor of three."""
    table = json.loads(place_and_route.TABLE.read_text())
    assert table == place_and_route.table(table["builds"])
    assert max(table["errors"].values()) < 3
    even, late = {"placing": 10, "refining": 10, "routing": 10}, {"placing": 1, "refining": 1, "routing": 2}
    assert place_and_route.shares({"a": even, "b": late}) == {"placing": 0.292, "refining": 0.292, "routing": 0.417}
    # After placing 2 s are told, and 3 are left; after refining 1 and 2.
    assert place_and_route.error(late, place_and_route.shares({"a": even})) == pytest.approx(2, abs=0.02)
    assert place_and_route.nextpnr_log.stage_seconds(
        "Info: HeAP Placer Time: 47.96s\nInfo: SA placement time 154.40s\nInfo: Router2 time 102.70s\n"
        "Info: Router1 time 5.59s\n") == {"placing": 47.96, "refining": 154.4, "routing": 108.29}


def test_soak(capsys, monkeypatch):
    """Seeds that fail are told, and so is one of a network that can't be made."""
    monkeypatch.setattr(soak, "failure", lambda tests, board, seed: "wrong" if seed == 4 else None)
    monkeypatch.setattr(sys, "argv", ["soak.py", "3", "--first", "3"])
    with pytest.raises(SystemExit) as ended:
        soak.main()
    assert ended.value.code == 1
    assert capsys.readouterr().out.splitlines() == ["seed 4: wrong", "2 of 3 networks are right"]
    monkeypatch.undo()
    monkeypatch.setattr(soak, "export_verilog", lambda *_: 1 // 0)
    assert soak.failure(str(ROOT / "tests"), None, 3) == "ZeroDivisionError: integer division or modulo by zero"


def test_residuals_at_equal_cycles():
    """The three networks take as many cycles, within 3 %, and those that the page says; each was trained alike."""
    results = json.loads(residual.RESULTS.read_text())
    counted = {kind: residual.cycles(architecture) for kind, architecture in residual.KINDS.items()}
    assert counted == {kind: network["cycles"] for kind, network in results["networks"].items()}
    assert max(counted.values()) <= 1.03 * min(counted.values())
    assert {(run["epochs"], run["batch"], run["rate"]) for run in results["runs"]} == {
        (residual.EPOCHS, residual.BATCH, residual.RATE)}


def test_published_networks():
    """Both exporters' files of all of them: the numbers read are ONNX Runtime's, up to rounding; what is refused is
    refused for squeeze-and-excitation."""
    networks = json.loads(published.RESULTS.read_text())["networks"]
    assert {name: [*found] for name, found in networks.items()} == {
        name: [*published.EXPORTERS] for name in published.NETWORKS}
    for name, found in networks.items():
        for told in found.values():
            if name == "mobilenet_v3_small":
                assert "as squeeze-and-excitation does" in told["refused"]
            else:
                assert told["difference"] < 1e-4
                assert told["sqnr_db"] > told["onnx_runtime_db"]


def test_tables_in_other_pages():
    """README and docs hold what the committed figures make of their marked tables; one follows when those change."""
    results = json.loads(bench.RESULTS.read_text())
    for path in bench.PAGES:
        assert path.read_text() == bench.filled(path.read_text(), results), path
    tables = (ROOT / "docs/measured.md").read_text()
    assert tables.count("<!-- make bench: ") == tables.count("<!-- end -->") == len(bench.TABLES)
    boards = (ROOT / "docs/bundled_boards.md").read_text()
    assert f"| `icebreaker` | {get_board('icebreaker').part.name} | 4 x 4 array" in boards
    assert "| KWS | `icebreaker` |" in (ROOT / "README.md").read_text()
    results["vww-simplified"]["simulate"]["in_memory_cycles"] += 1
    changed = bench.filled(tables, results)
    # No other build is taken for that of the engine that is simulated now.
    begin = "| VWW, dead channels removed | `ulx3s-85f` | 256"
    before, after = (next(line for line in text.splitlines() if line.startswith(begin))
                     for text in (tables, changed))
    assert int(after.split("|")[4].replace(",", "")) == int(before.split("|")[4].replace(",", "")) + 1
    assert changed.count(bench.MISSING) == tables.count(bench.MISSING) + 7


def test_marks():
    """A table is written between its marks, and only there; a wrong name is a mistake."""
    text = "a\n<!-- make bench: cycles of kws -->\nold\n<!-- end -->\nb\n"
    filled = bench.filled(text, {})
    assert filled.startswith("a\n<!-- make bench: cycles of kws -->\n|  | board |")
    assert filled.endswith("\n<!-- end -->\nb\n")
    assert "old" not in filled
    assert filled.count(bench.MISSING) == 4
    assert bench.filled(filled, {}) == filled
    for wrong in (text.replace("cycles", "circles"), text.replace("kws", "kwz")):
        with pytest.raises(KeyError):
            bench.filled(wrong, {})


def test_nothing_is_invented():
    """Without results there is no figure of ours; a build of another engine than the simulated one is none."""
    assert "ms**" not in bench.page({})
    ours = [line for line in bench.page({}).splitlines() if any(f"| **{row.title}" in line for row in bench.ROWS)]
    assert len(ours) == len(bench.ROWS)
    assert all(line.count(bench.MISSING) == 6 for line in ours)
    row = bench.ROWS[0].name
    results = json.loads(bench.RESULTS.read_text())[row]
    made = {"command": "", "revision": "", "in_memory_cycles": results["simulate"]["in_memory_cycles"],
            "last_byte_cycles": results["simulate"]["last_byte_cycles"], "last_byte_ms": 87.654,
            "clock_mhz": 12.5, "limit_mhz": 212, "in_memory_ms": 98.765, "fmax_mhz": 13, "seconds": 1, "seeds": [1, 2],
            **{side: dict.fromkeys(("lut", "ff", "dsp", "bram"), 7) for side in ("used", "available")}}
    assert "98.765" in bench.page({row: results | {"build": made}})
    made["in_memory_cycles"] += 1
    assert "98.765" not in bench.page({row: results | {"build": made}})


def test_side_by_side():
    """Everybody's figures are there, with a source each; what follows from others is reckoned, and nothing else."""
    others = json.loads(bench.OTHERS.read_text())
    lines = bench.side_by_side(json.loads(bench.RESULTS.read_text()))
    assert all(len(line) == 8 for line in lines)
    assert len(lines) == len(bench.WORKS) + sum(len(rows) for _, rows in bench.WORKS.values()) + len(others) + len(
        bench.lone_layers())
    assert {each["work"] for each in others} <= bench.WORKS.keys()
    assert all(each["source"] and each["counts"] for each in others)
    both = bench.Other("vww", "somebody", "somewhere", "all", ms=0.5, mhz=200.0, multipliers=10)
    assert both.cells(2_000_000) == ["somebody", "100,000", "200", "0.500", "10", "2.00", "all", "somewhere"]
    alone = bench.Other("vww", "somebody", "somewhere", "all", ms=0.0665)
    assert alone.cells(2_000_000) == ["somebody", "", "", "0.0665", "", "", "all", "somewhere"]
    counted = bench.Other("vww", "somebody", "somewhere", "all", cycles=50_000, multipliers=20)
    assert counted.cells(2_000_000)[1:6] == ["50,000", "", "", "20", "2.00"]
    page = bench.PAGE.read_text()
    assert all(f"| {each['system']} |" in page for each in others)


@pytest.mark.parametrize("row", bench.ROWS, ids=lambda row: row.name)
def test_commands(row):
    for verb, more in (("estimate", ()), ("simulate", ("--input", row.input, "--frames", "4")),
                       ("build", ("-o", "x", "--seeds", "2"))):
        arguments = parser(verb).parse_args(row.command(verb, *more).split()[1:])
        assert (arguments.command, arguments.board, arguments.simplify) == (verb, row.board, row.simplify)


def test_clocks():
    """The fastest one of each board's own engine, of designs that passed and are the ones that are simulated now."""
    assert json.loads(bench.ROUTED.read_text()) == bench.clocks(json.loads(bench.RESULTS.read_text()))
    own, other = ([row for row in bench.ROWS if bool(row.options or row.dense) == given] for given in (False, True))
    results = {row.name: {
        "simulate": {"in_memory_cycles": 10},
        "build": {"part": "any", "clock_mhz": clock, "passed": passed, "in_memory_cycles": cycles}}
        for row, clock, passed, cycles in zip([*own[:6], other[0]], (50.0, 90.0, 60.0, 30.0, 80.0, 25.0, 99.0),
                                              (True, False, True, True, True, True, True), (10, 10, 10, 10, 11, 10, 10),
                                              strict=True)}
    assert bench.clocks(results) == {
        "ulx3s-85f": {"clock_mhz": 60.0, "design": "KWS on ulx3s-85f's own engine"},
        "icebreaker": {"clock_mhz": 30.0, "design": "KWS on icebreaker's own engine"}}


def test_routed_elsewhere(tmp_path, monkeypatch, capsys):
    """What a build has written is taken for a row's, if it is of the design that was simulated; nothing is run."""
    monkeypatch.setattr(bench, "RESULTS", tmp_path / "results.json")
    monkeypatch.setattr(bench, "ROUTED", tmp_path / "routed.json")
    monkeypatch.setattr(bench, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(bench, "ROOT", tmp_path)
    monkeypatch.setattr(bench, "PAGES", [])
    known = json.loads((ROOT / "benchmarks/results.json").read_text())["vww-simplified"]
    cycles = known["simulate"]["in_memory_cycles"]
    bench.RESULTS.write_text(json.dumps({"vww-simplified": {"simulate": known["simulate"]}}))
    report = known["build"] | {"interval_cycles": known["simulate"]["interval_cycles"], "critical_path": None}
    (tmp_path / "report.json").write_text(json.dumps(report))
    argv = ["bench.py", "vww-simplified", "--routed", str(tmp_path / "report.json"), "--at", "abc"]
    monkeypatch.setattr(sys, "argv", argv)
    bench.main()
    made = bench.read_results()["vww-simplified"]["build"]
    assert (made["clock_mhz"], made["command"], made["revision"]) == (
        known["build"]["clock_mhz"], known["build"]["command"], "abc")
    assert f"{made['clock_mhz']:.2f}" in bench.PAGE.read_text()
    (tmp_path / "report.json").write_text(json.dumps(report | {"in_memory_cycles": 1}))
    with pytest.raises(SystemExit, match=f"of a design of 1 cycles, and what was simulated takes {cycles:,}"):
        bench.main()


def test_boards():
    """Every board is in the table; what was built is told, and the commands are ones that ``tepal`` takes."""
    name = boards.BUILDABLE[-1]
    made = {"command": " ".join(boards.command(name, small=True)), "engine": "smallest", "part": "a part",
            "fmax_mhz": 31.26, "in_memory_ms": 2.5, "used": {"lut": 1234, "dsp": 1, "bram": 7, "spram": 2},
            "available": {"lut": 5280, "dsp": 8, "bram": 30, "spram": 4}}
    lines = boards.page({name: made}).splitlines()
    assert [line.split("`")[1] for line in lines if line.startswith("| `")] == boards.BUILDABLE
    cells = "a part | smallest | 31.3 | 1,234 of 5,280 | 1 of 8 | 7 of 30 bram, 2 of 4 spram | 2.500"
    assert f"| `{name}` | {cells} |" in lines
    for small in False, True:
        argv = boards.command(name, small)
        assert parser("build").parse_args([*argv[1:], "-o", "made"]).board == name


def test_growth_keeps_what_still_holds():
    """Measured before: kept with another estimate of logic, not with other cycles or counted resources."""
    before = {"in_memory_cycles": 10, "used": {"LUT4": 5, "FF": 5, "DP16KD": 2}, "mhz": 80.0,
              "seconds": {"generate": 3, "build": 400}}
    point = before | {"used": before["used"] | {"LUT4": 6}, "mhz": None, "seconds": {"generate": 4}}
    assert growth.merged(point, before) == point | {"mhz": 80.0, "seconds": {"generate": 4, "build": 400}}
    for changed in (point | {"in_memory_cycles": 11}, point | {"used": point["used"] | {"DP16KD": 3}}):
        assert growth.merged(changed, before) == changed


def test_fit():
    """Coefficients are found again, and none is below zero."""
    counts = calibrate.np.array([[1, 2], [3, 1], [4, 9.0]])
    assert calibrate.least_squares(counts, counts @ [5, 7]) == pytest.approx([5, 7])
    assert (calibrate.least_squares(counts, counts @ [5, -1]) >= 0).all()


def test_times_of_tests(tmp_path):
    """By folder, of both halves, of which one may not have been run; between the marks, and only there."""
    run = tmp_path / "test.xml"
    cases = (("tests.cli.test_ops", 1.5), ("tests.cli.test_ops.TestClass", 2), ("tests.test_lint", 30))
    run.write_text('<testsuites><testsuite tests="3" time="17.4">' + "".join(
        f'<testcase classname="{name}" name="x" time="{seconds}"/>' for name, seconds in cases)
        + "</testsuite></testsuites>")
    half = suite.measured(run)
    assert half == {"tests/cli": (2, 3.5), "tests": (1, 30.0), "all": (3, 17.4)}
    page = "a\n<!-- make times -->\nold\n<!-- end -->\nb\n"
    filled = suite.filled(page, [half, suite.measured(tmp_path / "none.xml")])
    assert filled.splitlines()[4:-2] == [
        "| `tests` | 1 | 30 |  |  |", "| `tests/cli` | 2 | 4 |  |  |", "| all | 3 | 17 |  |  |"]
    assert filled.startswith("a\n<!-- make times -->\n| folder |")
    assert filled.endswith("|\n<!-- end -->\nb\n")
    contributing = suite.PAGE.read_text()
    assert suite.filled(contributing, [half, {}]) != contributing


def test_boards_are_built_by_whoever_is_asked(tmp_path, monkeypatch, capsys):
    """One after the other, each is written before the next, which may fail; by a cluster's workers all at once."""
    known = boards.read_results()
    monkeypatch.setattr(boards, "RESULTS", tmp_path / "boards.json")
    monkeypatch.setattr(boards, "PAGE", tmp_path / "boards.md")

    def build(small, name):
        if name == "icesugar":
            raise RuntimeError(f"{name}: no bitstream")
        return known[name]
    monkeypatch.setattr(boards, "build", build)

    def main(*argv):
        monkeypatch.setattr(sys, "argv", ["boards.py", *argv])
        boards.main()
    with pytest.raises(RuntimeError, match="icesugar: no bitstream"):
        main("ulx3s-12f", "icesugar", "icebreaker")
    assert [*boards.read_results()] == ["ulx3s-12f"]
    cluster = Threads(2)
    cluster.here = False
    asked = []
    monkeypatch.setattr(boards, "workers", lambda where, **_: asked.append(where) or nullcontext(cluster))
    main("ulx3s-25f", "icebreaker", "--scheduler", "local:2")
    assert asked == ["local:2"]
    assert boards.read_results() == {name: known[name] for name in ("ulx3s-25f", "ulx3s-12f", "icebreaker")}
    assert "2 of 2 boards" in capsys.readouterr().err

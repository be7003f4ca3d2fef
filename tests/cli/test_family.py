# SPDX-License-Identifier: Apache-2.0
"""``tepal family``: the paper's tables to the printed digit, cycles on every board, and what it says of bad input."""

import contextlib
import io
import json
import re
from decimal import ROUND_HALF_UP, Decimal

import pytest
from tepal.boards.flow.external_memory import with_weights_outside
from tepal.boards.flow.fit import default_engine, fit
from tepal.boards.flow.routed import ROUTED, clock_of
from tepal.boards.registry import BOARDS
from tepal.cli import family as family_command
from tepal.cli.family import ALPHAS, FAMILIES, KIN, PAPER, RESOLUTIONS
from tepal.cli.main import main
from tepal.hdl import Formats, Schedule
from tepal.quant import SSD, MobileNet, MobileNetV2, ResNet
from tepal.sim import CycleModel

WITH_ENGINE = list(family_command.DEFAULT)
CLOCK = clock_of(BOARDS["ulx3s-85f"])
SMALL = ["--alpha", "0.25", "--resolution", "32", "--classes", "10"]

FIGURES = [
    (4, "Conv MobileNet", "4866", 4_867_293_184, "29.3", 29_281_120),
    (4, "MobileNet", "569", 568_740_352, "4.2", 4_209_088),
    (5, "0.75 MobileNet", "325", 325_400_448, "2.6", 2_568_144),
    (5, "Shallow MobileNet", "307", 307_323_392, "2.9", 2_875_328),
    (6, "1.0 MobileNet-224", "569", 568_740_352, "4.2", 4_209_088),
    (6, "0.75 MobileNet-224", "325", 325_400_448, "2.6", 2_568_144),
    (6, "0.5 MobileNet-224", "149", 149_497_088, "1.3", 1_319_648),
    (6, "0.25 MobileNet-224", "41", 41_030_272, "0.5", 463_600),
    (7, "1.0 MobileNet-224", "569", 568_740_352, "4.2", 4_209_088),
    (7, "1.0 MobileNet-192", "418", 418_121_728, "4.2", 4_209_088),
    (7, "1.0 MobileNet-160", "290", 290_675_200, "4.2", 4_209_088),
    (7, "1.0 MobileNet-128", "186", 186_400_768, "4.2", 4_209_088),
    (9, "0.50 MobileNet-160", "76", 76_524_800, "1.32", 1_319_648),
    (9, "SqueezeNet", "1700", None, "1.25", None),
]
"""(table, network, multiply-adds as printed and exact, parameters as printed and exact)"""

DIFFERENT = {"Conv MobileNet": "4867", "1.0 MobileNet-160": "291", "0.50 MobileNet-160": "77"}
"""Multiply-adds that the paper prints one lower."""


def run(*argv) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command line."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = main(["family", *map(str, argv)])
        except SystemExit as error:
            code = error.code
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def paper() -> dict:
    """What the command says of the paper's tables, on one board, were there no memory on it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(family_command, "with_weights_outside", lambda *_: None)
        code, out, err = run("--board", "ulx3s-85f", "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


# -- the paper -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "expected"), [*enumerate(FIGURES)], ids=[f"{row[0]}-{row[1]}" for row in FIGURES])
def test_figures(paper, number, expected):
    """The paper's figure, the exact count, and whether the one rounds to the other."""
    row = paper["rows"][number]
    table, name, *figures = expected
    assert (row["table"], row["name"]) == (table, name)
    for figure, printed, count in (row["macs"], *figures[:2]), (row["parameters"], *figures[2:]):
        assert figure["paper"] == printed
        if count is None:
            assert set(figure) == {"paper"}
            continue
        millions = Decimal(count).scaleb(-6).quantize(Decimal(printed), ROUND_HALF_UP)
        assert (figure["count"], figure["rounded"]) == (count, str(millions))
        assert figure["agrees"] == (str(millions) == printed)
        assert figure["agrees"] or (figure is row["macs"] and figure["rounded"] == DIFFERENT[name])


def test_different_figures_leave_the_classifier_out(paper):
    different = [row for row in paper["rows"] if row["macs"].get("agrees") is False]
    assert [row["name"] for row in different] == list(DIFFERENT)
    for row in different:
        classifier = row["network"]["alpha"] * 1024 * 1000
        assert row["macs"]["without_classifier"] == row["macs"]["count"] - classifier
        assert f"{row['macs']['without_classifier'] / 1e6:.0f}" == row["macs"]["paper"]


def test_only_weights_give_the_papers_parameters(paper):
    """Batch norm or biases as well, and table 9 would print 1.33."""
    row = next(row for row in paper["rows"] if row["parameters"]["paper"] == "1.32")
    assert f"{row['parameters']['count'] / 1e6:.2f}" == "1.32"
    assert f"{row['parameters']['trained'] / 1e6:.2f}" == "1.33"


def test_paper_as_text(paper, monkeypatch):
    monkeypatch.setattr(family_command, "_report", lambda *_: paper)
    code, text, err = run("--board", "ulx3s-85f")
    assert (code, err) == (0, "")
    counts, speeds = text.split("ulx3s-85f (LFE5U-85F)")
    cells = [re.split(r"\s{2,}", line.strip()) for line in re.findall(r"^ *\d  +.*$", counts, re.MULTILINE)]
    assert len(cells) == len(FIGURES)
    for line, (table, name, macs, exact_macs, parameters, exact_parameters) in zip(cells, FIGURES, strict=True):
        if exact_macs is None:
            assert line == [str(table), name, macs, "quoted", parameters, "quoted"]
        else:
            assert line == [str(table), name, macs, "≠" if name in DIFFERENT else "=", f"{exact_macs:,}",
                            parameters, "=", f"{exact_parameters:,}"]
    assert ("Conv MobileNet: the paper prints 4866 and the exact count rounds to 4867. Without the classifier it is "
            "4,866,269,184, which rounds to 4866.") in counts
    assert f"ulx3s-85f: {CLOCK.mhz:.2f} MHz, which " in " ".join(speeds.split())
    networks = {row["name"]: row["boards"]["ulx3s-85f"] for row in paper["rows"] if row["network"]}
    lines = [re.split(r"\s{2,}", line) for line in re.findall(r"^.*  no: .*$", speeds, re.MULTILINE)]
    assert len(lines) == len({row.network for row in PAPER + KIN} - {None})
    for name, cycles, frames, fits in lines:
        assert (cycles, frames) == (f"{networks[name]['interval_cycles']:,}",
                                    f"{networks[name]['frames_per_second']:,.2f}")
        assert fits.startswith(f"no: {networks[name]['used']['DP16KD']:,} of 208")


@pytest.mark.slow
def test_external_memory():
    """All MobileNets run with weights from the board's memory, the one without separable convolutions has too many."""
    code, out, err = run("--board", "ulx3s-85f", "--json")
    assert (code, err) == (0, "")
    rows = {row["name"]: row["boards"]["ulx3s-85f"] for row in json.loads(out)["rows"] if row["network"]}
    assert {row.name for row in KIN} < rows.keys()
    short = {name: row for name, row in rows.items() if not row["fits"]}
    assert short.keys() <= {"Conv MobileNet", "0.25 SSD MobileNet-300"}
    assert not short["Conv MobileNet"]["external_memory"]["enough"]
    for name in rows.keys() - short.keys():
        row, memory = rows[name], rows[name]["external_memory"]
        assert row["used"]["DP16KD"] <= 208
        assert row["clock_mhz"] == 100
        assert row["frames_per_second"] == round(1e8 / row["interval_cycles"], 3)
        assert 0 < memory["waiting"] < 1
        assert row["engine"]["weight_words"] > 0
        # The memory gives no more than it can, but for a few beats that come with the frame before.
        assert memory["bytes_per_frame"] / 8 * BOARDS["ulx3s-85f"].beat_cycles < row["interval_cycles"] + 100


def test_boards_with_and_without_a_memory():
    """As the cycle model has it, with the memory's beats; and told in the table, beside a network that fits without."""
    argv = ["--alpha", 0.25, 0.5, "--resolution", 64, "--classes", 10, "--board", "orangecrab-85f", "--board",
            "ulx3s-85f"]
    report = json.loads(run(*argv, "--json")[1])
    (fits, small), (without, speed) = (row["boards"].values() for row in report["rows"])
    assert fits["fits"]
    assert small["external_memory"]["bytes_per_frame"] == 0
    assert (without["fits"], without["external_memory"]) == (False, None)
    network = MobileNet(0.5, 64, 10).network()
    schedule = with_weights_outside(network, Formats(network), BOARDS["ulx3s-85f"])
    model = CycleModel(schedule, BOARDS["ulx3s-85f"].beat_cycles)
    assert speed["fits"]
    assert (speed["interval_cycles"], speed["clock_mhz"]) == (model.interval_cycles, 100)
    assert speed["external_memory"]["bytes_per_frame"] == schedule.weight_bytes
    waiting = sum(model.waits().values()) / model.interval_cycles
    assert speed["external_memory"]["waiting"] == round(waiting, 4) > 0
    before, after = run(*argv)[1].split("ulx3s-85f (LFE5U-85F)")
    assert "memory" not in before
    cells = [re.split(r"\s{2,}", line) for line in re.findall(r"^0\.\d+ MobileNet-64.*$", after, re.MULTILINE)]
    assert [line[1:] for line in cells] == [
        [f"{small['interval_cycles']:,}", f"{small['clock_mhz']:g}", f"{small['frames_per_second']:,.2f}", "yes"],
        [f"{model.interval_cycles:,}", "100", f"{speed['frames_per_second']:,.2f}", f"{waiting:.1%}",
         "yes, with weights from its memory"]]
    assert "or 100 MHz, the fastest that the memory of weights takes" in " ".join(after.split())


def test_cycles_follow_the_work(paper):
    """A smaller network takes fewer cycles; none keeps the array busier than it can be."""
    rows = {row["name"]: row for row in paper["rows"] if row["network"]}
    cycles = {name: row["boards"]["ulx3s-85f"]["interval_cycles"] for name, row in rows.items()}
    for falling in ([f"1.0 MobileNet-{size}" for size in RESOLUTIONS],
                    ["MobileNet", *(f"{alpha:g} MobileNet-224" for alpha in ALPHAS[2:])]):
        assert sorted(falling, key=cycles.__getitem__, reverse=True) == falling
    # The part has no memory for any of them, so they run on the board's smallest engine.
    products = BOARDS["ulx3s-85f"].others[-1].products
    # Depthwise products, a few hundredths of all, are made elsewhere.
    assert all(0.9 * row["macs"]["count"] / products < cycles[name] for name, row in rows.items())
    assert cycles["Conv MobileNet"] < 1.1 * rows["Conv MobileNet"]["macs"]["count"] / products


# -- grids of one's own --------------------------------------------------------------------------------


def test_cycles_are_the_cycle_models():
    """On every board, also where the requantisers of another board's schedule served."""
    code, out, err = run(*SMALL, "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["clocks"] == {name: {"clock_mhz": clock_of(BOARDS[name]).mhz, "clock": clock_of(BOARDS[name]).told}
                                for name in WITH_ENGINE}
    row, = report["rows"]
    assert list(row["boards"]) == WITH_ENGINE
    network = MobileNet(0.25, 32, classes=10).network()
    for name, speed in row["boards"].items():
        schedule = Schedule(network, default_engine(BOARDS[name], network))
        model, needs = CycleModel(schedule), fit(schedule, BOARDS[name])
        assert (speed["cycles"], speed["in_memory_cycles"], speed["last_byte_cycles"], speed["interval_cycles"]) == (
            model.cycles, model.in_memory_cycles, model.last_byte_cycles, model.interval_cycles)
        assert (speed["fits"], speed["used"], speed["available"]) == (needs.ok, needs.used, needs.available)
        clock = json.loads(ROUTED.read_text())[name]["clock_mhz"]
        assert speed["frames_per_second"] == round(clock * 1e6 / model.interval_cycles, 3)


def test_assumed_clock():
    """100 MHz where nothing was recorded, and said so; what is asked for wins over both."""
    argv = [*SMALL, "--board", "ecpix5-85f", "--board", "ulx3s-85f"]
    report, text = json.loads(run(*argv, "--json")[1]), run(*argv)[1]
    assert [clock["clock_mhz"] for clock in report["clocks"].values()] == [100, CLOCK.mhz]
    assert "ecpix5-85f: 100 MHz, which is assumed: no clock has been recorded" in text
    speeds = report["rows"][0]["boards"].values()
    assert [round(speed["frames_per_second"] * speed["interval_cycles"] / 1e6, 2) for speed in speeds] == [
        100, CLOCK.mhz]
    asked = json.loads(run(*argv, "--clock", 37.5, "--json")[1])["clocks"]
    assert {clock["clock_mhz"] for clock in asked.values()} == {37.5}


def test_grid():
    code, out, _ = run("--alpha", 0.35, 0.1, "--resolution", 1, 40, "--classes", 7, "--channels", 1, "--clock", 50,
                       "--board", "icebreaker", "--board", "icebreaker", "--json")
    report = json.loads(out)
    assert (code, report["clocks"]) == (0, {"icebreaker": {"clock_mhz": 50, "clock": "50 MHz, as asked for"}})
    assert [row["name"] for row in report["rows"]] == [
        "0.35 MobileNet-1", "0.35 MobileNet-40", "0.1 MobileNet-1", "0.1 MobileNet-40"]
    for row, (alpha, size) in zip(report["rows"], [(0.35, 1), (0.35, 40), (0.1, 1), (0.1, 40)], strict=True):
        network = MobileNet(alpha, size, 7, 1)
        assert (row["table"], row["network"]["alpha"], row["network"]["resolution"]) == (None, alpha, size)
        assert row["macs"] == {"count": network.macs,
                               "without_classifier": network.macs - 7 * network.width(1024)}
        assert row["parameters"] == {"count": network.weights, "trained": network.parameters}
        assert list(row["boards"]) == ["icebreaker"]
        speed = row["boards"]["icebreaker"]
        assert speed["frames_per_second"] == round(5e7 / speed["interval_cycles"], 3)


def test_grid_as_text():
    code, text, err = run(*SMALL, "--clock", "62.5")
    assert (code, err) == (0, "")
    network = MobileNet(0.25, 32, classes=10)
    assert f"0.25 MobileNet-32  {network.macs:>13,}  {network.weights:>10,}\n" in text
    assert "paper's figure" not in text
    assert text.count("at 62.5 MHz  ") == len(WITH_ENGINE)
    assert "62.5 MHz, as asked for" in text
    assert all(f"{name} ({BOARDS[name].part.name})" in text for name in WITH_ENGINE)
    assert re.search(r"^0\.25 MobileNet-32 .*  yes$", text, re.MULTILINE)
    assert re.search(r"  no: \d+ of 30 SB_RAM40_4K", text)


@pytest.mark.parametrize(("argv", "names"), [
    (["--alpha", "0.02"], [f"0.02 MobileNet-{size}" for size in RESOLUTIONS]),
    (["--resolution", "8"], [f"{alpha:g} MobileNet-8" for alpha in ALPHAS]),
])
def test_what_a_grid_leaves_out_is_the_papers(argv, names, monkeypatch):
    monkeypatch.setattr(family_command, "_speeds", lambda *_: {})
    assert [row["name"] for row in json.loads(run(*argv, "--json")[1])["rows"]] == names


# -- other families ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("family", "argv", "network"), [
    ("v1-residual", (0.25, 32, "--classes", 10), MobileNet(0.25, 32, 10, residual=True)),
    ("v2", (0.35, 32, "--classes", 10), MobileNetV2(0.35, 32, 10)),
    ("resnet8", (0.5, 16), ResNet(0.5, 16)),
    ("ssd-v1", (0.25, 96, "--classes", 4, "--maps", 4), SSD(MobileNet(0.25, 96), 4, 4)),
    ("ssdlite-v2", (0.35, 64, "--classes", 3, "--maps", 2), SSD(MobileNetV2(0.35, 64), 3, 2, lite=True)),
])
def test_families(family, argv, network):
    """What is asked for is what the builder makes, and its cycles are the cycle model's."""
    alpha, resolution, *others = argv
    grid = ("--family", family, "--alpha", alpha, "--resolution", resolution, *others, "--board", "ulx3s-85f")
    code, out, err = run(*grid, "--json")
    assert (code, err) == (0, "")
    row, = json.loads(out)["rows"]
    assert row["macs"]["count"] == network.macs
    assert row["parameters"] == {"count": network.weights, "trained": network.parameters}
    assert ("without_classifier" in row["macs"]) == (not isinstance(network, SSD))
    made = network.network()
    speed, board, formats = row["boards"]["ulx3s-85f"], BOARDS["ulx3s-85f"], Formats(made)
    schedule = Schedule(made, default_engine(board, made, formats), formats)
    if not fit(schedule, board).ok:
        schedule = with_weights_outside(made, formats, board) or schedule
    assert speed["fits"] == fit(schedule, board).ok
    assert speed["interval_cycles"] == CycleModel(schedule, board.beat_cycles).interval_cycles


def test_parts():
    """Each by its name: whether a network fits it, on the smallest engine where there is no room for a larger one."""
    argv = ["--alpha", 0.25, "--resolution", 32, "--classes", 10, "--board", "generic", "--board", "icebreaker"]
    parts = ["--part", "xc7a100t", "--part", "iCE40UP5K", "--part", "XC7A100T"]
    code, text, err = run(*argv, *parts, "--json")
    assert (code, err) == (0, "")
    report = json.loads(text)
    speeds = report["rows"][0]["boards"]
    assert list(speeds) == list(report["clocks"]) == ["XC7A100T", "iCE40UP5K", "icebreaker"]
    large, little = speeds["XC7A100T"], speeds["iCE40UP5K"]
    assert (large["fits"], large["engine"]["rows"], large["engine"]["columns"]) == (True, 4, 8)
    assert large["used"]["LUT"] < large["available"]["LUT"] == 63_400
    assert (little["fits"], little["engine"]["rows"], little["engine"]["columns"]) == (False, 1, 1)
    text = run(*argv, *parts)[1]
    assert "generic (XC7A100T)" in text
    assert re.search(r"0.25 MobileNet-32 .*no: .* of 30 SB_RAM40_4K", text)


def test_families_as_text():
    code, text, err = run("--family", "ssd-v1", "--alpha", 0.25, "--resolution", 96, "--classes", 4, "--maps", 4,
                          "--board", "ulx3s-85f")
    assert (code, err) == (0, "")
    network = SSD(MobileNet(0.25, 96), 4, 4)
    assert f"0.25 SSD MobileNet-96  {network.macs:>13,}  {network.weights:>10,}\n" in text
    assert "Multiply-adds are those of all layers;" in text


@pytest.mark.parametrize("family", FAMILIES)
def test_grids_of_families(family, monkeypatch):
    """Without anything else, each has a grid of its own; MobileNetV1's is the paper's tables."""
    monkeypatch.setattr(family_command, "_speeds", lambda *_: {})
    report = json.loads(run("--family", family, "--json")[1])
    assert report["paper"] == FAMILIES[family].paper
    rows = [row["name"] for row in report["rows"]]
    assert rows == ([row.name for row in PAPER + KIN] if family == "v1" else
                    [f"{alpha:g} {FAMILIES[family].title}-{size}" for alpha in FAMILIES[family].alphas
                     for size in FAMILIES[family].resolutions])


# -- bad input -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("argv", "message"), [
    (["--alpha", "0"], "the width multiplier must be above 0 and at most 16, not 0.0"),
    (["--alpha", "0.5", "-1"], "the width multiplier must be above 0 and at most 16, not -1.0"),
    (["--alpha", "nan"], "the width multiplier must be above 0 and at most 16, not nan"),
    (["--resolution", "0"], "resolution must be 1 to 4096, not 0"),
    (["--resolution", "96", "-5"], "resolution must be 1 to 4096, not -5"),
    (["--resolution", "5000"], "resolution must be 1 to 4096, not 5000"),
    (["--classes", "0"], "classes must be 1 to 65536, not 0"),
    (["--channels", "0"], "channels must be 1 to 4096, not 0"),
    (["--family", "ssd-v1", "--resolution", "64"], "map 3 of 6 is a single pixel at 64 x 64 pixels: give a larger "
                                                   "resolution, or fewer maps"),
    (["--family", "v2", "--maps", "3"], "only detectors look at several maps: leave out --maps, or give one of ssd-v1"),
    (["--board", "icebraker"], "there is no board 'icebraker'; did you mean icebreaker"),
    (["--board", "ulx3s-85f", "--board", "generic"], "the generic board has no engine of its own: name another one, or "
                                                     "give its --part"),
    (["--part", "XC7A35T"], "--part goes with --board generic: say so"),
    (["--board", "ulx3s-85f", "--part", "XC7A35T"],
     "--part goes with --board generic: ulx3s-85f has a part of its own"),
    (["--board", "generic", "--part", "XC7A36T"], "there is no part 'XC7A36T'; did you mean XC7A35T"),
])
@pytest.mark.parametrize("form", [[], ["--json"]], ids=["text", "json"])
def test_refused(argv, message, form):
    code, out, err = run(*argv, *form)
    assert (code, out) == (2, "")
    assert re.fullmatch(f"tepal: {re.escape(message)}.*\n", err)


@pytest.mark.parametrize(("argv", "message"), [
    (["--family", "v3"], "argument --family: invalid choice: 'v3'"),
    (["--alpha", "half"], "argument --alpha: invalid float value: 'half'"),
    (["--alpha"], "argument --alpha: expected at least one argument"),
    (["--resolution", "1.5"], "argument --resolution: invalid int value: '1.5'"),
    (["0.5"], "unrecognized arguments: 0.5"),
    (["--clock", "0"], "argument --clock: '0' is no frequency in MHz"),
    (["--clock", "-3"], "argument --clock: '-3' is no frequency in MHz"),
    (["--clock", "1e308"], "argument --clock: '1e308' is no frequency in MHz"),
    (["--clock", "inf"], "argument --clock: 'inf' is no frequency in MHz"),
])
def test_bad_usage(argv, message):
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_help():
    code, text, err = run("--help")
    assert (code, err) == (0, "")
    assert text.startswith("usage: tepal family ")
    for option in ("--family", "--alpha", "--resolution", "--classes", "--channels", "--maps", "--board", "--clock",
                   "--json"):
        assert option in text

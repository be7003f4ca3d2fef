# SPDX-License-Identifier: Apache-2.0
"""Reproduces every figure that the documentation tells of speed: runs ``tepal``, keeps what it said, writes the tables.

    python benchmarks/bench.py                     # simulate every row
    python benchmarks/bench.py vww kws --build     # these rows only, and place and route them too
    python benchmarks/bench.py vww --routed REPORT # take what a build of this row has written elsewhere
    python benchmarks/bench.py --tables            # only write the tables again

Each row's own commands fill in its figures, and nothing else does: those that were never run say "not measured".  What
was measured is kept in ``benchmarks/results.json`` and told in ``benchmarks/README.md``, and in other pages wherever a
comment asks for it, up to ``<!-- end -->``: ``<!-- make bench: cycles of vww kws -->`` for one of :data:`TABLES` with
some rows, ``<!-- make bench: boards -->`` for what the boards' own files say.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from tepal.boards.flow.routed import ROUTED
from tepal.boards.registry import BOARDS, get_board
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import SSD, MobileNet, MobileNetV2, Network, read_model, write_onnx
from tepal.quant.family.layers import Layers
from tepal.quant.family.random_weights import random_network
from tepal.sim import CycleModel

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results.json", ROOT / "benchmarks/README.md"
OTHERS = ROOT / "benchmarks/others.json"
DATA = Path(os.environ.get("TEPAL_DATA") or ROOT.parent / "shared")
WORK = Path("build/bench")

FRAMES = 4
"""Enough for the steady state: the interval is that from the third to the fourth."""

RANDOM = WORK / "mobilenet_v1_0.25_96.onnx"
OWN = {RANDOM: MobileNet(0.25, 96, classes=2),
       WORK / "mobilenet_v2_0.25_48.onnx": MobileNetV2(0.25, 48, classes=10, last_channels=256),
       WORK / "ssdlite_mobilenet_v1_0.25_80.onnx": SSD(MobileNet(0.25, 80, classes=2), classes=2, maps=2, lite=True)}
"""Files of random networks of the family, which fit where they are simulated."""

V2, DETECTOR = list(OWN)[1:]
VWW, KWS = ("mlperf_vww_int8", "mlperf_kws_int8")
DIGITS = "examples/digits/digits.tflite"
CIFAR, PICTURES = "examples/cifar10/models/{}_int8.onnx", "examples/cifar10/pictures.npz"


@dataclass(frozen=True)
class Other:
    """Somebody else's figure for some ``work`` (of :data:`WORKS`): what was published or simulated of cycles, MHz, ms,
    multipliers, and MACs per cycle and multiplier; and what it ``counts``."""

    work: str
    system: str
    source: str
    counts: str
    cycles: int | None = None
    mhz: float | None = None
    ms: float | None = None
    multipliers: int | None = None
    efficiency: float | None = None

    def _told(self, ms: float | None) -> str:
        return "" if ms is None else f"{ms:.3f}" if ms != self.ms else f"{ms:.4f}".removesuffix("0")

    def cells(self, macs: int | None) -> list[str]:
        """Of its line in the table; what follows from other figures is reckoned."""
        cycles = self.cycles or (self.ms and self.mhz and self.ms * self.mhz * 1e3)
        ms = self.ms or (self.cycles and self.mhz and self.cycles / self.mhz / 1e3)
        efficiency = self.efficiency or (cycles and self.multipliers and macs and macs / cycles / self.multipliers)
        return [self.system, f"{cycles:,.0f}" if cycles else "", f"{self.mhz:g}" if self.mhz else "",
                self._told(ms), f"{self.multipliers}" if self.multipliers else "",
                f"{efficiency:.2f}" if efficiency else "", self.counts, self.source]


@dataclass(frozen=True)
class Row:
    """A figure to reproduce: ``model`` is a file of the repository, or the name of a third-party model's folder."""

    name: str
    title: str
    model: str
    board: str
    simplify: bool = False
    stalls: bool = False
    """Simulate it with streams that wait at random, too."""
    options: str = ""
    """Of the engine, in place of the board's own."""
    dense: bool = False
    """It gets the board's engine for networks without depthwise convolutions, whose clock is not that of others."""

    @property
    def third_party(self) -> bool:
        return "/" not in self.model

    @property
    def path(self) -> str:
        return f"$TEPAL_DATA/models/{self.model}/model.tflite" if self.third_party else self.model

    @property
    def input(self) -> str:
        own = f"$TEPAL_DATA/models/{self.model}/inputs.npy"
        if self.third_party:
            return own if Path(own.replace("$TEPAL_DATA", str(DATA))).exists() else str(WORK / f"{self.model}.npy")
        if Path(self.model) in OWN:
            return str(Path(self.model).with_suffix(".npy"))
        return "examples/digits/inputs.npy" if self.model == DIGITS else PICTURES

    def command(self, verb: str, *more: str) -> str:
        """As one would type it."""
        return " ".join(["tepal", verb, self.path, "--board", self.board, *(["--no-simplify"] * (not self.simplify)),
                         *self.options.split(), *more])

    @property
    def absent(self) -> str | None:
        """Why the row can't be run, if it can't."""
        folder = DATA / "models" / self.model
        return f"no {folder}: TEPAL_DATA names the folder" if self.third_party and not folder.is_dir() else None


SIX_ROWS = "--rows 6 --logic-columns 5"
"""Two rows more than the array of the 85F boards' own engine has, which take all of the part's multipliers, and logic
beside them."""

ROWS = (
    Row("vww-six", "VWW, dead channels removed, 6 x 16 x 4 array", VWW, "ulx3s-85f", True, options=SIX_ROWS),
    Row("vww-simplified", "VWW, dead channels removed", VWW, "ulx3s-85f", True),
    Row("kws-six", "KWS, 6 x 16 x 4 array", KWS, "ulx3s-85f", options=SIX_ROWS),
    Row("vww", "VWW as it is", VWW, "ulx3s-85f"),
    Row("kws", "KWS", KWS, "ulx3s-85f"),
    Row("kws-icebreaker", "KWS", KWS, "icebreaker"),
    Row("cifar-large", "CIFAR-10, large_0.50_32", CIFAR.format("large_0.50_32"), "ulx3s-85f"),
    Row("cifar-small", "CIFAR-10, small_0.25_32", CIFAR.format("small_0.25_32"), "icebreaker"),
    Row("kws-45f", "KWS", KWS, "ulx3s-45f"),
    Row("kws-25f", "KWS", KWS, "ulx3s-25f"),
    Row("digits", "digits, 24x24", DIGITS, "ulx3s-85f"),
    # VWW's shape, and no dead channels to speak of.
    Row("dense", "MobileNetV1-0.25-96, random weights", str(RANDOM), "ulx3s-85f"),
    Row("dense-six", "MobileNetV1-0.25-96, random weights, 6 x 16 x 4 array", str(RANDOM), "ulx3s-85f",
        options=SIX_ROWS),
    Row("resnet8-six", "ResNet8, 6 x 16 x 4 array", "mlperf_resnet8_int8", "ulx3s-85f", options=SIX_ROWS),
    Row("resnet8", "ResNet8", "mlperf_resnet8_int8", "ulx3s-85f", stalls=True, dense=True),
    Row("mnist-resnet", "MNIST, residual", "tinymaix_mnist_resnet_int8", "ulx3s-85f", stalls=True),
    Row("linefollower", "line follower, max pools", "linefollower_dsep_int8", "ulx3s-85f", stalls=True),
    Row("stm", "MobileNetV1-0.25-96 of STMicroelectronics", "stm_v1_025_96_uint8_ends", "ulx3s-85f", stalls=True),
    Row("v2", "MobileNetV2-0.25-48, 256 last channels, random weights", str(V2), "ulx3s-85f", stalls=True),
    Row("ssd", "SSDLite on MobileNetV1-0.25-80, two maps, random weights", str(DETECTOR), "ulx3s-85f", stalls=True),
)
"""All rows."""


def make_inputs() -> None:
    """The random networks, and images for models without any: the same bytes every time."""
    (ROOT / WORK).mkdir(parents=True, exist_ok=True)
    networks = {file: own.network() for file, own in OWN.items()}
    for file, network in networks.items():
        write_onnx(network, ROOT / file)
    for row in ROWS:
        if row.third_party and not row.absent and not row.input.startswith("$"):
            found = read_model(DATA / "models" / row.model / "model.tflite")
            assert isinstance(found, Network)
            networks[Path(row.input)] = found
    for file, network in networks.items():
        images = np.random.default_rng(0).integers(-128, 128, (FRAMES, *network.input_shape), np.int8)
        np.save(ROOT / file.with_suffix(".npy"), images)


def run(command: str) -> tuple[dict, float]:
    """What a ``tepal`` command said in JSON, and the seconds that it took; ends the program if it failed."""
    print(command, flush=True)
    words = [word.replace("$TEPAL_DATA", str(DATA)) for word in command.split()[1:]]
    begun = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "tepal", *words, "--json"], cwd=ROOT, text=True,
                          stdout=subprocess.PIPE)
    # A build that misses its clock has a report all the same.
    if done.returncode not in (0, 3):
        sys.exit(f"bench: exit code {done.returncode} of: {command}")
    return json.loads(done.stdout), round(time.monotonic() - begun, 2)


def revision() -> str:
    """The commit that is checked out, as git names it."""
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, capture_output=True)
    return done.stdout.strip() or "unknown"


def simulate(row: Row) -> dict:
    """Estimated, generated and simulated."""
    nominal = run(f"tepal estimate {row.path} --board {row.board} --no-simplify")[0] if row.simplify else None
    estimate, estimate_seconds = run(row.command("estimate"))
    _, generate_seconds = run(row.command("generate", "-o", str(WORK / row.name / "core")))
    command = row.command("simulate", "--input", row.input, "--frames", str(FRAMES))
    report, seconds = run(command)
    simulated = report["cycles"] + (FRAMES - 1) * report["interval_cycles"]
    stalled = {}
    if row.stalls:
        found = run(f"{command} --stalls 1")[0]
        stalled = {"stalled": {name: found[name] for name in ("compared", "mismatches")}}
    return stalled | {
        "command": command, "revision": revision(),
        **{name: report[name] for name in ("in_memory_cycles", "last_byte_cycles", "interval_cycles")},
        "compared": report["compared"], "mismatches": report["mismatches"],
        "cycle_errors": len(report["cycle_errors"]), "macs": estimate["macs"],
        "nominal_macs": (nominal or estimate)["macs"], "utilisation": estimate["utilisation"],
        "engine": estimate["engine"], "used": estimate["used"],
        "cycles_per_second": round(simulated / report["seconds"]["simulation"]),
        "seconds": {"estimate": estimate_seconds, "generate": generate_seconds, "simulate": seconds,
                    "simulation alone": report["seconds"]["simulation"]},
    }


def build(row: Row, seeds: int) -> dict:
    """Placed and routed."""
    command = row.command("build", "-o", str(WORK / row.name / "build"), "--seeds", str(seeds))
    report, seconds = run(command)
    return {**built(command, report), "revision": revision(), "seconds": seconds}


def routed(row: Row, report: dict, simulated: dict, commit: str) -> dict:
    """What the row's build said elsewhere, at that commit, though not how long it took; ends the program if that is of
    another design than was simulated."""
    if any(report[name] != simulated[name] for name in ("in_memory_cycles", "interval_cycles")):
        sys.exit(f"bench: the report is of a design of {report['in_memory_cycles']:,} cycles, and what was simulated "
                 f"takes {simulated['in_memory_cycles']:,}: build what was simulated")
    command = row.command("build", "-o", str(WORK / row.name / "build"), "--seeds", str(len(report["seeds"])))
    return {**built(command, report), "revision": commit}


def built(command: str, report: dict) -> dict:
    """What is kept of a build's ``report``."""
    kept = ("part", "speed_grade", "passed", "problem", "in_memory_cycles", "last_byte_cycles", "fmax_mhz", "clock_mhz",
            "limit_mhz", "in_memory_ms", "last_byte_ms", "frames_per_second", "used", "available", "critical_path",
            "seeds", "tools")
    if report["critical_path"]:
        del report["critical_path"]["steps"]
    return {"command": command, **{name: report[name] for name in kept}}


MISSING = "not measured"


@dataclass(frozen=True)
class Measured:
    """A row with what its commands said; ``made`` is None too if another engine was built than is simulated now."""

    row: Row
    simulated: dict | None
    made: dict | None

    @classmethod
    def of(cls, row: Row, results: dict) -> "Measured":
        simulated, made = (results.get(row.name, {}).get(key) for key in ("simulate", "build"))
        same = simulated and made and all(simulated.get(name) == made.get(name)
                                          for name in ("in_memory_cycles", "last_byte_cycles"))
        return cls(row, simulated, made if same else None)

    @property
    def title(self) -> str:
        return f"{self.row.title}, `{self.row.board}`"

    def told(self, form: str) -> str:
        """``form`` filled in with the row, and what was simulated (s) and built (b)."""
        made = self.made and self.made | {"tried": len(self.made["seeds"])}
        try:
            return form.format(row=self.row, s=SimpleNamespace(**self.simulated or {}), b=SimpleNamespace(**made or {}))
        except AttributeError:
            return MISSING

    @property
    def stalled(self) -> str:
        """Bytes that differ where both streams wait at random, if the row asks for that."""
        if not self.row.stalls:
            return ""
        found = (self.simulated or {}).get("stalled")
        return f"{found['mismatches']} of {found['compared']:,}" if found else MISSING

    @property
    def efficiency(self) -> str:
        """MACs of the network as it came, a cycle and int8 product for which the part's multipliers are made."""
        part = get_board(self.row.board).part
        if not self.simulated:
            return MISSING
        multipliers = (part.primitives or 0) * part.products
        return f"{self.simulated['nominal_macs'] / self.simulated['in_memory_cycles'] / multipliers:.2f}"


def clocks(results: dict) -> dict:
    """For the commands that reckon with time: the fastest clock of each board's own engine, and the design that has it
    now."""
    routed = {}
    for row in ROWS:
        made = Measured.of(row, results).made if not (row.options or row.dense) else None
        if made and made["passed"] and made["clock_mhz"] > routed.get(row.board, {}).get("clock_mhz", 0):
            routed[row.board] = {"clock_mhz": made["clock_mhz"],
                                 "design": f"{row.title} on {row.board}'s own engine"}
    return routed


def table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [header, ["---"] * len(header), *rows])


WORKS = {
    "vww": ("MLPerf Tiny's visual wake words, MobileNetV1-0.25-96", ("vww-six", "vww-simplified", "vww")),
    "kws": ("MLPerf Tiny's keyword spotting, DS-CNN", ("kws-six", "kws", "kws-icebreaker")),
    "resnet8": ("MLPerf Tiny's image classification, ResNet8", ("resnet8-six", "resnet8")),
    "mobilenet": ("Other MobileNets", ("dense-six", "dense")),
    "pointwise": ("A pointwise layer, 12x12x64 to 64", ()),
    "separable": ("A separable block, 24x24x32, 3x3 depthwise, then pointwise to 64", ()),
    "4x4": ("A 4x4 convolution, 16 to 16 channels, 128 pixels", ()),
    "5x5": ("A 5x5 convolution of 8 channels, its own", ()),
}
"""What is compared side by side: a title, and the rows of Tepal's that do it."""


def lone_layers() -> list[tuple[str, str, EngineConfig, Network, str]]:
    """(work, engine, in words too, network, what is counted) of layers alone, on engines of as many multipliers as
    others have for them."""
    found = []
    pointwise, separable = Layers(12, 64), Layers(24, 32)
    pointwise.convolution("pointwise", 1, 1, 64)
    separable.depthwise("depthwise", 1)
    separable.convolution("pointwise", 1, 1, 64)
    for work, layers, window, counts in (
            ("pointwise", pointwise, (1, 1), "the layer, from the image in memory to the first byte of the answer"),
            ("separable", separable, (3, 3), "both layers, the same; the depthwise one's products are made of LUTs")):
        network = random_network(work, tuple(layers.specs), (layers.last,), 0)
        for columns in (8, 16) if work == "pointwise" else (16,):
            config = EngineConfig(8, columns, 8, window, 8, input_bytes=8, copy_lanes=64)
            found.append((work, f"Tepal, 8 x {columns} array", config, network, counts))
    return found


def side_by_side(results: dict) -> list[list[str]]:
    """Lines of that table, by work, Tepal's first."""
    rows, lines = {row.name: row for row in ROWS}, []
    others = [Other(**each) for each in json.loads(OTHERS.read_text())]
    for work, (title, names) in WORKS.items():
        lines.append([f"**{title}**", *[""] * 7])
        measured = [Measured.of(rows[name], results) for name in names]
        for item in measured:
            part = get_board(item.row.board).part
            figures = map(item.told, ("{s.in_memory_cycles:,}", "{b.clock_mhz:.2f}", "{b.in_memory_ms:.3f}"))
            lines.append([f"Tepal, {item.title}", *figures, str((part.primitives or 0) * part.products),
                          item.efficiency,
                          "the whole network, image in memory", "simulated; placed and routed"])
        macs = next((item.simulated["nominal_macs"] for item in measured if item.simulated), None)
        for name, system, config, network, counts in lone_layers():
            if name == work:
                macs, cycles = network.macs, CycleModel(Schedule(network, config)).in_memory_cycles
                lines.append(Other(work, system, "the cycle model", counts, cycles,
                                   multipliers=config.multipliers).cells(macs))
        lines += [other.cells(macs) for other in others if other.work == work]
    return lines


def page(results: dict) -> str:
    """``benchmarks/README.md``."""
    speed, limits, routed, tools, commands = [], [], [], [], []
    for item in (Measured.of(row, results) for row in ROWS):
        speed.append([f"**{item.title}**", *map(item.told, (
            "{s.in_memory_cycles:,}", "{s.last_byte_cycles:,}", "{b.clock_mhz:.2f}", "**{b.in_memory_ms:.3f}**",
            "{b.last_byte_ms:.3f}")), item.efficiency])
        limits.append([item.title, *map(item.told, (
            "{s.interval_cycles:,}", "{s.mismatches} of {s.compared:,}")), item.stalled, *map(item.told, (
            "{s.cycle_errors}", "{s.macs:,}",
            "{s.engine[multipliers]}", "{s.engine[products]}", "{s.utilisation:.1%}",
            "{b.clock_mhz:.2f} of {b.limit_mhz:g}"))])
        routed.append([item.title, item.told("{b.fmax_mhz:.2f}"), *(
            item.told(f"{{b.used[{kind}]:,}} of {{b.available[{kind}]:,}}") for kind in ("lut", "ff", "dsp", "bram")),
            item.told("{s.used[LUT4]:,}") if "LUT4" in (item.simulated or {}).get("used", {}) else ""])
        tools.append([item.title, *(item.told(f"{{s.seconds[{name}]:.1f}}")
                                    for name in ("estimate", "generate", "simulate")),
                      item.told("{s.cycles_per_second:,}"), item.told("{b.seconds:.0f}")])
        commands += [f"    {told['revision']}: {told['command']}" for told in (item.simulated, item.made) if told]
    return f"""# Measured

Written by `make bench`: every figure of Tepal's is what the commands below said, and one whose command has not been run
is "{MISSING}". Others' figures are quoted.

## Speed

Cycles of the simulated Verilog up to the first byte of the result, *in memory*: the image lies in the input memory when
the clock starts, as MLPerf Tiny measures and as others' figures count; and *from the last byte* of an image that
streams in, a beat a cycle, of which rows are computed as they arrive. The clock is the one that was set after place and
route of the same design, in MHz. MACs are those of the network as it came, per cycle in memory and multiplier of the
part.

{table(["", "cycles in memory", "cycles from the last byte", "clock", "ms in memory", "ms from the last byte",
        "MACs / cycle / multiplier"], speed)}

## Side by side

Tepal's figures beside those of others, for the same work: cycles, clock, time with the input in memory, multipliers,
and MACs of the network as it came per cycle and multiplier. Tepal's multipliers are all that the part has, and others'
those that are named. Figures of others were published, or simulated from the RTL that their tools generate
(`benchmarks/others.json`, with their sources); what follows from them is reckoned, and the rest is left open. A lone
layer of Tepal's is what the cycle model has for a network of that layer: the image is read out of the input memory, and
results, requantised, go to the output memory.

{table(["", "cycles", "MHz", "ms", "multipliers", "MACs / cycle / multiplier", "what is counted", "source"],
       side_by_side(results))}

## Proof, and what the part could do

Cycles from frame to frame; bytes that differ from the reference, over every layer; the same where both streams wait at
random, if that was simulated; events that are not in their predicted cycle; MACs that are left to do; the array's
multipliers, the products that they make in a cycle, and how many of these its share of the MACs needs; and the clock of
what the part's memories and multipliers allow, in MHz.

{table(["", "frame to frame", "bytes that differ", "with stalls", "events off", "MACs", "multipliers", "products",
        "in use", "clock"],
       limits)}

## Place and route

{table(["", "MHz reached", "LUT", "FF", "multipliers", "memory blocks", "LUT estimated"], routed)}

## The tools themselves

Seconds that each command takes, and simulated cycles a second (comparing included).

{table(["", "estimate", "generate", "simulate", "cycles / s", "build"], tools)}

## Commands

Third-party models are looked for in the folder `TEPAL_DATA` (default: `../shared`); rows whose model is absent are
skipped. Before each command stands the commit at which it was run last.

{chr(10).join(commands)}
"""


TABLES = {
    "cycles": (["", "board", "products a cycle", "in memory", "from the last byte", "frame to frame"],
               ("`{row.board}`", "{s.engine[products]}", "{s.in_memory_cycles:,}", "{s.last_byte_cycles:,}",
                "{s.interval_cycles:,}")),
    "clocks": (["", "board", "LUT", "memory blocks", "MHz reached", "MHz set", "ms in memory", "ms from the last byte",
                "seeds"],
               ("`{row.board}`", "{b.used[lut]:,} of {b.available[lut]:,}", "{b.used[bram]} of {b.available[bram]}",
                "{b.fmax_mhz:.2f}", "{b.clock_mhz:.3f}", "{b.in_memory_ms:.3f}", "{b.last_byte_ms:.3f}", "{b.tried}")),
}
"""Tables for other pages: header, and what stands behind a row's title."""

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

_MARKED = re.compile(r"(<!-- make bench: (?:boards|(\w+) of ([\w -]+)) -->\n).*?(?=<!-- end -->)", re.S)


def boards() -> str:
    """Every board: FPGA, engines, line to the host."""
    rows = []
    for board in BOARDS.values():
        engines = [f"{config.shape} array, {config.lanes} lane{'s' * (config.lanes > 1)} of "
                   f"{prod(config.window)} tap{'s' * (prod(config.window) > 1)}"
                   for config in board.engines]
        line = "; or ".join(engines), f"{board.baud:,} baud"
        rows.append([f"`{board.name}`", board.fpga, *(line if board.part.family else ("what you say", "none"))])
    return table(["board", "FPGA", "engine", "line to the host"], rows)


def filled(text: str, results: dict) -> str:
    """A page with the tables that its comments ask for; KeyError for a table or a row that there is not."""
    rows = {row.name: row for row in ROWS}

    def written(found: re.Match) -> str:
        if found[2] is None:
            return f"{found[1]}{boards()}\n"
        header, forms = TABLES[found[2]]
        measured = [Measured.of(rows[name], results) for name in found[3].split()]
        return f"{found[1]}{table(header, [[item.row.title, *map(item.told, forms)] for item in measured])}\n"

    return _MARKED.sub(written, text)


def read_results() -> dict:
    return json.loads(RESULTS.read_text()) if RESULTS.exists() else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"of {', '.join(row.name for row in ROWS)} "
                        "(default: all)")
    parser.add_argument("--build", action="store_true", help="place and route them too: an hour for a large engine")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds to place and route from")
    parser.add_argument("--routed", type=Path, metavar="REPORT", help="of one row, which has been simulated: the "
                        "report.json that its tepal build has written; nothing is run")
    parser.add_argument("--at", metavar="COMMIT", default="elsewhere", help="at which that was built")
    parser.add_argument("--tables", action="store_true", help="run nothing, write the tables")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - {row.name for row in ROWS}:
        parser.error(f"there is no row {min(unknown)}")
    if arguments.routed and len(arguments.rows) != 1:
        parser.error("--routed goes with one row")
    runs = not arguments.tables and not arguments.routed
    if runs:
        make_inputs()
    for row in ROWS if runs else ():
        if arguments.rows and row.name not in arguments.rows:
            continue
        if row.absent:
            print(f"{row.name}: skipped ({row.absent})")
            continue
        measured = {"simulate": simulate(row)}
        if arguments.build:
            measured["build"] = build(row, arguments.seeds)
        # Others may have been written meanwhile.
        results = read_results()
        results[row.name] = results.get(row.name, {}) | measured
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    results = read_results()
    if arguments.routed:
        name, = arguments.rows
        row = next(row for row in ROWS if row.name == name)
        results[name]["build"] = routed(row, json.loads(arguments.routed.read_text()), results[name]["simulate"],
                                        arguments.at)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    ROUTED.write_text(json.dumps(clocks(results), indent=1) + "\n")
    for path, text in ((PAGE, page(results)), *((path, filled(path.read_text(), results)) for path in PAGES)):
        path.write_text(text)
    print(f"wrote {', '.join(str(path.relative_to(ROOT)) for path in (PAGE, *PAGES))}")


if __name__ == "__main__":
    main()

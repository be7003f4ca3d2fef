# SPDX-License-Identifier: Apache-2.0
"""What is generated stays the same, byte for byte, unless somebody means to change it.

``generated.json`` holds a hash of everything that ``tepal generate``, ``tepal build`` and ``tepal quantize`` make of
several models, on every board and on a few engines of no board, before yosys has seen it.  A change of the structure
alone leaves the hashes as they are.  A change that is meant is recorded, and told in its commit::

    python tests/test_generated.py --record [WORD ...]

which records those cases whose names hold every WORD, and says which of them are new.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import cache, partial
from hashlib import sha256
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from models import DATA
from networks import pointwise
from tepal.boards.flow import yosys
from tepal.boards.flow.design import BoardDesign, prepare
from tepal.boards.flow.fit import default_engine
from tepal.boards.flow.generate import generate
from tepal.boards.flow.variant import Forms, choose
from tepal.boards.registry import BOARDS
from tepal.cli.arguments import SMALL
from tepal.hdl import EngineConfig, Schedule
from tepal.quant import (
    SSD,
    FloatNetwork,
    MobileNet,
    MobileNetV2,
    Network,
    ResNet,
    quantize,
    read_model,
    write_onnx,
)
from tepal.quant.lookup import CODES, Lookup
from tepal.quant.ops.concatenation import Concatenation

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).with_name("generated.json")

MODELS = {
    "digits": ROOT / "examples/digits/digits.tflite",
    "cifar-small": ROOT / "examples/cifar10/models/small_0.25_32_int8.onnx",
    "cifar-large": ROOT / "examples/cifar10/models/large_0.50_32_int8.onnx",
    "kws": DATA / "models/mlperf_kws_int8/model.tflite",
    "vww": DATA / "models/mlperf_vww_int8/model.tflite",
    "ad01": DATA / "models/mlperf_ad01_int8/model.tflite",
    "mnist-dw": DATA / "models/tinymaix_mnist_dw_int8/model.tflite",
}
FLOAT = {
    "cifar-small": ROOT / "examples/cifar10/models/small_0.25_32.onnx",
    "vww": DATA / "models/mlperf_vww_float/model.tflite",
}

# Each has something that no board's engine has.
ENGINES = {
    "odd": EngineConfig(3, 6, 6, (2, 3), requantisers=3),
    "packed": EngineConfig(4, 8, 4, (1, 3), requantisers=2, spread=2, packing=2, copy_lanes=6),
    "serial": EngineConfig(2, 4, 2, (3, 3), requantiser_cycles=5, lane_cycles=4, copy_lanes=3),
}
GRAPH_ENGINES = {
    "wide": EngineConfig(4, 8, 4, (3, 3), requantisers=4),
    "banded": EngineConfig(4, 8, 4, (3, 3), requantisers=4, activation_words=700),
}


def tables() -> Network:
    """A convolution, a table of its values, and both put together."""
    layer = pointwise((6, 5, 4), 4).layers[0]
    shape = layer.output_shape
    table = Lookup(name="table", index=1, inputs=(0,), input_shape=shape, output_shape=shape, table=-1 - CODES,
                   input_zero_point=0, result_zero_point=-1, function="negation")
    joined = Concatenation(name="joined", index=2, inputs=(0, 1), input_shape=shape, output_shape=(*shape[:2], 8),
                           input_zero_point=0, channels=(4, 4), tables=np.stack([CODES // 2, CODES]),
                           result_zero_point=0)
    return Network("tables", (layer, table, joined), 1.0, 5)


GRAPHS: dict[str, tuple[Path | Callable[[], Network], str]] = {
    "own tables": (tables, "odd"),
    "own resnet8": (ResNet().network, "odd"),
    "own ssd": (SSD(MobileNet(0.25, 48, classes=2), classes=2, maps=2, lite=True).network, "wide"),
    "own v2": (MobileNetV2(0.35, 48, classes=10, last_channels=64).network, "banded"),
    "resnet8": (DATA / "models/mlperf_resnet8_int8/model.tflite", "ulx3s-85f"),
    "mnist-resnet": (DATA / "models/tinymaix_mnist_resnet_int8/model.tflite", "serial"),
    "stm uint8": (DATA / "models/stm_v1_025_96_uint8_ends/model.tflite", "generic"),
    "emza ssd": (DATA / "models/emza_ssd_slim_int8/model.tflite", "generic"),
}
"""Networks with sums, tables, several outputs, bands, weights that have zero points; an engine or a board for each."""

LARGE, SEVERAL_ON = ("cifar-large", "vww"), ("ulx3s-25f", "icebreaker")
"""Models that have what smaller ones have too, and the boards that all but the smallest models are made for: one engine
of each kind is enough."""


def distinct() -> list[str]:
    """The first board of those that differ by no engine, and by nothing that one is chosen by."""
    found: dict[tuple, str] = {}
    for name, board in BOARDS.items():
        found.setdefault((board.engines, board.part.memories, board.part.logic), name)
    return list(found.values())


QUICK = [*(f"digits on {name}" for name in ("ulx3s-25f", "icebreaker", "generic", *ENGINES)), "own tables on odd"]
"""Made every time: of each kind of engine a small one."""
WITH_ANOTHER_PART = "ulx3s-45f", "ulx3s-25f", "ulx3s-12f", "orangecrab-25f", "ecpix5-45f"
"""Boards with the pins and clocks of a larger one."""
BUILDABLE = [name for name, board in BOARDS.items() if board.platform and name not in WITH_ANOTHER_PART]


@cache
def forms(model: str) -> Forms:
    given = source(model)
    network = read_model(given) if isinstance(given, Path) else given()
    assert isinstance(network, Network)
    return Forms(network)


def add(digest, name: str, content: str | bytes) -> None:
    content = content.encode() if isinstance(content, str) else content
    digest.update(f"{name} {len(content)}\n".encode() + content)


@cache
def exported(model: str, engine: EngineConfig, simplified: bool) -> Mapping[str, str | bytes]:
    """The files of an engine, its Verilog as RTLIL."""
    found = forms(model).simplified if simplified else forms(model).plain
    with patch.object(yosys, "to_verilog", lambda text: text), patch.object(yosys, "version", str):
        return generate(Schedule(found.network, engine, found), BOARDS["generic"])


def board_files(model: str, board: str) -> str:
    schedule, _ = choose(forms(model), BOARDS[board], partial(default_engine, BOARDS[board]))
    return generated(model, schedule)


def engine_files(model: str, engine: str) -> str:
    return generated(model, Schedule(forms(model).network, (ENGINES | GRAPH_ENGINES)[engine]))


def generated(model: str, schedule: Schedule) -> str:
    digest = sha256()
    for name, content in sorted(exported(model, schedule.config, schedule.network is not forms(model).network).items()):
        if name.endswith(".json"):
            assert isinstance(content, str)
            # Tools change without us.
            told = json.loads(content)
            del told["versions"]
            content = json.dumps(told)
        add(digest, name, content)
    return digest.hexdigest()


def design(board: str, debug: bool) -> str:
    """Of a board's whole design: serial line, clocks and pins, around an engine that is made in a moment."""
    carrier = BOARDS[board]
    found = forms("digits").plain
    family = carrier.part.family
    assert family
    pll = family.plls(carrier.oscillator)[0]
    engine = replace(default_engine(carrier, found.network, found), **SMALL, spread=1)
    schedule = Schedule(found.network, engine, found)
    made = prepare(BoardDesign(carrier, schedule, pll, Fraction(pll.frequency), debug=debug), carrier, family)
    digest = sha256()
    add(digest, "rtlil", made.rtlil)
    add(digest, "constraints", made.constraints)
    return digest.hexdigest()


def rounding() -> str:
    """A hash that two machines have in common if their float arithmetic (BLAS, mostly) rounds alike."""
    left, right = np.random.default_rng(0).normal(0, 1, (2, 300, 300)).astype(np.float32)
    return sha256((left @ right).tobytes() + np.exp(left).tobytes()).hexdigest()


def quantised(model: str, folder: Path) -> str:
    network = read_model(FLOAT[model])
    assert isinstance(network, FloatNetwork)
    images = np.random.default_rng(0).normal(0, 1, (4, *network.input_shape)).astype(np.float32)
    write_onnx(quantize(network, images).network, folder / "quantised.onnx")
    return sha256((folder / "quantised.onnx").read_bytes()).hexdigest()


CASES: dict[str, tuple[str, Callable[[Path], str]]] = {}
"""Name to model and what gives the hash; the same engine of one model is made once, so models come together."""
for model in MODELS:
    # Boards that are alike differ by the name that a description tells, which one model shows.
    # Benchmarks are of kws and vww on the largest engines.
    for board in {"digits": BOARDS, "cifar-small": distinct(), "kws": (*SEVERAL_ON, "ulx3s-85f"),
                  "vww": (*SEVERAL_ON, "ulx3s-85f")}.get(model, SEVERAL_ON):
        CASES[f"{model} on {board}"] = model, lambda _, model=model, board=board: board_files(model, board)
    for engine in ENGINES if model not in LARGE else ():
        CASES[f"{model} on {engine}"] = model, lambda _, model=model, engine=engine: engine_files(model, engine)
for model, (_, engine) in GRAPHS.items():
    make = board_files if engine in BOARDS else engine_files
    CASES[f"{model} on {engine}"] = model, lambda _, make=make, model=model, engine=engine: make(model, engine)
for board in BUILDABLE:
    CASES[f"design for {board}"] = "digits", lambda _, board=board: design(board, debug=False)
CASES["design for icebreaker with tap"] = "digits", lambda _: design("icebreaker", debug=True)
for model in FLOAT:
    CASES[f"{model} quantised"] = f"{model} float", lambda folder, model=model: quantised(model, folder)


def parameters():
    for case in CASES:
        marks = [] if case in QUICK else [pytest.mark.slow]
        yield pytest.param(case, marks=marks)


def source(model: str) -> Path | Callable[[], Network]:
    """Where a model, as a case names it, comes from."""
    if model in GRAPHS:
        return GRAPHS[model][0]
    return FLOAT[model.removesuffix(" float")] if model.endswith(" float") else MODELS[model]


def missing(case: str) -> Path | None:
    """The file of its model, if that isn't here."""
    given = source(CASES[case][0])
    return given if isinstance(given, Path) and not given.exists() else None


@pytest.mark.parametrize("case", [*parameters()])
def test_generated(case, tmp_path):
    if absent := missing(case):
        pytest.skip(f"{absent} isn't here (TEPAL_DATA names the folder)")
    recorded = json.loads(RECORD.read_text(encoding="utf-8"))
    if case.endswith("quantised") and rounding() != recorded["rounding"]:
        pytest.skip("this machine's float arithmetic rounds otherwise than the one's on which this was recorded")
    assert CASES[case][1](tmp_path) == recorded[case], (
        f"{case}: something else is generated than what was recorded; if that is meant, record it "
        f"(python tests/test_generated.py --record {case})")


def test_every_case_is_recorded():
    assert list(json.loads(RECORD.read_text(encoding="utf-8"))) == ["rounding", *CASES]


def record(words: list[str]) -> None:
    import tempfile

    old = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else {}
    kept = [case for case in CASES if case in old and not all(word in case for word in words)]
    if absent := {str(missing(case)) for case in CASES if case not in kept and missing(case)}:
        sys.exit(f"{', '.join(sorted(absent))}: not here (TEPAL_DATA names the folder of third-party models)")
    # Those that are quantised are one machine's, and so is what is said of its arithmetic.
    ours = not any(case.endswith("quantised") for case in kept)
    new = {"rounding": rounding() if ours else old["rounding"]}
    for case in CASES:
        if case in kept:
            new[case] = old[case]
            continue
        with tempfile.TemporaryDirectory() as folder:
            new[case] = CASES[case][1](Path(folder))
        if new[case] != old.get(case):
            print(f"{case}: {'changed' if case in old else 'new'}", flush=True)
    RECORD.write_text(json.dumps(new, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:2] != ["--record"]:
        sys.exit(__doc__)
    os.chdir(ROOT)
    record(sys.argv[2:])

# SPDX-License-Identifier: Apache-2.0
"""Options that ask for an engine: ``--small``, ``--serial``, and single ones beside them."""

import json
from argparse import Namespace
from pathlib import Path

import pytest
from models import DATA, require_model
from tepal.boards.flow.generate import generate
from tepal.boards.flow.variant import Forms
from tepal.boards.registry import BOARDS
from tepal.cli.main import parser
from tepal.cli.scheduling import on_board
from tepal.quant import FloatNetwork, Network, read_model, read_tflite

MODEL = Path(__file__).parents[2] / "examples/digits/digits.tflite"
ONE_BY_ONE = ("--rows", "1", "--columns", "1", "--lanes", "1", "--window", "1x1", "--requantisers", "1",
              "--input-bytes", "1")
"""By which bitstreams in ``benchmarks/boards.json`` were made before there was ``--small``, of boards whose engines
take one operand at a time."""

PLAIN = ("--operands", "1", "--columns-abreast", "1", "--requantiser-multiplier", "0")
"""What makes such an engine of any other."""


@pytest.fixture(scope="module")
def forms() -> Forms:
    network = read_tflite(MODEL)
    assert isinstance(network, Network)
    return Forms(network)


def arguments(*options: str) -> Namespace:
    return parser("estimate").parse_args(["estimate", str(MODEL), *options])


@pytest.fixture
def schedule(forms):
    """The schedule on a board that a command line asks for."""
    return lambda board, *options: on_board(arguments("--board", board, *options), BOARDS[board], forms)[0]


@pytest.mark.parametrize("board", BOARDS)
def test_small_is_what_its_options_say(schedule, board):
    options = ONE_BY_ONE + PLAIN * (BOARDS[board].config.operands > 1)
    assert schedule(board, "--small").config == schedule(board, *options).config


@pytest.mark.slow
@pytest.mark.parametrize("board", ["ulx3s-12f", "icesugar"])
def test_small_makes_the_same_files(schedule, board):
    """So what was recorded of bitstreams of the one is true of the other."""
    assert generate(schedule(board, "--small"), BOARDS[board]) == generate(schedule(board, *ONE_BY_ONE), BOARDS[board])


@pytest.mark.parametrize("board", BOARDS)
def test_small_fits_every_board(run, board):
    code, out, _ = run("estimate", MODEL, "--board", board, "--small", "--json")
    report = json.loads(out)
    assert (code, report["fits"], report["engine"]["multipliers"], report["engine"]["lanes"]) == (0, True, 1, 1)


@pytest.mark.parametrize("board", ["ulx3s-85f", "icebreaker", "generic"])
def test_options_beside_small(schedule, board):
    """The one that is given holds, and no other one changes with it."""
    small, wide = schedule(board, "--small").config, schedule(board, "--small", "--rows", "2", "--columns", "3").config
    assert (wide.rows, wide.columns, wide.packing) == (2, 3, 1)
    assert small.__dict__ | {"rows": 2, "columns": 3} == wide.__dict__


@pytest.mark.model
@pytest.mark.parametrize("path", sorted(DATA.glob("models/*/*.tflite")), ids=lambda path: path.parent.name)
def test_small_takes_every_network(path):
    network = read_model(path)
    if isinstance(network, FloatNetwork):
        pytest.skip("a float model")
    schedule, _ = on_board(arguments("--small"), BOARDS["ulx3s-25f"], Forms(network, simplify=False))
    assert schedule.config.multipliers == schedule.config.lanes == schedule.config.taps == 1


@pytest.mark.parametrize("board", BOARDS)
def test_serial(schedule, board):
    """Requantisers as iCE40 boards have them, on any engine that fits the board, or on the least one."""
    own = [] if board == "generic" else [schedule(board, "--serial").config]
    least = schedule(board, "--serial", "--small").config
    assert all((each.requantisers, each.requantiser_cycles, each.lane_cycles) == (1, 3, 4) for each in (*own, least))
    assert (least.rows, least.columns, least.lanes, least.taps) == (1, 1, 1, 1)


def test_serial_refused(refusal):
    assert refusal("estimate", MODEL, "--board", "ulx3s-85f", "--serial", "--weight-words", "20") == (
        "tepal: serial requantisers take no weights from outside: leave out --serial or --weight-words\n")
    assert "need requantisers to be 1, not 2" in refusal(
        "estimate", MODEL, "--board", "ulx3s-85f", "--serial", "--requantisers", "2")


@pytest.mark.model
@pytest.mark.slow
def test_serial_does_not_look_outside(run):
    """A network with too many weights does not fit then, though the board has a memory for them."""
    model = require_model("coral_v2_224_int8") / "model.tflite"
    code, _, err = run("estimate", model, "--board", "ulx3s-85f", "--small", "--serial", "--json")
    assert code == 2
    assert err.startswith("tepal: the network does not fit ulx3s-85f: it needs ")

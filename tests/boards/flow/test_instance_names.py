# SPDX-License-Identifier: Apache-2.0
"""The names by which timing report, LUT estimate and placement find cells are those of the design."""

import json
import re
from fractions import Fraction
from functools import cache

import pytest
from networks import pointwise, with_sum
from tepal.boards.flow.design import BoardDesign, prepare
from tepal.boards.flow.lut_estimate import LOGIC
from tepal.boards.flow.timing import describe_cell, part_of
from tepal.boards.registry import get_board
from tepal.hdl import Accelerator, EngineConfig, Schedule
from tepal.hdl.units.instance_name import InstanceName, follow

ENGINES = {
    "ulx3s-85f": EngineConfig(4, 4, 4, (1, 2), requantisers=2, packing=2, logic_columns=1, columns_abreast=2,
                              requantiser_multiplier=18),
    "ulx3s-45f": EngineConfig(4, 4, 2, (1, 2), requantisers=4),
    "ulx3s-12f": EngineConfig(4, 4, 4, (1, 2), requantisers=2, weight_words=12, input_rows=2, operands=2),
    "icebreaker": EngineConfig(2, 2, 2, (1, 2), requantiser_cycles=3, lane_cycles=3, single_port=True, pipelined=False),
}
SUMS = "ulx3s-45f"
"""The board whose design adds two maps."""

BOARDS = pytest.mark.parametrize("board", ENGINES)
ACCELERATOR = "top.link.accelerator"


@cache
def hierarchy(board: str) -> tuple[set[str], set[str]]:
    """Hierarchical names of a board's design: of its instances, and of signals with fields, which look the same in a
    netlist."""
    carrier = get_board(board)
    family = carrier.part.family
    assert family
    pll = family.plls(carrier.oscillator)[0]
    network = pointwise((3, 4, 2), 5)
    if board == SUMS:
        network = with_sum(network)
    schedule = Schedule(network, ENGINES[board])
    text = prepare(BoardDesign(carrier, schedule, pll, Fraction(pll.frequency)), carrier, family).rtlil
    modules = dict(re.findall(r"^module (\S+)\n(.*?)^end$", text, re.M | re.S))

    instances, signals = set(), set()

    def collect(module: str, path: str):
        signals.update(path + name for name in re.findall(r"^  wire .* \\(\w+)\.\w+$", modules[module], re.M))
        for kind, name in re.findall(r"^  cell (\\\S+) \\(\S+)$", modules[module], re.M):
            instances.add(path + name)
            if kind in modules:
                collect(kind, f"{path}{name}.")

    collect(r"\tepal", "")
    return instances, signals


def instances_in(board: str, around: str) -> set[str]:
    """Names of the instances directly inside another one."""
    return {name.removeprefix(f"{around}.") for name in hierarchy(board)[0] if name.rpartition(".")[0] == around}


def declared(names: tuple[InstanceName, ...] = Accelerator.NAMES):
    for name in names:
        yield name
        yield from declared(name.inside)


@BOARDS
def test_every_instance_has_a_declared_name(board):
    """Those of the accelerator, and those of its units that declare any; a name is that of one declaration alone."""
    assert len(instances_in(board, ACCELERATOR)) > 10
    for name in instances_in(board, ACCELERATOR):
        (matching,) = [each for each in Accelerator.NAMES if re.fullmatch(each.pattern, name)]
        for inner in instances_in(board, f"{ACCELERATOR}.{name}") if matching.inside else ():
            assert len(follow(Accelerator.NAMES, [name, inner])) == 2, f"{name}.{inner}"


@pytest.mark.parametrize("name", list(dict.fromkeys(declared())), ids=lambda name: name.name)
def test_every_declared_name_exists(name):
    """In one design or the other; and its cells count to a part that was measured."""
    places = [place.removeprefix(f"{ACCELERATOR}.").split(".") for board in ENGINES
              for place in sorted(set().union(*hierarchy(board))) if place.startswith(f"{ACCELERATOR}.")]
    found = [place for place in places
             if name in [each for each, _ in follow(Accelerator.NAMES, place)][len(place) - 1:]]
    assert found
    cell = ".".join([ACCELERATOR, *found[0], "signal"])
    measured = {part for family in json.loads(LOGIC.read_text()).values() for part in family["each"]}
    assert (part_of(cell) or "all else") in measured
    assert part_of(cell) == (name.part or part_of(cell))
    if name.title:
        assert describe_cell(cell) == name.title.format(*re.findall(r"\d+", found[0][-1])) + ": signal"

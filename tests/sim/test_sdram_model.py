# SPDX-License-Identifier: Apache-2.0
"""The SDRAM's model refuses what breaks a rule, a cycle before or behind what is allowed, and nothing else; and so does
its twin in Verilog."""

import re
import shutil
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
from amaranth.sim import Simulator
from tepal.hdl.memories.sdram_timing import SdramTiming
from tepal.sim import sdram_model
from tepal.sim.sdram_model import RULES, SdramModel

TIMING = SdramTiming(rows=8, columns=16, banks=4, cas_latency=3, activate_to_column=3, precharge=4, active=9,
                     row_cycle=15, refresh_cycle=11, banks_apart=3, write_recovery=2, mode_cycle=5,
                     refresh_interval=200, pause=10, first_refreshes=2)
"""Every time is another."""

CODES = {"nop": 0b000, "stop": 0b001, "read": 0b010, "write": 0b011, "activate": 0b100, "precharge": 0b101,
         "refresh": 0b110, "mode": 0b111}
"""RAS, CAS and WE."""

ALL = 1 << 10

START = [(TIMING.pause, "precharge", 0, ALL), (4, "refresh"), (11, "refresh"), (11, "mode", 0, TIMING.mode), (5, "nop")]
"""Cycles since the command before, command, bank, address."""


PINS_IN_ORDER = "clk_en", "cs", "ras", "cas", "we", "ba", "a", "dqm", "dq_o", "dq_oe"


@pytest.fixture(scope="module", autouse=True)
def twin(tmp_path_factory):
    """The memory of simulations with a bench around it, for Icarus; :func:`play` finds it in :data:`TWINS`."""
    if shutil.which("iverilog"):
        made = tmp_path_factory.mktemp("twin") / "bench"
        sources = [Path(__file__).with_name("sdram_bench.v"), Path(sdram_model.__file__).with_name("sdram_memory.v")]
        subprocess.run(["iverilog", "-g2012", "-s", "bench", "-o", made, *sources], check=True)
        TWINS.append(made)
    yield
    TWINS.clear()


TWINS: list[Path] = []


def play_twin(bench: Path, rows: list[dict[str, int]], timing: SdramTiming) -> tuple[set[str], list[str]]:
    """As :func:`play`; the rule that is broken first, and words in hexadecimal."""
    pins = bench.with_suffix(".pins")
    pins.write_text("".join(" ".join(f"{row[name]:x}" for name in PINS_IN_ORDER) + "\n" for row in rows))
    done = subprocess.run(["vvp", bench, f"+pins={pins}", *(f"+sdram_{name}={value}" for name, value in
                                                            asdict(timing).items())], capture_output=True, text=True)
    broken = re.findall(r"the rule (\w+) is broken", done.stdout + done.stderr)
    assert bool(broken) == bool(done.returncode)
    return set(broken), re.findall(r"^[0-9a-fx]{4}$", done.stdout, re.M)


def play(commands, pins=(), cycles: int = 20, timing: SdramTiming = TIMING) -> tuple[set[str], list[int], list[str]]:
    """The rules that ``commands`` break, and what was at ``dq_i`` in each cycle, of the model and of its twin.

    ``pins`` are (cycle of the last command plus this, pin, value), for that cycle alone; the data at a WRITE are there
    without being named, and count up."""
    at, cycle = {}, 0
    for gap, command, *rest in commands:
        cycle += gap
        at[cycle] = (command, *rest, *(0, 0)[len(rest):])
    special = {(cycle + after, pin): value for after, pin, value in pins}
    writes = {each + word: word for each, (command, *_) in at.items() if command == "write" for word in range(4)}
    model, seen, rows = SdramModel(timing), [], []
    broken = 0

    async def bench(ctx):
        nonlocal broken
        for now in range(cycle + cycles):
            command, bank, address = at.get(now, ("nop", 0, 0))
            values = {"cs": 1, "clk_en": 1, "dqm": 0, "ras": CODES[command] >> 2, "cas": CODES[command] >> 1 & 1,
                      "we": CODES[command] & 1, "ba": bank, "a": address, "dq_oe": int(now in writes),
                      "dq_o": 0x1200 + writes.get(now, 0)}
            rows.append({name: special.get((now, name), value) for name, value in values.items()})
            for name, value in rows[-1].items():
                ctx.set(getattr(model.pins, name), value)
            _, _, word = await ctx.tick().sample(model.pins.dq_i)
            seen.append(word)
            assert ctx.get(model.error) >= (broken != 0), "it does not stay"
            broken = ctx.get(model.broken)

    simulator = Simulator(model)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    rules = {name for bit, name in enumerate(RULES) if broken >> bit & 1}
    theirs = []
    for each in TWINS:
        found, theirs = play_twin(each, rows, timing)
        assert found == rules
    return rules, seen, theirs


LIMITS = {
    "start": (10, lambda gap: [(gap, "precharge", 0, ALL), *START[1:]]),
    "activate_to_column": (3, lambda gap: [*START, (1, "activate"), (gap, "read")]),
    "precharge": (4, lambda gap: [*START, (1, "activate"), (20, "precharge"), (gap, "activate")]),
    "active": (9, lambda gap: [*START, (1, "activate"), (gap, "precharge"), (20, "activate")]),
    "row_cycle": (15, lambda gap: [*START, (1, "activate"), (9, "precharge"), (gap - 9, "activate")]),
    "refresh_cycle": (11, lambda gap: [*START, (1, "refresh"), (gap, "activate")]),
    "banks_apart": (3, lambda gap: [*START, (1, "activate"), (gap, "activate", 1)]),
    "write_recovery": (2, lambda gap: [*START, (1, "activate"), (8, "write"), (3 + gap, "precharge")]),
    "mode_cycle": (5, lambda gap: [*START[:-1], (gap, "activate")]),
    "burst": (4, lambda gap: [*START, (1, "activate"), (8, "read"), (gap, "read", 0, 8)]),
    "burst closed": (4, lambda gap: [*START, (1, "activate"), (8, "read"), (gap, "precharge", 0, ALL)]),
}
"""The least that is allowed by the rule named, and commands between which there is such a time."""


@pytest.mark.parametrize("rule", LIMITS)
def test_times(rule):
    least, commands = LIMITS[rule]
    assert play(commands(least))[0] == set()
    assert play(commands(least - 1))[0] == {rule.split()[0]}


@pytest.mark.parametrize("others", [[], [(20, "activate"), (20, "precharge")]])
def test_refresh_interval(others):
    last = TIMING.refresh_interval - sum(gap for gap, *_ in others)
    assert play([*START, (1, "refresh"), *others, (last, "refresh")])[0] == set()
    assert play([*START, (1, "refresh"), *others, (last + 1, "refresh")])[0] == {"refresh_interval"}
    assert play([*START], cycles=300)[0] == {"refresh_interval"}


MODE = TIMING.mode
WRONG = {
    "refresh before PRECHARGE": ("start", [(10, "refresh"), (15, "precharge", 0, ALL), *START[1:]]),
    "PRECHARGE of one bank": ("start", [(10, "precharge", 0, 0), *START[1:]]),
    "one refresh": ("start", [*START[:2], *START[3:], (1, "activate")]),
    "no mode": ("start", [*START[:3], (12, "activate")]),
    "another latency": ("mode", [*START[:3], (12, "mode", 0, 2 << 4 | 2)]),
    "another length": ("mode", [*START[:3], (12, "mode", 0, 3 << 4 | 3)]),
    "extended mode": ("mode", [*START[:3], (12, "mode", 1, MODE)]),
    "open bank": ("bank", [*START, (1, "activate"), (20, "activate")]),
    "closed bank": ("bank", [*START, (1, "activate"), (20, "read", 1)]),
    "never opened": ("bank", [*START, (1, "write")]),
    "refresh with an open bank": ("bank", [*START, (1, "activate"), (20, "refresh")]),
    "mode with an open bank": ("bank", [*START, (1, "activate"), (20, "mode", 0, MODE)]),
    "auto precharge": ("command", [*START, (1, "activate"), (20, "read", 0, ALL)]),
    "burst terminate": ("command", [*START, (1, "stop")]),
    "odd column": ("burst", [*START, (1, "activate"), (20, "read", 0, 2)]),
}


@pytest.mark.parametrize("case", WRONG)
def test_state(case):
    rule, commands = WRONG[case]
    assert play(commands)[0] == {rule}


OPENED = [*START, (1, "activate")]
PINS = {
    "asleep": ("command", [*OPENED], [(1, "clk_en", 0)]),
    "masked": ("command", [*OPENED, (5, "read")], [(4, "dqm", 1)]),
    "both drive": ("bus", [*OPENED, (5, "read")], [(3, "dq_oe", 1)]),
    "last word": ("bus", [*OPENED, (5, "read")], [(6, "dq_oe", 1)]),
    "no cycle between": ("bus", [*OPENED, (5, "read")], [(7, "dq_oe", 1)]),
    "nobody drives": ("bus", [*OPENED, (5, "write")], [(2, "dq_oe", 0)]),
    "early enough": (None, [*OPENED, (5, "read")], [(2, "dq_oe", 1)]),
    "late enough": (None, [*OPENED, (5, "read")], [(8, "dq_oe", 1)]),
    "masked write": (None, [*OPENED, (5, "write")], [(1, "dqm", 3)]),
    "not selected": (None, [*OPENED, (1, "refresh")], [(0, "cs", 0)]),
}


@pytest.mark.parametrize("case", PINS)
def test_pins(case):
    rule, commands, pins = PINS[case]
    assert play(commands, pins)[0] == {rule} - {None}


@pytest.mark.parametrize("latency", [2, 3])
def test_data(latency):
    """Words come back from where they were written, after the CAS latency and for a cycle each; a masked byte stays."""
    timing = SdramTiming(**{**TIMING.__dict__, "cas_latency": latency})
    start = [*START[:3], (11, "mode", 0, timing.mode), (5, "nop")]
    commands = [*start, (1, "activate", 1, 5), (4, "write", 1, 8), (6, "write", 1, 8), (12, "read", 1, 8)]
    pins = [(-12, "dq_o", 0x5678), (-10, "dq_o", 0x3456), (-10, "dqm", 1)]
    broken, seen, theirs = play(commands, pins, timing=timing)
    assert not broken
    first = sum(gap for gap, *_ in commands) + latency
    assert seen[first:first + 4] == [0x5678, 0x1201, 0x3402, 0x1203]
    assert seen[first - 1] != 0x5678
    assert seen[first + 4] != 0x1203
    if theirs:
        assert theirs[first - 1] != "5678" != theirs[first + 4] != "1203"
        assert theirs[first:first + 4] == ["5678", "1201", "3402", "1203"]

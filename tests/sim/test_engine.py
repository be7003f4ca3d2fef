# SPDX-License-Identifier: Apache-2.0
"""The engine in Amaranth's own simulator: what a person gets of it."""

import pytest
from amaranth import Module
from networks import random_case
from tepal.hdl import Accelerator, Schedule
from tepal.hdl.answer import pack_answer
from tepal.sim import engine, golden, run_engine


@pytest.fixture(scope="module")
def case():
    network, config, images = random_case(17, 2)
    return Schedule(network, config), images, tuple(
        pack_answer(logits, number) for number, logits in enumerate(golden.run(network, images)))


def test_stalls(case):
    """The same bytes, later; the same cycles for the same seed."""
    schedule, images, answers = case
    runs = [run_engine(schedule, images, stalls=stalls) for stalls in (None, 1, 1, 2)]
    assert [run.answers for run in runs] == [answers] * 4
    assert runs[1] == runs[2] != runs[3]
    assert runs[0].cycles_of_bytes[-1] < min(runs[1].cycles_of_bytes[-1], runs[3].cycles_of_bytes[-1])
    assert not any(run.frame_error for run in runs)


def test_limit(case):
    """The run ends there, and what has come by then is told."""
    schedule, images, answers = case
    whole = run_engine(schedule, images[:1])
    run = run_engine(schedule, images[:1], limit=whole.cycles_of_bytes[2])
    assert (run.answers, run.rest, whole.rest) == ((), answers[0][:2], b"")
    assert run.cycles_of_bytes == whole.cycles_of_bytes[:2]


def test_waveform(case, tmp_path):
    schedule, images, answers = case
    assert run_engine(schedule, images[:1], vcd=tmp_path / "engine.vcd").answers == answers[:1]
    text = (tmp_path / "engine.vcd").read_text()
    assert all(f" {name} $end" in text for name in ("s_axis_tdata", "m_axis_tvalid", "tile_end"))


class Broken(Accelerator):
    """Always offers a byte, and another one in every cycle."""

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.m_axis_tvalid.eq(1)
        m.d.sync += self.m_axis_tdata.eq(self.m_axis_tdata + 1)
        return m


@pytest.mark.parametrize(("options", "message"), [
    ({"stalls": 1}, "a byte changed before it was taken"),
    ({"reset": (3, 1)}, "cycle 3: a byte is valid during a reset")])
def test_broken_streams_are_noticed(case, options, message, monkeypatch):
    schedule, images, _ = case
    monkeypatch.setattr(engine, "Accelerator", Broken)
    with pytest.raises(AssertionError, match=message):
        # Of a schedule of its own: the sound engine of the other one may be kept.
        run_engine(Schedule(schedule.network, schedule.config), images, **options)

# SPDX-License-Identifier: Apache-2.0
"""The SDRAM's controller keeps the protocol, whatever it is asked and however long its reader waits: proved by yosys,
by induction over cycles."""

from dataclasses import replace

import pytest
from amaranth import Cat, Module, Signal
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from tepal.boards.flow.tools import find
from tepal.hdl.memories.sdram import LATE, Access, SdramController
from tepal.hdl.memories.sdram_timing import ULX3S_CHIPS, SdramTiming, strictest
from tepal.hdl.primitives import stream_of
from tepal.sim.sdram_model import SdramRules

STEPS = 24
"""Cycles of the induction: more than any time between two commands takes, and than a refresh waits at most."""


class Proof(wiring.Component):
    """``good`` is always set: no rule is broken, no word is lost, and what the induction needs holds."""

    def __init__(self, timing: SdramTiming, asked: SdramTiming):
        self.controller, self.rules = SdramController(timing), SdramRules(asked)
        super().__init__({"good": Out(1), "kept": Out(1), "access": wiring.In(stream_of(Access(timing))),
                          "write_valid": wiring.In(1), "read_ready": wiring.In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.controller, m.submodules.rules = controller, rules = self.controller, self.rules
        wiring.connect(m, wiring.flipped(self.access), controller.access)
        wiring.connect(m, controller.pins, rules.pins)
        m.d.comb += [controller.write.valid.eq(self.write_valid), controller.read.ready.eq(self.read_ready),
                     self.kept.eq(rules.broken == 0),
                     ]
        holds = []
        for number, condition in enumerate(self.invariants()):
            holds.append(Signal(name=f"holds_{number}"))
            m.d.comb += holds[-1].eq(condition)
        m.d.comb += self.good.eq(self.kept & Cat(*holds).all())
        return m

    def invariants(self):
        """What holds in every cycle, beside what follows from the cycles before."""
        controller, state, rules = self.controller, self.controller.state, self.rules
        row = state.place[state.column_bits:]
        behind_and_ahead = row[:2] - 1, row[:2] + 1
        # Commands to rows have got to the memory then, and no burst has changed what is open yet.
        settled = state.phase != 2
        first = controller.timing.first_refreshes

        def implies(condition, conclusion):
            return ~condition | conclusion

        yield state.opening == (row + state.current + state.ahead)[:len(row)]
        yield implies(state.ahead, state.current)
        for bank, is_open in enumerate(rules.opened):
            here = [row[:2] == bank, (behind_and_ahead[1])[:2] == bank, (behind_and_ahead[0])[:2] == bank]
            for known, place in zip((state.current, state.ahead), here[:2], strict=True):
                yield implies(settled & known & place, is_open)
            yield implies(settled & is_open, (state.current & here[0]) | (state.ahead & here[1])
                          | (state.behind & here[2]))
        yield implies(settled & ~rules.closed, state.behind & ~state.current & ~state.ahead)
        yield implies(~rules.closed, rules.refreshes == 0)
        yield implies(settled & (state.waiting <= first), rules.refreshes == first - state.waiting)
        yield implies(state.waiting > first, (rules.refreshes == 0) & ~state.due & ~rules.closed)
        yield implies(state.awake, state.waiting <= first)
        yield implies(~state.started, ~state.running & ~state.current & ~state.ahead)
        yield implies(state.started, state.waiting == 0)
        yield implies(settled & state.started, rules.programmed)
        yield implies(state.running | state.current, state.started)
        yield state.timer < controller.interval
        # A refresh is never more than so late, and the memory's own count of it agrees.
        late = controller.interval - 1 - state.timer
        yield implies(state.due, late < LATE)
        yield implies(settled & (rules.refreshes != 0),
                      rules.age <= 4 * (late + state.due * controller.interval) + (state.phase - 3)[:2] + 1)
        # So there is room for every word that comes.
        words = sum(state.under_way, state.held)
        yield state.room + words == controller.depth


def proved(timing: SdramTiming, asked: SdramTiming, folder) -> bool:
    """Whether a controller made for ``timing`` keeps what a memory with the times ``asked`` demands: in the first
    cycles, and in every one behind so many, whatever state they began in."""
    (folder / "proof.il").write_text(rtlil.convert(Proof(timing, asked), name="proof", emit_src=False))
    assumed = " ".join(f"-set-at {step} good 1" for step in range(1, STEPS))
    script = ["read_rtlil proof.il", "hierarchy -top proof", "proc", "flatten", "opt_clean", "memory_map", "opt -full",
              "opt_clean", f"sat -tempinduct-baseonly -maxsteps {STEPS} -prove good 1 -set rst 0",
              "setattr -unset init w:*", f"sat -seq {STEPS} {assumed} -prove-skip {STEPS - 1} -prove good 1 -set rst 0"]
    printed = find("yosys").run(["-p", "; ".join(script)], folder)
    return f"proved base case for {STEPS} steps: SUCCESS!" in printed and "no model found: SUCCESS!" in printed


def small(frequency: int) -> SdramTiming:
    """The times of the ULX3S' chips, with fewer rows and columns, and hardly a pause after power-up."""
    return replace(SdramTiming.of(strictest(*ULX3S_CHIPS), frequency), pause=20)


@pytest.mark.synthesis
@pytest.mark.parametrize("frequency", [100_000_000, 133_333_333])
def test_protocol(frequency, tmp_path):
    assert proved(small(frequency), small(frequency), tmp_path)


@pytest.mark.slow
@pytest.mark.synthesis
@pytest.mark.parametrize("change", [{"activate_to_column": 4}, {"refresh_interval": 700}])
def test_not_proved(change, tmp_path):
    """Of a memory that asks for more than the controller gives."""
    timing = replace(small(100_000_000), rows=4, columns=16)
    assert not proved(timing, replace(timing, **change), tmp_path)

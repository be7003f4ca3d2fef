# SPDX-License-Identifier: Apache-2.0
"""No pass begins without its weights, and none are overwritten before the last pass that reads them has ended: proved
of the weight loader and of what lets passes begin, whenever beats come and however long passes take."""

from dataclasses import dataclass
from itertools import product

import pytest
from amaranth import Cat, Const, Elaboratable, Module, Mux, Signal
from amaranth.hdl import Assert, Fragment
from formal import proved
from tepal.hdl.plan.portions import LoadPlan, Words, load_plan
from tepal.hdl.units.descriptor_table import DescriptorTable
from tepal.hdl.units.sequencer import Sequencer
from tepal.hdl.units.weight_loader import LoadDescriptor, WeightLoader

AT_ONCE = 3
"""Passes that have begun and not ended: more than an engine ever has."""

BEATS = 2, 1, 1, 1, 2
"""Of a word of each memory."""


@dataclass(frozen=True)
class Case:
    """A network for :func:`load_plan`."""

    portions: tuple[Words, ...]
    reduced: tuple[Words, ...]
    reducing: tuple[int, ...]
    passes: int
    weight_words: int
    tables: tuple[Words, ...] = ()

    @property
    def plan(self) -> LoadPlan:
        return load_plan(self.portions, self.reduced, self.reducing, self.tables, self.passes, self.weight_words)

    @property
    def beats(self) -> tuple[int, ...]:
        """Of a word of each memory that there is."""
        return BEATS[:len(self.plan.depths)]


CASES = {
    "chain": Case((Words(0, 0, (2, 1)), Words(1, 1, (1, 1)), Words(2, 2, (2, 1)), Words(3, 3, (1, 2))),
                  (Words(1, 1, (1, 1)), Words(2, 2, (1, 1))), (1, 2), 4, 3),
    # Passes 1 and 3 are the same layer in two bands, and so are 2 and 4.
    "bands": Case((Words(0, 0, (3, 1)), Words(1, 3, (1, 1)), Words(2, 4, (2, 1))),
                  (Words(0, 0, (2, 1)), Words(2, 4, (1, 2))), (0, 2, 4), 5, 4),
    "all at once": Case((Words(0, 0, (1, 1)), Words(1, 1, (2, 1))), (), (), 2, 3),
    "without a choice": Case((Words(0, 0, (2, 1)), Words(1, 1, (2, 1)), Words(2, 2, (2, 1))),
                             (Words(0, 0, (1, 1)), Words(1, 1, (1, 1))), (0, 1), 3, 2),
    "tables": Case((Words(0, 0, (2, 1)), Words(1, 1, (1, 1)), Words(2, 2, (2, 1))), (Words(1, 1, (1, 2)),), (1,), 3, 3,
                   (Words(0, 2, (2,)), Words(0, 0, (2,)), Words(1, 1, (2,)))),
    "tables alone": Case((Words(0, 2, (1, 1)), Words(1, 3, (2, 1))), (), (), 4, 3,
                         (Words(0, 3, (1,)), Words(1, 3, (1,)))),
}


@dataclass(frozen=True)
class Use:
    """Words of a memory from ``base`` on, which pass ``begins`` reads first and pass ``last`` last; with ``portion``
    None they are the prologue, and stay."""

    role: int
    base: int
    words: int
    portion: int | None
    begins: int
    last: int


def uses_of(case: Case) -> list[Use]:
    """All that is loaded: the passages of the plan, row after row, and then the prologue."""
    found = []
    for number, portion in enumerate(case.plan.portions):
        for each in portion.passages:
            owner = (case.portions, case.reduced, case.tables)[each.role // 2][each.number]
            begins = owner.first
            if each.role == 3:
                # They are fetched while the pass before that reduces still runs.
                begins = case.reducing[case.reducing.index(begins) - 1]
            found.append(Use(each.role, each.base, each.words, number, begins, owner.last))
    stay = {3: case.reduced[:1], 4: case.tables[:1]}
    return found + [Use(each.role, each.base, each.words, None, owner.first, owner.last)
                    for each in case.plan.prologue for owner in stay[each.role]]


@dataclass(frozen=True)
class Numbered(LoadDescriptor):
    """Two rows are never the same, so that the induction knows which one has been read ahead; some begin a portion."""

    row: int
    begins: int


class Followed(DescriptorTable):
    """A table that tells what it has :meth:`follow` return."""

    def follow(self, *args, **kwargs):
        self.current, self.upcoming, self.number = super().follow(*args, **kwargs)
        return self.current, self.upcoming, self.number


class Engine(Elaboratable):
    """A loader for a case, and an engine that begins a pass whenever it may and wants to, and ends it any time later.

    Frames are told apart as the one whose pass ``at`` begins next and those around it; moments are counted in passes
    from that frame's begin.

    An ``eager`` loader waits for a pass less than the plan says; an ``impatient`` engine begins without asking."""

    def __init__(self, case: Case, *, eager: bool = False, impatient: bool = False):
        plan = case.plan
        self.case, self.plan, self.uses, self.impatient = case, plan, uses_of(case), impatient
        loaded = [(each, max(0, wait - eager), each is portion.passages[0], each is portion.passages[-1])
                  for portion, wait in zip(plan.portions, plan.waits, strict=True) for each in portion.passages]
        self.rows = [Numbered(each.role, each.base, each.words - 1, wait if first else 0, int(last), None, row,
                              int(first))
                     for row, (each, wait, first, last) in enumerate(loaded)]
        self.table = Followed(self.rows)
        self.loader = WeightLoader(self.table, case.beats, plan.depths, ended=plan.ended, passes=plan.passes,
                                   prologue=[(each.role, each.words) for each in plan.prologue])
        self.valid, self.wants, self.ends = Signal(), Signal(), Signal()

    def elaborate(self, platform):
        m = Module()
        # At once, since what it follows the table with is looked at.
        m.submodules.loader = Fragment.get(self.loader, platform)
        at, flying = self._run_passes(m)
        held = self._watch_memories(m)
        self._require(m, at, flying, held)
        self._help(m, at, flying, held)
        return m

    def _run_passes(self, m: Module):
        """(the next pass to begin, how many are under way), as the sequencer begins passes."""
        loader, passes = self.loader, self.case.passes
        at, flying = Signal(range(passes), name="at"), Signal(range(AT_ONCE + 1), name="flying")
        pause = Signal(range(Sequencer.LEAST_SLOT))
        begins, may_begin, begin, begun, end = (Signal(name=name) for name in (
            "begins_portion", "may_begin", "begin", "begun", "end"))
        firsts = [portion.first for portion in self.plan.portions]
        m.d.comb += [
            loader.valid.eq(self.valid), begins.eq(Cat(Const(number in firsts, 1) for number in range(passes))
                                                   .bit_select(at, 1)),
            begin.eq(self.wants & may_begin & (pause == 0) & (flying != AT_ONCE)), end.eq(self.ends & (flying != 0)),
            loader.claim.eq(begun & begins), loader.ended.eq(end)]
        m.d.sync += [may_begin.eq(loader.there | ~begins | self.impatient), begun.eq(begin),
                     pause.eq(pause - (pause != 0)), flying.eq(flying + begun - end)]
        with m.If(begin):
            m.d.sync += pause.eq(Sequencer.LEAST_SLOT - 1)
        with m.If(begun):
            m.d.sync += at.eq(Mux(at == passes - 1, 0, at + 1))
        # What was seen before the pass before began says nothing of this one.
        for spent in range(1, Sequencer.LEAST_SLOT):
            with m.If(pause == Sequencer.LEAST_SLOT - spent):
                m.d.comb += Assert(begun == (spent == 1))
        with m.If(begun):
            m.d.comb += [Assert(pause == Sequencer.LEAST_SLOT - 1), Assert(~begins | (loader.state.count != 0)),
                         Assert(flying != AT_ONCE)]
        with m.If(may_begin & (pause == 0)):
            m.d.comb += Assert(~begins | (loader.state.count != 0))
        return at, flying

    def _watch_memories(self, m: Module):
        """For each use, whether each beat of its words is its own once what is being written is: a list of pairs, the
        beat's number among all of its words and a bit."""
        loader, state = self.loader, self.loader.state
        row = Signal(range(len(self.uses) + 1), name="row")
        pending = Signal.like(row, name="pending")
        m.d.comb += row.eq(self.table.number)
        with m.If(state.first):
            for number, use in enumerate(self.uses[len(self.rows):], len(self.rows)):
                with m.If(state.memory == use.role):
                    m.d.comb += row.eq(number)
        m.d.sync += pending.eq(row)
        held = [[] for _ in self.uses]
        for role, (beats, depth) in enumerate(zip(self.case.beats, self.plan.depths, strict=True)):
            enable = getattr(loader, f"enable_{role}")
            for word in range(depth):
                for beat in range(beats):
                    owner = Signal.like(row, name=f"owner_{role}_{word}_{beat}")
                    written = Signal.like(row, name=f"written_{role}_{word}_{beat}")
                    m.d.comb += written.eq(Mux(enable[beat] & (loader.address == word), pending, owner))
                    m.d.sync += owner.eq(written)
                    for number, use in enumerate(self.uses):
                        if use.role == role and use.base <= word < use.base + use.words:
                            held[number].append(((word - use.base) * beats + beat, written == number))
        return held

    def _require(self, m: Module, at, flying, held):
        """The rule: what a pass that is under way reads is there."""
        passes = self.case.passes
        for use, bits in zip(self.uses, held, strict=True):
            for number, late in product(range(use.begins, use.last + 1), range(AT_ONCE)):
                with m.If((flying > late) & (at == (number + late + 1) % passes)):
                    m.d.comb += Assert(Cat(bit for _, bit in bits).all())

    def _help(self, m: Module, at, flying, held):
        """What else holds in every cycle; the induction begins in states that the rule alone does not rule out."""
        count = len(self.plan.portions)
        claimed, complete = Signal(range(count + 1), name="claimed"), Signal(range(4 * count), name="complete")
        moment = Signal(range(-AT_ONCE, self.case.passes), name="moment")
        m.d.comb += [claimed.eq(sum(at > portion.first for portion in self.plan.portions)), moment.eq(at - flying),
                     complete.eq(claimed + self.loader.state.count), Assert(self.loader.state.count <= count),
                     Assert(at < self.case.passes)]
        self._help_with_prologue(m, at, flying)
        self._help_with_place(m, complete, moment)
        self._help_with_memories(m, complete, moment, held)

    def _help_with_prologue(self, m: Module, at, flying):
        """Nothing has happened before it is all taken."""
        state = self.loader.state
        with m.If(state.first):
            m.d.comb += [Assert(state.loading), Assert(self.table.number == 0), Assert(state.count == 0),
                         Assert(flying == 0), Assert(at == 0),
                         Assert(Cat((state.memory == each.role) & (state.part < BEATS[each.role])
                                    & (state.word + state.left == each.words - 1)
                                    for each in self.plan.prologue).any())]

    def _help_with_place(self, m: Module, complete, moment):
        """The loader's portion follows those that are complete; it has waited for what that asks for."""
        state, table, portions, passes = self.loader.state, self.table, self.plan.portions, self.case.passes
        number, earlier = table.number, Signal.like(table.number, name="earlier")
        loading = state.loading & ~state.first
        m.d.sync += earlier.eq(number)
        m.d.comb += [Assert(number < len(self.rows)), Assert(state.loading | (state.part == 0))]
        for row, use in enumerate(self.uses[:len(self.rows)]):
            portion, begins = use.portion, self.rows[row].begins
            before = portions[portion - 1].after - passes * (portion == 0)
            after = before + self.rows[row].wait if begins else portions[portion].after
            with m.If(number == row):
                m.d.comb += [
                    Assert(table.current.as_value() == self._row(row)),
                    Assert((earlier != number) | (table.upcoming.as_value() == self._row(row + 1))),
                    Assert(~loading | (
                        (state.memory == use.role) & (state.word >= use.base) & (state.part < BEATS[use.role])
                        & (state.word + state.left == use.base + use.words - 1))),
                    Assert(Cat(complete == portion + frame * len(portions) for frame in range(3)).any())]
                for frame in range(3):
                    waited = (Mux(loading, after, before) if begins else after) + frame * passes
                    with m.If(complete == portion + frame * len(portions)):
                        m.d.comb += Assert(state.ended + waited == moment)

    def _help_with_memories(self, m: Module, complete, moment, held):
        """What is loaded is there until the last pass that reads it has ended, and so is the prologue; of what is being
        loaded, all beats before the next one are there."""
        state, number = self.loader.state, self.table.number
        for row, (use, bits) in enumerate(zip(self.uses, held, strict=True)):
            everything = Cat(bit for _, bit in bits).all()
            if use.portion is None:
                loading = state.first & (state.memory == use.role)
                before = Cat(state.memory == each.role for each in self.plan.prologue if each.role <= use.role).any()
                m.d.comb += Assert(state.first & before | everything)
            else:
                loading = (number == row) & state.loading & ~state.first
                for frame in range(-1, 3):
                    loaded = complete > use.portion + frame * len(self.plan.portions)
                    ended = moment > use.last + frame * self.case.passes
                    m.d.comb += Assert(~loaded | ended | everything)
                later = [each for each in range(row + 1, len(self.rows)) if self.uses[each].portion == use.portion]
                m.d.comb += Assert(~Cat(number == each for each in later).any() | everything)
            with m.If(loading):
                for index, bit in bits:
                    m.d.comb += Assert(bit | ((state.word - use.base) * BEATS[use.role] + state.part <= index))

    def _row(self, number: int):
        return self.table.layout.const(self.table.rows[number % len(self.rows)]).as_value()


def holds(case: Case, folder, **changed) -> bool:
    engine = Engine(case, **changed)
    return proved(engine, [engine.valid, engine.wants, engine.ends], folder, steps=6)


@pytest.mark.synthesis
@pytest.mark.parametrize("name", CASES)
def test_weights_are_there(name, tmp_path):
    assert holds(CASES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.synthesis
@pytest.mark.parametrize("broken", ["eager", "impatient"])
@pytest.mark.parametrize("name", ["bands", "without a choice"])
def test_not_proved(name, broken, tmp_path):
    """Of a loader that does not wait long enough, nor of passes that do not wait."""
    assert not holds(CASES[name], tmp_path, **{broken: True})

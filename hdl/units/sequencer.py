# SPDX-License-Identifier: Apache-2.0
"""The sequencer: one descriptor per pass, one step a cycle."""

from dataclasses import dataclass
from types import SimpleNamespace

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import bits_for

from .arithmetic import modular_sum
from .descriptor_table import Coordinate, Countdown, DescriptorTable, Difference
from .instance_name import InstanceName
from .tile_buffer import TileBuffer
from .widths import Widths
from .window import coordinate_layout

__all__ = ["Sequencer", "SequencerPlaces", "SequencerTimes"]


@dataclass(frozen=True)
class SequencerTimes:
    """When a pass takes its steps.  Counters are described by their last value.

    Parameters
    ----------
    last_tile, last_group, last_pixel, last_row, last_column
        Of the pass's tiles, a pixel's channel groups, a tile's pixels, and the chunks of a kernel that lie below and
        beside each other.
    last_group_cycle, last_step
        Of the cycles from one channel group to the next, and of the steps that a group takes in them.
    slot_wait, slot_wait_of_block
        Cycles to wait for the next tile, and for the first one of the pass that follows.
    from_input, to_output
        The pass reads the input memory, is the first one of the frame that writes the output memory.
    begins_portion
        Weights are loaded for the pass and those after it; None where all are on the chip.
    input_rows, ends_input
        How many rows of the image the pass waits for beside those for which others have; it is the frame's last one
        that reads the input memory.  None where a frame waits for all of the image.
    """

    last_tile: int
    last_group: int
    last_group_cycle: int
    last_step: int
    last_pixel: int
    last_row: int
    last_column: int
    slot_wait: int
    slot_wait_of_block: int
    from_input: int
    to_output: int
    begins_portion: int | None = None
    input_rows: int | None = None
    ends_input: int | None = None

    WAIT = 2
    """Cycles of a slot that are over when its wait begins to be counted."""


@dataclass(frozen=True)
class SequencerPlaces:
    """Where a pass reads, and where its words go.

    Parameters
    ----------
    last_out_column
        Last column of its output pixels.
    origin_y, origin_x, second_y, second_x, second_out_column
        Where the windows of the first output pixel and the second one begin, and the latter's column.
    stride_y, stride_x, chunk_y, chunk_x
        From one output pixel's window to the next one's, and from one chunk of a kernel to the next one.
    pitch_address, step_address
        Words from one row of a bank to the next, and from one column to the next.
    base_address
        First word of the map.
    height, width, zero_point
        Of the map, and the value that lies beyond its edges.
    word_step
        Words of the tile buffer from one chunk to the next.
    weight_base, weight_step
        First word of the depthwise weights, and words from one chunk to the next.
    from_input, reduce, last_reduce
        The pass reads the input memory; its windows go to the depthwise engine; it is the frame's last such pass.
    reads_again
        Another pass reads the input memory after it; None where a single one does, or rows are freed by each.
    input_freed
        Rows of the input memory that are free when it ends; None where a frame frees all of them at once.
    reduction_kind
        Number of what the depthwise engine makes of its windows; None if that is the same in all passes.
    weights_again, parameters_again
        All its channel groups have the same weights, the same parameters, which are stored once; None if no pass has.
    next_parameters
        First word of the parameters of the next pass that reduces; None where each pass's follow those before.
    """

    last_out_column: int
    origin_y: Coordinate
    origin_x: Coordinate
    second_y: Coordinate
    second_x: Coordinate
    second_out_column: int
    stride_y: Difference
    stride_x: Difference
    chunk_y: Difference
    chunk_x: Difference
    pitch_address: int
    step_address: int
    base_address: int
    height: int
    width: int
    zero_point: int
    word_step: int
    weight_base: int
    weight_step: int
    from_input: int
    reduce: int
    last_reduce: int
    reduction_kind: int | None
    weights_again: int | None
    parameters_again: int | None
    reads_again: int | None = None
    input_freed: int | None = None
    next_parameters: int | None = None


@dataclass
class _Counters:
    """What counts a tile's steps: whether one is taken in this cycle, whether it is the tile's last, and how many are
    left of everything."""

    stepping: Signal
    tile_end: Signal
    tile: Countdown
    group: Countdown
    step: Countdown
    column: Countdown
    row: Countdown
    pixel: Countdown


class Sequencer(wiring.Component):
    """Steps through every window of every pass of a frame, at the cycles that the schedule fixed.

    For each tile: for each channel group, for each pixel of the tile, for each chunk of the kernel, one step.
    Then it waits for the tile's slot to end.  A frame, or each pass that reads its input where ``times`` tells of
    rows of it, begins when ``input_full``; the pass that writes the results waits, if it must, for ``output_free``.

    Parameters
    ----------
    config, widths
        Shape of the engine, and widths of what the units hand to each other.  An engine that is not pipelined has no
        registers at the sequencer's outputs.
    times, places
        Tables of :class:`SequencerTimes` and :class:`SequencerPlaces`.

    Members
    -------
    input_full : In(1)
        The input memory holds a frame, or ``rows_wanted``; the first step comes :meth:`latency` cycles later.
    input_claim : Out(1)
        A frame begins, or another pass that reads its input; at least a cycle before its ``output_claim``.
    input_release : Out(1)
        The last word of the frame's input is being read; pulses once a frame.
    rows_wanted, rows_claimed : Out, ends_input : Out(1), rows_freed : Out
        Only where ``times`` tells of rows: those that the next pass waits for; those that it waits for no more, as it
        begins; in that cycle, that it is the frame's last one to read the input; and those that are freed with
        ``input_release``, which pulses then for each pass that reads the input.
    output_free : In(1)
        The output memory may be claimed.
    output_claim : Out(1)
        The first pass that writes results begins.
    weights_there : In(1), weights_claim : Out(1)
        The next pass that weights are loaded for may begin; and it does.  Only where ``times`` tells which passes
        those are.
    valid : Out(1)
        A step; all below belong to it.
    y, x, group
        Position of the window and address of its channel group.
    height, width, zero_point, pitch, step, from_input
        Constants of the pass, for the window generator.
    reduce : Out(1)
        The window goes to the depthwise engine, else to the tile buffer as it is.
    reduction_kind : Out
        Of the pass; only where ``places`` has it.
    first, last : Out(1)
        First and last chunk of the kernel.
    weight : Out
        Word of the depthwise weights.
    pixel, word, part : Out
        Place in the tile buffer.
    tile_end : Out(1)
        Last step of the tile.
    group_start, group_end : Out(1)
        First step, and steps of the last pixel, of a channel group that is reduced; ``rewind``, ``commit`` and
        ``restart`` beside them, and ``next_parameters`` where ``places`` has it, say which group's parameters come
        after this one's.
    block_start : Out(1)
        First step of a pass; ``number`` is the pass.
    """

    NAME = InstanceName("sequencer", "sequencer")

    LEAST_SLOT = 4
    """Least cycles from a tile's first step to the next one's."""

    BEGUN = 3
    """Cycles from what a pass waits for to the first one in which what begins with it is over."""

    @staticmethod
    def latency(pipelined: bool) -> int:
        """Cycles from what a frame waits for to its first step."""
        return 4 + pipelined

    def __init__(self, config: EngineConfig, widths: Widths, *, times: DescriptorTable, places: DescriptorTable):
        self.config, self.widths, self.times, self.places = config, widths, times, places
        self.y_layout = coordinate_layout(widths.coordinate, config.window[0], widths.address)
        self.x_layout = coordinate_layout(widths.coordinate, config.window[1], widths.column)
        super().__init__({
            "input_full": In(1), "input_claim": Out(1), "input_release": Out(1),
            "output_free": In(1), "output_claim": Out(1),
            "valid": Out(1), "y": Out(self.y_layout), "x": Out(self.x_layout), "group": Out(widths.address),
            "height": Out(widths.coordinate), "width": Out(widths.coordinate), "zero_point": Out(signed(8)),
            "pitch": Out(widths.address), "step": Out(widths.address), "from_input": Out(1),
            "reduce": Out(1), "first": Out(1), "last": Out(1), "weight": Out(widths.weight),
            "pixel": Out(bits_for(config.rows)), "word": Out(widths.tile_word),
            "part": Out(range(TileBuffer.TILES), init=TileBuffer.TILES - 1),
            "tile_end": Out(1), "group_start": Out(1), "group_end": Out(1),
            "rewind": Out(1), "commit": Out(1), "restart": Out(1),
            "block_start": Out(1), "number": Out(bits_for(len(places))),
            **({"weights_there": In(1), "weights_claim": Out(1)} if "begins_portion" in times else {}),
            **({"rows_wanted": Out(times.layout["input_rows"].shape), "ends_input": Out(1),
                "rows_claimed": Out(times.layout["input_rows"].shape),
                "rows_freed": Out(places.layout["input_freed"].shape)} if "input_rows" in times else {}),
            **{name: Out(places.layout[name].shape) for name in ("reduction_kind", "next_parameters")
               if name in places},
            **({"bank_turn": Out(range(config.window[1]))} if config.written_words > 1 else {}),
        })

    def elaborate(self, platform):
        m = Module()
        begin, begun = Signal(), Signal()
        times, upcoming, _ = self.times.follow(m, begin, name="times", rom="time", before=True)
        place, _, number = self.places.follow(m, begun, name="places", rom="place", before=True)
        starting, tile = self._start_tiles(m, begin, begun, times, upcoming)
        counters = self._count_steps(m, starting, tile, times)
        at, output = self._outputs(m)
        now, first = self._describe_step(m, at, counters, starting, begun, place, number)
        self._walk(m, at, output, now, first, place)
        return m

    def _start_tiles(self, m: Module, begin, begun, times, upcoming):
        """(the cycle before a tile's first step is counted, how many tiles are left).

        What is decided in one cycle is started in the next one, from the pass's own descriptor, and whether a pass may
        begin is known a cycle before."""
        starting, may_begin, waiting = Signal(), Signal(), Signal(init=1)
        tile = Countdown.of(self.times, "last_tile")
        slot_time = Countdown("slot", max(len(times.slot_wait), len(times.slot_wait_of_block)))
        slot_over = slot_time.last & ~waiting
        next_tile = slot_over & ~tile.last
        there = (self.input_full | ~upcoming.from_input) & (self.output_free | ~upcoming.to_output)
        m.d.comb += [begin.eq((waiting | (slot_over & tile.last)) & may_begin),
                     self.input_claim.eq(begun & times.from_input)]
        if "begins_portion" in self.times:
            there &= self.weights_there | ~upcoming.begins_portion
            m.d.comb += self.weights_claim.eq(begun & times.begins_portion)
        if "input_rows" in self.times:
            m.d.comb += [self.rows_wanted.eq(upcoming.input_rows), self.ends_input.eq(begun & times.ends_input),
                         self.rows_claimed.eq(Mux(begun, times.input_rows, 0))]
        m.d.sync += [
            may_begin.eq(there),
            starting.eq(begin | next_tile), begun.eq(begin), self.output_claim.eq(begun & times.to_output),
        ]
        with m.If(begin):
            m.d.sync += [waiting.eq(0), *tile.start(upcoming.last_tile)]
        with m.Elif(slot_over & tile.last):
            m.d.sync += waiting.eq(1)
        with m.Elif(next_tile):
            m.d.sync += tile.step()
        with m.If(starting):
            m.d.sync += [slot_time.left.eq(Mux(tile.last, times.slot_wait_of_block, times.slot_wait)),
                         slot_time.last.eq(0)]
        with m.Elif(~waiting):
            m.d.sync += slot_time.step()
        with m.Else():
            m.d.sync += slot_time.last.eq(0)
        return starting, tile

    def _count_steps(self, m: Module, starting, tile: Countdown, times) -> _Counters:
        """Channel groups begin on time, and take a step a cycle: chunk column, chunk row, pixel."""
        group, group_time = (Countdown.of(self.times, name) for name in ("last_group", "last_group_cycle"))
        step = Countdown.of(self.times, "last_step")
        stepping, more_groups, tile_end = Signal(), Signal(), Signal()
        m.d.comb += tile_end.eq(stepping & step.last & group.last)
        m.d.sync += group_time.step()
        with m.If(stepping):
            m.d.sync += step.step()
            with m.If(step.last):
                m.d.sync += [stepping.eq(0), *group.step()]
        with m.If(tile_end):
            m.d.sync += more_groups.eq(0)
        with m.If(starting):
            m.d.sync += [*group.start(times.last_group), more_groups.eq(1)]
        with m.If(starting | (group_time.last & more_groups & ~tile_end)):
            m.d.sync += [*group_time.start(times.last_group_cycle), *step.start(times.last_step), stepping.eq(1)]

        column, row, pixel = (Countdown.of(self.times, f"last_{name}") for name in ("column", "row", "pixel"))
        with m.If(stepping):
            m.d.sync += column.step()
            with m.If(column.last):
                m.d.sync += [*column.start(times.last_column), *row.step()]
                with m.If(row.last):
                    m.d.sync += [*row.start(times.last_row), *pixel.step()]
                    with m.If(pixel.last):
                        m.d.sync += pixel.start(times.last_pixel)
        with m.If(starting):
            m.d.sync += [*column.start(times.last_column), *row.start(times.last_row),
                         *pixel.start(times.last_pixel)]
        return _Counters(stepping, tile_end, tile, group, step, column, row, pixel)

    def _outputs(self, m: Module):
        """(signals by the names of the outputs, what drives the outputs with them).

        They belong to the step of the cycle before, whose pass's descriptor is current then.  A register follows them
        in an engine that is pipelined.  ``y`` and ``x`` are sums that are made on the way (:meth:`_walk`)."""
        names = [name for name, member in self.signature.members.items()
                 if member.flow is Out and name not in ("y", "x", "input_claim", "output_claim", "weights_claim",
                                                           "rows_wanted", "rows_claimed", "ends_input")]
        at = SimpleNamespace(**{name: Signal.like(getattr(self, name), name=f"{name}_ahead") for name in names})
        output = m.d.sync if self.config.pipelined else m.d.comb
        output += [getattr(self, name).eq(getattr(at, name)) for name in names]
        return at, output

    def _describe_step(self, m: Module, at, counters: _Counters, starting, begun, place, number):
        """(what ended with the step of the cycle before, or begins now; whether the step is the first one of its pixel,
        channel group and pass)."""
        column, row, pixel, group = counters.column, counters.row, counters.pixel, counters.group
        stepping = counters.stepping
        block_first, pixel_first, group_first, last_tile = Signal(), Signal(), Signal(), Signal()
        now = {name: Signal(name=f"now_{name}") for name in ("column", "row", "pixel", "group", "tile", "block")}
        with m.If(starting):
            m.d.sync += last_tile.eq(counters.tile.last)
        rewind, read_last = group.last & ~last_tile, place.from_input
        if "reads_again" in self.places:
            read_last &= ~place.reads_again
        if "parameters_again" in self.places:
            # The next group's are this one's.
            rewind |= place.parameters_again & ~group.last
        m.d.sync += [
            at.valid.eq(stepping), at.last.eq(row.last & column.last), at.tile_end.eq(counters.tile_end),
            at.input_release.eq(counters.tile_end & last_tile & read_last),
            at.reduce.eq(place.reduce), at.group_end.eq(stepping & pixel.last & place.reduce),
            at.number.eq(number),
            at.rewind.eq(rewind), at.commit.eq(group.last & last_tile),
            at.restart.eq(group.last & last_tile & place.last_reduce),
            now["column"].eq(stepping & ~column.last),
            now["row"].eq(stepping & column.last & ~row.last),
            now["pixel"].eq(stepping & column.last & row.last & ~pixel.last),
            now["group"].eq(stepping & counters.step.last & ~group.last),
            now["tile"].eq(starting), now["block"].eq(begun),
        ]
        m.d.comb += [*(getattr(at, name).eq(getattr(place, name))
                       for name in ("height", "width", "zero_point", "from_input")),
                     at.pitch.eq(place.pitch_address), at.step.eq(place.step_address),
                     at.first.eq(pixel_first), at.group_start.eq(at.valid & group_first & at.reduce),
                     at.block_start.eq(at.valid & block_first)]
        if "input_freed" in self.places:
            m.d.sync += at.rows_freed.eq(place.input_freed)
        for name in ("reduction_kind", "next_parameters"):
            if name in self.places:
                m.d.sync += getattr(at, name).eq(getattr(place, name))
        return now, SimpleNamespace(pixel=pixel_first, group=group_first, block=block_first)

    def _walk(self, m: Module, at, output, now, first, place):
        """Where each step's window lies, and its words in the tile buffer and the depthwise weights.

        Four output pixels are remembered: the one whose window is read, the one after it, and the first and the second
        one of the tile, to which each channel group returns."""
        group_word, group_weight = Signal.like(at.word), Signal.like(at.weight)
        pixel_y, pixel_x = Signal(self.y_layout), Signal(self.x_layout)
        next_y, next_x = Signal(self.y_layout), Signal(self.x_layout)
        tile_y, tile_x = Signal(self.y_layout), Signal(self.x_layout)
        second_y, second_x = Signal(self.y_layout), Signal(self.x_layout)
        next_column, second_column = Signal.like(place.last_out_column), Signal.like(place.last_out_column)
        after_y, after_x, after_column = Signal(self.y_layout), Signal(self.x_layout), Signal.like(next_column)
        row_end = next_column == place.last_out_column
        m.d.comb += [
            after_y.eq(Mux(row_end, self._advanced(m, place, next_y, "stride_y"), next_y)),
            after_x.eq(Mux(row_end, self._given(m, place, "origin_x"), self._advanced(m, place, next_x, "stride_x"))),
            after_column.eq(Mux(row_end, 0, next_column + 1)),
        ]

        def go_to(y, x):
            return [pixel_y.eq(y), pixel_x.eq(x)]

        def then(y, x, out_column):
            return [next_y.eq(y), next_x.eq(x), next_column.eq(out_column)]

        with m.If(at.valid):
            m.d.sync += [at.weight.eq(at.weight + place.weight_step), at.word.eq(at.word + place.word_step),
                         first.pixel.eq(0), first.group.eq(0), first.block.eq(0)]
        self._place_window(m, output, now, place, pixel_y, pixel_x)
        with m.If(now["pixel"]):
            m.d.sync += [at.pixel.eq(at.pixel + 1), *go_to(next_y, next_x), *then(after_y, after_x, after_column),
                         at.weight.eq(group_weight), at.word.eq(group_word), first.pixel.eq(1)]
        with m.If(now["group"]):
            m.d.sync += [at.group.eq(at.group + 1), *go_to(tile_y, tile_x),
                         *then(second_y, second_x, second_column),
                         group_weight.eq(at.weight + place.weight_step), group_word.eq(group_word + 1),
                         at.word.eq(group_word + 1)]
            if "weights_again" in self.places:
                with m.If(place.weights_again):
                    m.d.sync += [group_weight.eq(group_weight), at.weight.eq(group_weight)]
        with m.If(at.tile_end):
            # The next tile begins with the pixel after this one's last.
            m.d.sync += [*go_to(next_y, next_x), *then(after_y, after_x, after_column),
                         tile_y.eq(next_y), tile_x.eq(next_x), second_y.eq(after_y),
                         second_x.eq(after_x), second_column.eq(after_column)]
        if self.config.written_words > 1:
            banks = self.config.window[1]
            with m.If(now["group"]):
                m.d.sync += at.bank_turn.eq(Array([(turn + 1) % banks for turn in range(banks)])[at.bank_turn])
            with m.If(now["tile"]):
                m.d.sync += at.bank_turn.eq(0)
        with m.If(now["group"] | at.tile_end):
            m.d.sync += [at.pixel.eq(0), first.group.eq(1), first.pixel.eq(1)]
        with m.If(now["tile"]):
            m.d.sync += [at.group.eq(place.base_address), at.weight.eq(place.weight_base),
                         group_weight.eq(place.weight_base), at.word.eq(0), group_word.eq(0),
                         at.part.eq(at.part + 1)]
        with m.If(now["block"]):
            y, x = self._given(m, place, "origin_y"), self._given(m, place, "origin_x")
            second = self._given(m, place, "second_y"), self._given(m, place, "second_x")
            m.d.sync += [
                *go_to(y, x), *then(*second, place.second_out_column), tile_y.eq(y), tile_x.eq(x),
                second_y.eq(second[0]), second_x.eq(second[1]), second_column.eq(place.second_out_column),
                first.pixel.eq(1), first.group.eq(1), first.block.eq(1),
            ]

    def _place_window(self, m: Module, output, now, place, pixel_y, pixel_x):
        """``y`` and ``x``: the first tap of a pixel's window, and what lies between it and that of the step's chunk."""
        down, across = Signal(self.y_layout), Signal(self.x_layout)
        with m.If(now["column"]):
            m.d.sync += across.eq(self._advanced(m, place, across, "chunk_x"))
        with m.Else():
            m.d.sync += across.eq(0)
        with m.If(now["row"]):
            m.d.sync += down.eq(self._advanced(m, place, down, "chunk_y"))
        with m.Elif(now["pixel"] | now["group"] | now["tile"]):
            m.d.sync += down.eq(0)
        output += [self.y.eq(self._sum(m, pixel_y, down, self.config.window[0], place.pitch_address)),
                   self.x.eq(self._sum(m, pixel_x, across, self.config.window[1], place.step_address))]

    def _advanced(self, m: Module, place, at, step: str):
        """``at`` moved by the descriptor's ``step``."""
        name = f"{step}_{at.as_value().name}"
        total, wrapped = modular_sum(m, at.remainder, getattr(place, f"{step}_remainder"),
                                     self.config.window["yx".index(step[-1])], name=name)
        moved = Signal(at.shape(), name=name)
        m.d.comb += [
            moved.value.eq(at.value + getattr(place, f"{step}_value")), moved.remainder.eq(total),
            moved.address.eq(at.address + Mux(wrapped, getattr(place, f"{step}_wrapped_address"),
                                              getattr(place, f"{step}_address"))),
        ]
        return moved

    def _sum(self, m: Module, pixel, chunk, banks: int, next_bank):
        """The sum of two coordinates, whose address is higher by ``next_bank`` if the sum of their remainders is too
        large for one."""
        name = pixel.as_value().name.replace("pixel", "placed")
        total, wrapped = modular_sum(m, pixel.remainder, chunk.remainder, banks, name=name)
        moved = Signal(pixel.shape(), name=name)
        m.d.comb += [moved.value.eq(pixel.value + chunk.value), moved.remainder.eq(total),
                     moved.address.eq(pixel.address + chunk.address + Mux(wrapped, next_bank, 0))]
        return moved

    def _given(self, m: Module, place, name: str):
        """A coordinate that the descriptor holds."""
        at = Signal(self.y_layout if name.endswith("y") else self.x_layout, name=name)
        m.d.comb += [at[field].eq(getattr(place, f"{name}_{field}")) for field in at.shape().members]
        return at

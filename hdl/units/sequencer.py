"""The sequencer: one descriptor per block, one step a cycle."""

from types import SimpleNamespace

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.primitives import bits_for

from .arithmetic import modular_sum
from .descriptor_table import Countdown, DescriptorTable
from .tile_buffer import TileBuffer
from .window import coordinate_layout

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Steps through every window of every block of a frame, at the cycles that the schedule fixed.

    For each tile: for each channel group, for each pixel of the tile, for each chunk of the kernel, one step.
    Then it waits for the tile's slot to end.  A frame begins when ``input_full``; the block that writes the
    results waits, if it must, for ``output_free``.

    Parameters
    ----------
    times, places
        From :func:`~tepal.hdl.plan.descriptors.sequencer_times` and
        :func:`~tepal.hdl.plan.descriptors.sequencer_places`.
    window
        Banks, (rows, columns).
    value_bits, address_bits, column_bits
        Widths of coordinates, of addresses, and of what a column adds to one.
    tile_words, rows, weight_words
        Extent of the tile buffer (words of a tile, pixels) and of the depthwise weights.
    pipelined
        Without, for small parts, there are no registers at the outputs.

    Members
    -------
    input_full : In(1)
        The input memory holds a frame; its first step comes :meth:`latency` cycles later.
    input_claim : Out(1)
        A frame begins; at least a cycle before its ``output_claim``.
    input_release : Out(1)
        The last word of the frame's input is being read; pulses once a frame.
    output_free : In(1)
        The output memory may be claimed.
    output_claim : Out(1)
        The block that writes the results begins.
    valid : Out(1)
        A step; all below belong to it.
    y, x, group
        Position of the window and address of its channel group.
    height, width, zero_point, pitch, step, from_input
        Constants of the block, for the window generator.
    reduce : Out(1)
        The window goes to the depthwise engine, else to the tile buffer as it is.
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
        ``restart`` beside them say which group's parameters come after this one's.
    block_start : Out(1)
        First step of a block; ``number`` is the block.
    """

    @staticmethod
    def latency(pipelined: bool) -> int:
        """Cycles from what a frame waits for to its first step."""
        return 4 + pipelined

    def __init__(self, times: DescriptorTable, places: DescriptorTable, window, value_bits: int, address_bits: int,
                 column_bits: int, rows: int, tile_words: int, weight_words: int, pipelined: bool = True):
        self.times, self.places, self.window, self.pipelined = times, places, window, pipelined
        self.y_layout = coordinate_layout(value_bits, window[0], address_bits)
        self.x_layout = coordinate_layout(value_bits, window[1], column_bits)
        super().__init__({
            "input_full": In(1), "input_claim": Out(1), "input_release": Out(1),
            "output_free": In(1), "output_claim": Out(1),
            "valid": Out(1), "y": Out(self.y_layout), "x": Out(self.x_layout), "group": Out(address_bits),
            "height": Out(value_bits), "width": Out(value_bits), "zero_point": Out(signed(8)),
            "pitch": Out(address_bits), "step": Out(address_bits), "from_input": Out(1),
            "reduce": Out(1), "first": Out(1), "last": Out(1), "weight": Out(bits_for(weight_words)),
            "pixel": Out(bits_for(rows)), "word": Out(bits_for(tile_words)),
            "part": Out(range(TileBuffer.TILES), init=TileBuffer.TILES - 1),
            "tile_end": Out(1), "group_start": Out(1), "group_end": Out(1),
            "rewind": Out(1), "commit": Out(1), "restart": Out(1),
            "block_start": Out(1), "number": Out(bits_for(len(places))),
        })

    def elaborate(self, platform):
        m = Module()
        begin, begun = Signal(), Signal()
        d, upcoming, _ = self.times.follow(m, begin, name="times", before=True)
        place, _, number = self.places.follow(m, begun, name="places", before=True)

        def advanced(layout, banks, at, step):
            """``at`` moved by the descriptor's ``step``."""
            name = f"{step}_{at.as_value().name}"
            total, wrapped = modular_sum(m, at.remainder, getattr(place, f"{step}_remainder"), banks, name=name)
            moved = Signal(layout, name=name)
            m.d.comb += [
                moved.value.eq(at.value + getattr(place, f"{step}_value")), moved.remainder.eq(total),
                moved.address.eq(at.address + Mux(wrapped, getattr(place, f"{step}_wrapped_address"),
                                                    getattr(place, f"{step}_address"))),
            ]
            return moved

        def placed(layout, banks, pixel, chunk, next_bank):
            """The sum of two coordinates; ``next_bank`` is what the address is higher by if their remainders wrap."""
            name = pixel.as_value().name.replace("pixel", "placed")
            total, wrapped = modular_sum(m, pixel.remainder, chunk.remainder, banks, name=name)
            moved = Signal(layout, name=name)
            m.d.comb += [moved.value.eq(pixel.value + chunk.value), moved.remainder.eq(total),
                         moved.address.eq(pixel.address + chunk.address + Mux(wrapped, next_bank, 0))]
            return moved

        def of(name, layout):
            """A coordinate that the descriptor holds."""
            at = Signal(layout, name=name)
            m.d.comb += [at[field].eq(getattr(place, f"{name}_{field}")) for field in at.shape().members]
            return at

        # When tiles begin.  What is decided in one cycle is started in the next one, from the block's own descriptor;
        # whether a block may begin is known a cycle before.
        starting, may_begin, waiting = Signal(), Signal(), Signal(init=1)
        tile = Countdown.of(self.times, "last_tile")
        slot_time = Countdown("slot", max(len(d.slot_wait), len(d.slot_wait_of_block)))
        slot_over = slot_time.last & ~waiting
        next_tile = slot_over & ~tile.last
        m.d.comb += [begin.eq((waiting | (slot_over & tile.last)) & may_begin),
                     self.input_claim.eq(begun & d.from_input)]
        m.d.sync += [
            may_begin.eq((self.input_full | ~upcoming.from_input) & (self.output_free | ~upcoming.to_output)),
            starting.eq(begin | next_tile), begun.eq(begin), self.output_claim.eq(begun & d.to_output),
        ]
        with m.If(begin):
            m.d.sync += [waiting.eq(0), *tile.start(upcoming.last_tile)]
        with m.Elif(slot_over & tile.last):
            m.d.sync += waiting.eq(1)
        with m.Elif(next_tile):
            m.d.sync += tile.step()
        with m.If(starting):
            m.d.sync += [slot_time.left.eq(Mux(tile.last, d.slot_wait_of_block, d.slot_wait)), slot_time.last.eq(0)]
        with m.Elif(~waiting):
            m.d.sync += slot_time.step()
        with m.Else():
            m.d.sync += slot_time.last.eq(0)

        # When steps are made: channel groups begin on time, and have a step a cycle.
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
            m.d.sync += [*group.start(d.last_group), more_groups.eq(1)]
        with m.If(starting | (group_time.last & more_groups & ~tile_end)):
            m.d.sync += [*group_time.start(d.last_group_cycle), *step.start(d.last_step), stepping.eq(1)]

        # From one step to the next: chunk column, chunk row, pixel.
        column, row, pixel = (Countdown.of(self.times, f"last_{name}") for name in ("column", "row", "pixel"))
        with m.If(stepping):
            m.d.sync += column.step()
            with m.If(column.last):
                m.d.sync += [*column.start(d.last_column), *row.step()]
                with m.If(row.last):
                    m.d.sync += [*row.start(d.last_row), *pixel.step()]
                    with m.If(pixel.last):
                        m.d.sync += pixel.start(d.last_pixel)
        with m.If(starting):
            m.d.sync += [*column.start(d.last_column), *row.start(d.last_row), *pixel.start(d.last_pixel)]

        # Where: a cycle later, by a few registers, with the descriptor of the block whose step it is. At the outputs a
        # position is the sum of a pixel's and a chunk's of its window: yet another cycle later, if pipelined.
        names = [name for name, member in self.signature.members.items()
                 if member.flow is Out and name not in ("y", "x", "input_claim", "output_claim")]
        at = SimpleNamespace(**{name: Signal.like(getattr(self, name), name=f"{name}_ahead") for name in names})
        output = m.d.sync if self.pipelined else m.d.comb
        output += [getattr(self, name).eq(getattr(at, name)) for name in names]
        block_first, pixel_first, group_first, last_tile = Signal(), Signal(), Signal(), Signal()
        now = {name: Signal(name=f"now_{name}") for name in ("column", "row", "pixel", "group", "tile", "block")}
        with m.If(starting):
            m.d.sync += last_tile.eq(tile.last)
        rewind = group.last & ~last_tile
        if "parameters_again" in self.places.rows[0]:
            # The next group's are this one's.
            rewind |= place.parameters_again & ~group.last
        m.d.sync += [
            at.valid.eq(stepping), at.last.eq(row.last & column.last), at.tile_end.eq(tile_end),
            at.input_release.eq(tile_end & last_tile & place.from_input),
            at.reduce.eq(place.reduce), at.group_end.eq(stepping & pixel.last & place.reduce),
            at.number.eq(number),
            at.rewind.eq(rewind), at.commit.eq(group.last & last_tile),
            at.restart.eq(group.last & last_tile & place.last_reduce),
            now["column"].eq(stepping & ~column.last),
            now["row"].eq(stepping & column.last & ~row.last),
            now["pixel"].eq(stepping & column.last & row.last & ~pixel.last),
            now["group"].eq(stepping & step.last & ~group.last),
            now["tile"].eq(starting), now["block"].eq(begun),
        ]
        ended = at.tile_end
        m.d.comb += [*(getattr(at, name).eq(getattr(place, name))
                       for name in ("height", "width", "zero_point", "from_input")),
                     at.pitch.eq(place.pitch_address), at.step.eq(place.step_address),
                     at.first.eq(pixel_first), at.group_start.eq(at.valid & group_first & at.reduce),
                     at.block_start.eq(at.valid & block_first)]

        # The pixel whose window is read, the one behind it, and of a tile, which is walked once for each group, the
        # first and the second.
        group_word, group_weight = Signal.like(at.word), Signal.like(at.weight)
        pixel_y, pixel_x = Signal(self.y_layout), Signal(self.x_layout)
        next_y, next_x = Signal(self.y_layout), Signal(self.x_layout)
        tile_y, tile_x = Signal(self.y_layout), Signal(self.x_layout)
        second_y, second_x = Signal(self.y_layout), Signal(self.x_layout)
        next_column, second_column = Signal.like(place.last_out_column), Signal.like(place.last_out_column)
        after_y, after_x, after_column = Signal(self.y_layout), Signal(self.x_layout), Signal.like(next_column)
        row_end = next_column == place.last_out_column
        m.d.comb += [
            after_y.eq(Mux(row_end, advanced(self.y_layout, self.window[0], next_y, "stride_y"), next_y)),
            after_x.eq(Mux(row_end, of("origin_x", self.x_layout),
                           advanced(self.x_layout, self.window[1], next_x, "stride_x"))),
            after_column.eq(Mux(row_end, 0, next_column + 1)),
        ]

        def go_to(y, x):
            return [pixel_y.eq(y), pixel_x.eq(x)]

        def then(y, x, out_column):
            return [next_y.eq(y), next_x.eq(x), next_column.eq(out_column)]

        with m.If(at.valid):
            m.d.sync += [at.weight.eq(at.weight + place.weight_step), at.word.eq(at.word + place.word_step),
                         pixel_first.eq(0), group_first.eq(0), block_first.eq(0)]
        # Of a window's chunks the first is at its pixel.
        down, across = Signal(self.y_layout), Signal(self.x_layout)
        with m.If(now["column"]):
            m.d.sync += across.eq(advanced(self.x_layout, self.window[1], across, "chunk_x"))
        with m.Else():
            m.d.sync += across.eq(0)
        with m.If(now["row"]):
            m.d.sync += down.eq(advanced(self.y_layout, self.window[0], down, "chunk_y"))
        with m.Elif(now["pixel"] | now["group"] | now["tile"]):
            m.d.sync += down.eq(0)
        output += [self.y.eq(placed(self.y_layout, self.window[0], pixel_y, down, place.pitch_address)),
                   self.x.eq(placed(self.x_layout, self.window[1], pixel_x, across, place.step_address))]
        with m.If(now["pixel"]):
            m.d.sync += [at.pixel.eq(at.pixel + 1), *go_to(next_y, next_x), *then(after_y, after_x, after_column),
                         at.weight.eq(group_weight), at.word.eq(group_word), pixel_first.eq(1)]
        with m.If(now["group"]):
            m.d.sync += [at.group.eq(at.group + 1), *go_to(tile_y, tile_x),
                         *then(second_y, second_x, second_column),
                         group_weight.eq(at.weight + place.weight_step), group_word.eq(group_word + 1),
                         at.word.eq(group_word + 1)]
            if "weights_again" in self.places.rows[0]:
                with m.If(place.weights_again):
                    m.d.sync += [group_weight.eq(group_weight), at.weight.eq(group_weight)]
        with m.If(ended):
            # The next tile begins behind this one's last pixel.
            m.d.sync += [*go_to(next_y, next_x), *then(after_y, after_x, after_column),
                         tile_y.eq(next_y), tile_x.eq(next_x), second_y.eq(after_y),
                         second_x.eq(after_x), second_column.eq(after_column)]
        with m.If(now["group"] | ended):
            m.d.sync += [at.pixel.eq(0), group_first.eq(1), pixel_first.eq(1)]
        with m.If(now["tile"]):
            m.d.sync += [at.group.eq(place.base_address), at.weight.eq(place.weight_base),
                         group_weight.eq(place.weight_base), at.word.eq(0), group_word.eq(0),
                         at.part.eq(at.part + 1)]
        with m.If(now["block"]):
            y, x = of("origin_y", self.y_layout), of("origin_x", self.x_layout)
            second = of("second_y", self.y_layout), of("second_x", self.x_layout)
            m.d.sync += [
                *go_to(y, x), *then(*second, place.second_out_column), tile_y.eq(y), tile_x.eq(x),
                second_y.eq(second[0]), second_x.eq(second[1]), second_column.eq(place.second_out_column),
                pixel_first.eq(1), group_first.eq(1), block_first.eq(1),
            ]
        return m

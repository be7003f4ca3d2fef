"""The sequencer: one descriptor per block, one step a cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .descriptor_table import DescriptorTable
from .primitives import bits_for, modular_sum
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
    table
        From :func:`~tepal.hdl.descriptors.sequencer_descriptors`.
    window
        Banks, (rows, columns).
    value_bits, address_bits, column_bits
        Widths of coordinates, of addresses, and of what a column adds to one.
    tile_words, rows, weight_words
        Extent of the tile buffer (words of a tile, pixels) and of the depthwise weights.

    Members
    -------
    input_full : In(1)
        The input memory holds a frame; its first step comes :attr:`LATENCY` cycles later.
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

    LATENCY = 2

    def __init__(self, table: DescriptorTable, window, value_bits: int, address_bits: int, column_bits: int,
                 rows: int, tile_words: int, weight_words: int):
        self.table, self.window = table, window
        self.y_layout = coordinate_layout(value_bits, window[0], address_bits)
        self.x_layout = coordinate_layout(value_bits, window[1], column_bits)
        super().__init__({
            "input_full": In(1), "input_release": Out(1), "output_free": In(1), "output_claim": Out(1),
            "valid": Out(1), "y": Out(self.y_layout), "x": Out(self.x_layout), "group": Out(address_bits),
            "height": Out(value_bits), "width": Out(value_bits), "zero_point": Out(signed(8)),
            "pitch": Out(address_bits), "step": Out(address_bits), "from_input": Out(1),
            "reduce": Out(1), "first": Out(1), "last": Out(1), "weight": Out(bits_for(weight_words)),
            "pixel": Out(bits_for(rows)), "word": Out(bits_for(tile_words)),
            "part": Out(range(TileBuffer.TILES), init=TileBuffer.TILES - 1),
            "tile_end": Out(1), "group_start": Out(1), "group_end": Out(1),
            "rewind": Out(1), "commit": Out(1), "restart": Out(1),
            "block_start": Out(1), "number": Out(bits_for(len(table))),
        })

    def elaborate(self, platform):
        m = Module()
        begin = Signal()
        d, upcoming, number = self.table.follow(m, begin, name="descriptor", before=True)

        def advanced(layout, banks, place, step):
            """``place`` moved by the descriptor's ``step``."""
            name = f"{step}_{place.as_value().name}"
            total, wrapped = modular_sum(m, place.remainder, getattr(d, f"{step}_remainder"), banks, name=name)
            moved = Signal(layout, name=name)
            m.d.comb += [
                moved.value.eq(place.value + getattr(d, f"{step}_value")), moved.remainder.eq(total),
                moved.address.eq(place.address + Mux(wrapped, getattr(d, f"{step}_wrapped_address"),
                                                    getattr(d, f"{step}_address"))),
            ]
            return moved

        def of(name, layout):
            """A coordinate that the descriptor holds."""
            place = Signal(layout, name=name)
            m.d.comb += [place[field].eq(getattr(d, f"{name}_{field}")) for field in ("value", "remainder", "address")]
            return place

        # Two halves: what happens when is counted here, by counters that fall to zero, and told to the other half
        # by a few registers; so the places below, a cycle behind, need no more than those.
        class Countdown:
            """``last`` is set while nothing is left to count."""

            def __init__(self, name, full):
                self.left, self.last = Signal.like(full, name=f"{name}_left"), Signal(name=f"last_{name}", init=1)

            def start(self, full):
                return [self.left.eq(full), self.last.eq(full == 0)]

            def step(self):
                return [self.left.eq(self.left - 1), self.last.eq(self.left == 1)]

        column, row = Countdown("column", d.last_column), Countdown("row", d.last_row)
        pixel, group = Countdown("pixel", d.last_pixel), Countdown("group", d.last_group)
        tile = Countdown("tile", d.last_tile)
        group_time = Countdown("group_cycle", d.last_group_cycle)
        slot_time = Countdown("slot_cycle", Signal(max(len(d.last_slot_cycle), len(d.last_slot_cycle_of_block))))
        stepping, more_groups = Signal(), Signal()
        tile_end, next_tile = Signal(), Signal()
        m.d.comb += tile_end.eq(stepping & column.last & row.last & pixel.last & group.last)

        # One step to the next: chunk column, chunk row, pixel, channel group.
        with m.If(stepping):
            with m.If(~column.last):
                m.d.sync += column.step()
            with m.Else():
                m.d.sync += column.start(d.last_column)
                with m.If(~row.last):
                    m.d.sync += row.step()
                with m.Else():
                    m.d.sync += row.start(d.last_row)
                    with m.If(~pixel.last):
                        m.d.sync += pixel.step()
                    with m.Else():
                        m.d.sync += [*pixel.start(d.last_pixel), stepping.eq(0)]
                        with m.If(~group.last):
                            m.d.sync += group.step()

        # Groups and tiles begin on time.
        m.d.sync += group_time.step()
        with m.If(tile_end):
            m.d.sync += more_groups.eq(0)
        with m.If(group_time.last & more_groups & ~tile_end):
            m.d.sync += [*group_time.start(d.last_group_cycle), stepping.eq(1)]

        waiting = Signal(init=1)
        m.d.sync += slot_time.step()

        def start_tile(descriptor, is_last):
            m.d.comb += next_tile.eq(1)
            m.d.sync += [
                stepping.eq(1), more_groups.eq(1), *group_time.start(descriptor.last_group_cycle),
                # A slot is never over at once.
                slot_time.left.eq(Mux(is_last, descriptor.last_slot_cycle_of_block, descriptor.last_slot_cycle)),
                slot_time.last.eq(0), *group.start(descriptor.last_group), waiting.eq(0),
            ]

        # Long before a tile ends: is the next one the last?
        next_is_last = Signal()
        m.d.sync += next_is_last.eq(tile.left == 1)
        with m.If(~waiting & slot_time.last & ~tile.last):
            start_tile(d, next_is_last)
            m.d.sync += tile.step()
        with m.If((waiting | (slot_time.last & tile.last)) & (self.input_full | ~upcoming.from_input)
                  & (self.output_free | ~upcoming.to_output)):
            start_tile(upcoming, upcoming.last_tile == 0)
            m.d.comb += begin.eq(1)
            m.d.sync += [*tile.start(upcoming.last_tile), *pixel.start(upcoming.last_pixel),
                         *row.start(upcoming.last_row), *column.start(upcoming.last_column)]
        with m.Elif(slot_time.last & tile.last):
            m.d.sync += waiting.eq(1)
        m.d.sync += self.output_claim.eq(begin & upcoming.to_output)

        # The other half: a cycle later, ``d`` is the descriptor of a block that was begun, or still the same.
        block_first, pixel_first, group_first = Signal(), Signal(), Signal()
        now = {name: Signal(name=f"now_{name}") for name in ("column", "row", "pixel", "group", "tile", "block")}
        m.d.sync += [
            self.valid.eq(stepping), self.last.eq(row.last & column.last), self.tile_end.eq(tile_end),
            self.input_release.eq(tile_end & tile.last & d.from_input),
            self.reduce.eq(d.reduce), self.group_end.eq(stepping & pixel.last & d.reduce), self.number.eq(number),
            self.rewind.eq(group.last & ~tile.last), self.commit.eq(group.last & tile.last),
            self.restart.eq(group.last & tile.last & d.last_reduce),
            now["column"].eq(stepping & ~column.last),
            now["row"].eq(stepping & column.last & ~row.last),
            now["pixel"].eq(stepping & column.last & row.last & ~pixel.last),
            now["group"].eq(stepping & column.last & row.last & pixel.last & ~group.last),
            now["tile"].eq(next_tile), now["block"].eq(begin),
        ]
        ended = self.tile_end
        m.d.comb += [self.height.eq(d.height), self.width.eq(d.width), self.zero_point.eq(d.zero_point),
                     self.pitch.eq(d.pitch_address), self.step.eq(d.step_address), self.from_input.eq(d.from_input),
                     self.first.eq(pixel_first), self.group_start.eq(self.valid & group_first & self.reduce),
                     self.block_start.eq(self.valid & block_first)]

        # The pixel whose window is read (only its column is returned to), the one behind it, and of a tile, which is
        # walked once for each group, the first and the second.
        group_word, group_weight = Signal.like(self.word), Signal.like(self.weight)
        pixel_x = Signal(self.x_layout)
        next_y, next_x = Signal(self.y_layout), Signal(self.x_layout)
        tile_y, tile_x = Signal(self.y_layout), Signal(self.x_layout)
        second_y, second_x = Signal(self.y_layout), Signal(self.x_layout)
        next_column, second_column = Signal.like(d.last_out_column), Signal.like(d.last_out_column)
        after_y, after_x, after_column = Signal(self.y_layout), Signal(self.x_layout), Signal.like(next_column)
        row_end = next_column == d.last_out_column
        m.d.comb += [
            after_y.eq(Mux(row_end, advanced(self.y_layout, self.window[0], next_y, "stride_y"), next_y)),
            after_x.eq(Mux(row_end, of("origin_x", self.x_layout),
                           advanced(self.x_layout, self.window[1], next_x, "stride_x"))),
            after_column.eq(Mux(row_end, 0, next_column + 1)),
        ]

        def go_to(y, x):
            return [self.y.eq(y), self.x.eq(x), pixel_x.eq(x)]

        def then(y, x, out_column):
            return [next_y.eq(y), next_x.eq(x), next_column.eq(out_column)]

        with m.If(self.valid):
            m.d.sync += [self.weight.eq(self.weight + d.weight_step), self.word.eq(self.word + d.word_step),
                         pixel_first.eq(0), group_first.eq(0), block_first.eq(0)]
        with m.If(now["column"]):
            m.d.sync += self.x.eq(advanced(self.x_layout, self.window[1], self.x, "chunk_x"))
        with m.If(now["row"]):
            m.d.sync += [self.x.eq(pixel_x), self.y.eq(advanced(self.y_layout, self.window[0], self.y, "chunk_y"))]
        with m.If(now["pixel"]):
            m.d.sync += [self.pixel.eq(self.pixel + 1), *go_to(next_y, next_x), *then(after_y, after_x, after_column),
                         self.weight.eq(group_weight), self.word.eq(group_word), pixel_first.eq(1)]
        with m.If(now["group"]):
            m.d.sync += [self.group.eq(self.group + 1), *go_to(tile_y, tile_x),
                         *then(second_y, second_x, second_column),
                         group_weight.eq(self.weight + d.weight_step), group_word.eq(group_word + 1),
                         self.word.eq(group_word + 1)]
        with m.If(ended):
            # The next tile begins behind this one's last pixel.
            m.d.sync += [*go_to(next_y, next_x), *then(after_y, after_x, after_column),
                         tile_y.eq(next_y), tile_x.eq(next_x), second_y.eq(after_y),
                         second_x.eq(after_x), second_column.eq(after_column)]
        with m.If(now["group"] | ended):
            m.d.sync += [self.pixel.eq(0), group_first.eq(1), pixel_first.eq(1)]
        with m.If(now["tile"]):
            m.d.sync += [self.group.eq(d.base_address), self.weight.eq(d.weight_base), group_weight.eq(d.weight_base),
                         self.word.eq(0), group_word.eq(0), self.part.eq(self.part + 1)]
        with m.If(now["block"]):
            y, x = of("origin_y", self.y_layout), of("origin_x", self.x_layout)
            second = of("second_y", self.y_layout), of("second_x", self.x_layout)
            m.d.sync += [
                *go_to(y, x), *then(*second, d.second_out_column), tile_y.eq(y), tile_x.eq(x),
                second_y.eq(second[0]), second_x.eq(second[1]), second_column.eq(d.second_out_column),
                pixel_first.eq(1), group_first.eq(1), block_first.eq(1),
            ]
        return m

"""The sequencer: one descriptor per block, one step a cycle."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from .descriptors import DescriptorTable
from .primitives import bits_for
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
    value_bits, address_bits
        Widths of coordinates, and in which addresses are computed.
    tile_words, rows, weight_words
        Extent of the tile buffer (words of a tile, pixels) and of the depthwise weights.

    Members
    -------
    input_full : In(1)
        The input memory holds a frame.
    input_release : Out(1)
        The last word of the frame's input is being read; pulses once a frame.
    output_free : In(1)
        The output memory may be claimed.
    output_claim : Out(1)
        The block that writes the results begins in the next cycle.
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

    def __init__(self, table: DescriptorTable, window, value_bits: int, address_bits: int, rows: int,
                 tile_words: int, weight_words: int):
        self.table, self.window = table, window
        self.y_layout = coordinate_layout(value_bits, window[0], address_bits)
        self.x_layout = coordinate_layout(value_bits, window[1], address_bits)
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
        d, upcoming, number = self.table.follow(m, begin, name="descriptor")

        def advanced(layout, banks, place, descriptor, step, wrap):
            """``place`` moved by a step of ``descriptor``; ``wrap`` is what a whole bank row adds."""
            total = Signal(range(2 * banks), name=f"{step}_{place.as_value().name}_remainder")
            carry = Signal(name=f"{step}_{place.as_value().name}_carry")
            m.d.comb += [total.eq(place.remainder + getattr(descriptor, f"{step}_remainder")),
                         carry.eq(total >= banks)]
            moved = Signal(layout, name=f"{step}_{place.as_value().name}")
            m.d.comb += [
                moved.value.eq(place.value + getattr(descriptor, f"{step}_value")),
                moved.remainder.eq(Mux(carry, total - banks, total)),
                moved.address.eq(place.address + getattr(descriptor, f"{step}_address") + Mux(carry, wrap, 0)),
            ]
            return moved

        def origin(layout, descriptor, axis):
            place = Signal(layout, name=f"{axis}_origin_{descriptor.as_value().name}")
            m.d.comb += [place.value.eq(getattr(descriptor, f"origin_{axis}_value")),
                         place.remainder.eq(getattr(descriptor, f"origin_{axis}_remainder")),
                         place.address.eq(getattr(descriptor, f"origin_{axis}_address"))]
            return place

        tile_y, pixel_y = Signal(self.y_layout), Signal(self.y_layout)
        tile_x, pixel_x = Signal(self.x_layout), Signal(self.x_layout)
        out_column_bits = len(d.last_out_column)
        tile_column, pixel_column = Signal(out_column_bits), Signal(out_column_bits)

        tile = Signal.like(d.last_tile)
        group = Signal.like(d.last_group)
        row, column = Signal.like(d.last_row), Signal.like(d.last_column)
        stepping = Signal()
        group_cycle = Signal.like(d.last_group_cycle)
        slot_cycle = Signal(max(len(d.last_slot_cycle), len(d.last_slot_cycle_of_block)))
        group_word = Signal.like(self.word)
        group_weight = Signal.like(self.weight)

        m.d.comb += [
            self.valid.eq(stepping),
            self.height.eq(d.height), self.width.eq(d.width), self.zero_point.eq(d.zero_point),
            self.pitch.eq(d.pitch_address), self.step.eq(d.step_address), self.from_input.eq(d.from_input),
            self.reduce.eq(d.reduce), self.number.eq(number),
        ]

        last_column, last_row = column == d.last_column, row == d.last_row
        last_pixel, last_group = self.pixel == d.last_pixel, group == d.last_group
        last_tile = tile == d.last_tile
        group_first = (self.pixel == 0) & (row == 0) & (column == 0)
        m.d.comb += [
            self.first.eq((row == 0) & (column == 0)),
            self.last.eq(last_row & last_column),
            self.tile_end.eq(stepping & last_column & last_row & last_pixel & last_group),
            self.input_release.eq(self.tile_end & last_tile & d.from_input),
            self.group_start.eq(stepping & group_first & d.reduce),
            self.group_end.eq(stepping & last_pixel & d.reduce),
            self.rewind.eq(last_group & ~last_tile),
            self.commit.eq(last_group & last_tile),
            self.restart.eq(last_group & last_tile & d.last_reduce),
            self.block_start.eq(stepping & group_first & (group == 0) & (tile == 0)),
        ]

        # One step to the next: chunk column, chunk row, pixel, channel group.
        next_chunk_x = advanced(self.x_layout, self.window[1], self.x, d, "chunk_x", d.step_address)
        next_chunk_y = advanced(self.y_layout, self.window[0], self.y, d, "chunk_y", d.pitch_address)
        beside = advanced(self.x_layout, self.window[1], pixel_x, d, "stride_x", d.step_address)
        below = advanced(self.y_layout, self.window[0], pixel_y, d, "stride_y", d.pitch_address)
        row_end = pixel_column == d.last_out_column
        next_y, next_x = Signal(self.y_layout), Signal(self.x_layout)
        next_column = Signal.like(pixel_column)
        with m.If(row_end):
            m.d.comb += [next_y.eq(below), next_x.eq(origin(self.x_layout, d, "x")), next_column.eq(0)]
        with m.Else():
            m.d.comb += [next_y.eq(pixel_y), next_x.eq(beside), next_column.eq(pixel_column + 1)]

        def go_to(y, x, out_column):
            return [self.y.eq(y), self.x.eq(x), pixel_y.eq(y), pixel_x.eq(x), pixel_column.eq(out_column)]

        with m.If(stepping):
            m.d.sync += [self.weight.eq(self.weight + d.weight_step), self.word.eq(self.word + d.word_step)]
            with m.If(~last_column):
                m.d.sync += [column.eq(column + 1), self.x.eq(next_chunk_x)]
            with m.Elif(~last_row):
                m.d.sync += [column.eq(0), row.eq(row + 1), self.x.eq(pixel_x), self.y.eq(next_chunk_y)]
            with m.Else():
                m.d.sync += [column.eq(0), row.eq(0)]
                with m.If(~last_pixel):
                    m.d.sync += [self.pixel.eq(self.pixel + 1), *go_to(next_y, next_x, next_column),
                                 self.weight.eq(group_weight), self.word.eq(group_word)]
                with m.Else():
                    m.d.sync += [self.pixel.eq(0), stepping.eq(0)]
                    with m.If(~last_group):
                        m.d.sync += [group.eq(group + 1), self.group.eq(self.group + 1),
                                     *go_to(tile_y, tile_x, tile_column),
                                     group_weight.eq(self.weight + d.weight_step), group_word.eq(group_word + 1),
                                     self.word.eq(group_word + 1)]
                    with m.Else():
                        # The next tile begins behind this one's last pixel.
                        m.d.sync += [*go_to(next_y, next_x, next_column),
                                     tile_y.eq(next_y), tile_x.eq(next_x), tile_column.eq(next_column)]

        # Groups and tiles begin on time.
        groups_left = Signal()
        m.d.sync += group_cycle.eq(group_cycle + 1)
        with m.If(self.tile_end):
            m.d.sync += groups_left.eq(0)
        with m.If((group_cycle == d.last_group_cycle) & groups_left & ~self.tile_end):
            m.d.sync += [group_cycle.eq(0), stepping.eq(1)]

        waiting = Signal(init=1)
        slot_end = Signal()
        m.d.comb += slot_end.eq(slot_cycle == Mux(last_tile, d.last_slot_cycle_of_block, d.last_slot_cycle))
        started = Signal()
        with m.If(~waiting):
            m.d.sync += slot_cycle.eq(slot_cycle + 1)

        def start_tile(descriptor):
            m.d.sync += [
                stepping.eq(1), groups_left.eq(1), group_cycle.eq(0), slot_cycle.eq(0), group.eq(0),
                self.group.eq(descriptor.base_address),
                self.weight.eq(descriptor.weight_base), group_weight.eq(descriptor.weight_base),
                self.word.eq(0), group_word.eq(0), self.part.eq(self.part + 1), waiting.eq(0),
            ]

        def start_block(descriptor):
            y, x = (origin(layout, descriptor, axis) for layout, axis in
                    ((self.y_layout, "y"), (self.x_layout, "x")))
            start_tile(descriptor)
            m.d.comb += self.output_claim.eq(descriptor.to_output)
            m.d.sync += [*go_to(y, x, 0), tile_y.eq(y), tile_x.eq(x), tile_column.eq(0), tile.eq(0)]

        block_end = Signal()
        m.d.comb += block_end.eq(~waiting & slot_end & last_tile)
        with m.If(~waiting & slot_end & ~last_tile):
            start_tile(d)
            m.d.sync += tile.eq(tile + 1)

        def allowed(descriptor):
            return (self.input_full | ~descriptor.from_input) & (self.output_free | ~descriptor.to_output)

        # After reset the first descriptor is already in place; later each block's follows the one before.
        with m.If(waiting & ~started), m.If(allowed(d)):
            start_block(d)
            m.d.sync += started.eq(1)
        with m.Elif(block_end | waiting):
            with m.If(allowed(upcoming)):
                m.d.comb += begin.eq(1)
                start_block(upcoming)
            with m.Else():
                m.d.sync += waiting.eq(1)
        return m

"""Descriptors: for each block, the numbers that the sequencer, the feeder and the drain count by.

A descriptor is a dictionary of integers; each field is as wide as its largest value, decided before
synthesis.  Counters are described by their last value."""

from amaranth import *
from amaranth.lib import data

from .config import EngineConfig
from .primitives import bits_for
from .schedule import FeatureMap, Schedule

__all__ = ["DescriptorTable", "address_bits", "column_bits", "drain_descriptors", "feeder_descriptors",
           "parameter_descriptors", "sequencer_descriptors", "target_bits", "value_bits"]


class DescriptorTable:
    """The descriptors of one unit: a layout just wide enough, and their values."""

    def __init__(self, rows: list[dict[str, int]]):
        self.rows = rows
        fields = {}
        for name in rows[0]:
            values = [row[name] for row in self.rows]
            low, high = min(values), max(values)
            width = max(high.bit_length(), (~low).bit_length() if low < 0 else 0, 1)
            fields[name] = signed(width + 1) if low < 0 else unsigned(width)
        self.layout = data.StructLayout(fields)

    def __len__(self):
        return len(self.rows)

    def follow(self, m: Module, advance, *, name: str, before: bool = False):
        """(current descriptor, the one that follows, number of the current one): the next one follows ``advance``,
        round and round.  At first it is the first one's turn; with ``before``, only after an ``advance``.

        The table is read a cycle ahead, so ``advance`` may come every second cycle at most."""
        count = len(self.rows)
        first = -1 % count if before else 0
        number = Signal(range(max(2, count)), name=f"{name}_number", init=first)
        ahead = Signal.like(number, name=f"{name}_ahead", init=(first + 1) % count)
        current = Signal(self.layout, name=name, init=self.rows[first])
        upcoming = Signal(self.layout, name=f"{name}_upcoming", init=self.rows[(first + 1) % count])
        table = Array([self.layout.const(row) for row in self.rows])
        m.d.sync += upcoming.eq(table[ahead])
        with m.If(advance):
            m.d.sync += [current.eq(upcoming), number.eq(ahead),
                         ahead.eq(Mux(ahead == count - 1, 0, ahead + 1))]
        return current, upcoming, number


def _coordinate(name: str, value: tuple[int, int, int], bits: int, wrap: int | None = None) -> dict[str, int]:
    """Fields of a coordinate, addresses modulo 2 ** ``bits``; or of a difference of coordinates, where ``wrap`` is
    what one bank row or column adds to the address if the sum of remainders is too large for one."""
    fields = {f"{name}_value": value[0], f"{name}_remainder": value[1], f"{name}_address": value[2] % (1 << bits)}
    return fields if wrap is None else fields | {f"{name}_wrapped_address": (value[2] + wrap) % (1 << bits)}


def sequencer_descriptors(schedule: Schedule) -> DescriptorTable:
    """For :class:`~tepal.hdl.sequencer.Sequencer`."""
    rows, weight_base = [], 0
    row_bits, column = address_bits(schedule), column_bits(schedule)
    reducing = [n for n, b in enumerate(schedule.blocks) if b.reduces]
    for number, scheduled in enumerate(schedule.blocks):
        window, source = scheduled.block.window, scheduled.source
        step = schedule.config.window if scheduled.reduces else (1, 1)
        narrow = window.output_size[1] == 1
        rows.append({
            "last_tile": scheduled.tiles - 1,
            "last_group": source.groups - 1,
            "last_pixel": scheduled.tile_pixels - 1,
            "last_row": scheduled.chunks[0] - 1,
            "last_column": scheduled.chunks[1] - 1,
            "last_out_column": window.output_size[1] - 1,
            "last_group_cycle": scheduled.group_period - 1,
            "last_slot_cycle": scheduled.slot - 1,
            "last_slot_cycle_of_block": scheduled.last_slot - 1,
            **_coordinate("origin_y", source.row(window.origin[0]), row_bits),
            **_coordinate("origin_x", source.column(window.origin[1]), column),
            **_coordinate("second_y", source.row(window.origin[0] + (window.stride[0] if narrow else 0)), row_bits),
            **_coordinate("second_x", source.column(window.origin[1] + (0 if narrow else window.stride[1])), column),
            "second_out_column": int(not narrow),
            **_coordinate("stride_y", source.row(window.stride[0]), row_bits, source.pitch),
            **_coordinate("stride_x", source.column(window.stride[1]), column, source.words),
            **_coordinate("chunk_y", source.row(step[0]), row_bits, source.pitch),
            **_coordinate("chunk_x", source.column(step[1]), column, source.words),
            "pitch_address": source.pitch,
            "step_address": source.words,
            "base_address": source.base,
            "height": source.shape[0],
            "width": source.shape[1],
            "zero_point": window.zero_point,
            "word_step": 0 if scheduled.reduces else source.groups,
            "weight_base": weight_base,
            "weight_step": int(scheduled.reduces and len(scheduled.depthwise_words) > 1),
            "from_input": int(number == 0),
            "reduce": int(scheduled.reduces),
            "last_reduce": int(bool(reducing) and number == reducing[-1]),
            "to_output": int(number == len(schedule.blocks) - 1),
        })
        if scheduled.reduces:
            weight_base += len(scheduled.depthwise_words)
    return DescriptorTable(rows)


def address_bits(schedule: Schedule) -> int:
    """Width in which the sequencer computes addresses of banks and of the input memory, and counts the
    latter's channel groups."""
    source = schedule.input_map
    return max(bits_for(schedule.bank_depth), bits_for(source.depth), bits_for(source.groups))


def column_bits(schedule: Schedule) -> int:
    """Width in which sequencer and drain compute what a column adds to an address: less than a row of any bank."""
    return bits_for(max(place.pitch for b in schedule.blocks for place in (b.source, b.target)))


def value_bits(schedule: Schedule) -> int:
    """Width of a coordinate: the first tap of every window, on the map or on its padding, and the map's size."""
    reach = []
    for scheduled in schedule.blocks:
        window = scheduled.block.window
        steps = schedule.config.window if scheduled.reduces else (1, 1)
        for axis in range(2):
            first = window.origin[axis]
            last = (first + (window.output_size[axis] - 1) * window.stride[axis]
                    + (scheduled.chunks[axis] - 1) * steps[axis])
            reach += [~first, last, window.input_shape[axis]]
    return max(reach).bit_length() + 1


def feeder_descriptors(schedule: Schedule) -> DescriptorTable:
    """For :class:`~tepal.hdl.feeder.Feeder`."""
    return DescriptorTable([{
        "last_tile": scheduled.tiles - 1,
        "last_block": scheduled.blocks - 1,
        "idle": scheduled.period - scheduled.inner,
        "last_cycle": scheduled.period - 1,
        "last_group": scheduled.source.groups - 1,
        "full_lane": scheduled.source.lanes - 1,
        "last_lane": (scheduled.source.shape[2] - 1) % scheduled.source.lanes,
    } for scheduled in schedule.blocks])


def parameter_descriptors(schedule: Schedule) -> DescriptorTable:
    """For the column parameters in :class:`~tepal.hdl.drain.Drain`."""
    return DescriptorTable([{"last_tile": b.tiles - 1, "last_block": b.blocks - 1} for b in schedule.blocks])


def drain_descriptors(schedule: Schedule) -> DescriptorTable:
    """For the write side of :class:`~tepal.hdl.drain.Drain`."""
    config: EngineConfig = schedule.config
    rows = []
    for number, scheduled in enumerate(schedule.blocks):
        target: FeatureMap = scheduled.target
        row, column = target.row(1), target.column(1)
        second = (*row[1:], 0, 0, 0) if target.shape[1] == 1 else (0, 0, *column[1:], 1)
        rows.append({
            "last_tile": scheduled.tiles - 1,
            "last_block": scheduled.blocks - 1,
            "last_pixel": scheduled.tile_pixels - 1,
            "last_pixel_of_block": (scheduled.block.pixels - 1) % scheduled.tile_pixels,
            "chunks": -(-target.shape[2] // config.requantisers),
            "last_out_column": target.shape[1] - 1,
            "row_remainder": row[1], "row_address": row[2], "row_wrapped_address": row[2] + target.pitch,
            "column_remainder": column[1], "column_address": column[2],
            "column_wrapped_address": column[2] + target.words, "base_address": target.base,
            **dict(zip(("second_row", "second_row_address", "second_column", "second_column_address",
                        "second_out_column"), second, strict=True)),
            "to_output": int(number == len(schedule.blocks) - 1),
        })
    return DescriptorTable(rows)


def target_bits(schedule: Schedule) -> int:
    """Width in which the drain computes addresses of banks and of the output memory."""
    return max(bits_for(schedule.bank_depth), bits_for(schedule.output_map.depth))

"""Descriptors: for each pass, the numbers that the sequencer, the feeder and the drain count by.

A descriptor is a dictionary of integers.  Counters are described by their last value."""

from math import prod

from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import bits_for
from tepal.hdl.units.descriptor_table import DescriptorTable

from .places import FeatureMap
from .schedule import Schedule

__all__ = ["address_bits", "column_bits", "drain_descriptors", "feeder_descriptors",
           "parameter_descriptors", "sequencer_places", "sequencer_times", "target_bits", "value_bits"]


def _coordinate(name: str, value: tuple[int, int, int], bits: int, wrap: int | None = None) -> dict[str, int]:
    """Fields of a coordinate, addresses modulo 2 ** ``bits``; or of a difference of coordinates, where ``wrap`` is
    what one bank row or column adds to the address if the sum of remainders is too large for one."""
    fields = {f"{name}_value": value[0], f"{name}_remainder": value[1], f"{name}_address": value[2] % (1 << bits)}
    return fields if wrap is None else fields | {f"{name}_wrapped_address": (value[2] + wrap) % (1 << bits)}


def sequencer_times(schedule: Schedule) -> DescriptorTable:
    """For :class:`~tepal.hdl.units.sequencer.Sequencer`: when its steps are."""
    last = len(schedule.passes) - 1
    return DescriptorTable([{
        "last_tile": scheduled.tiles - 1,
        "last_group": scheduled.source.groups - 1,
        "last_group_cycle": scheduled.group_period - 1,
        "last_step": scheduled.tile_windows * prod(scheduled.chunks) - 1,
        "last_pixel": scheduled.tile_windows - 1,
        "last_row": scheduled.chunks[0] - 1,
        "last_column": scheduled.chunks[1] - 1,
        # Two cycles of a slot are over when they begin to be counted.
        "slot_wait": scheduled.slot - 2,
        "slot_wait_of_block": scheduled.last_slot - 2,
        "from_input": int(number == 0),
        "to_output": int(number == last),
    } for number, scheduled in enumerate(schedule.passes)])


def sequencer_places(schedule: Schedule) -> DescriptorTable:
    """For :class:`~tepal.hdl.units.sequencer.Sequencer`: where its windows are."""
    rows, weight_base = [], 0
    row_bits, column = address_bits(schedule), column_bits(schedule)
    reducing = [n for n, b in enumerate(schedule.passes) if b.reduces]
    # Channel groups that are stored once; no field where there are none.
    again = {"weights_again": [b.weights_again for b in schedule.passes],
             "parameters_again": [stored == 1 < b.source.groups for stored, b in
                                  zip(schedule.parameter_groups, schedule.passes, strict=True)]}
    for number, scheduled in enumerate(schedule.passes):
        window, source = scheduled.work.window, scheduled.source
        step = schedule.config.window if scheduled.reduces else (1, 1)
        narrow = window.output_size[1] == 1
        rows.append({
            "last_out_column": window.output_size[1] - 1,
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
            "zero_point": window.border,
            "word_step": 0 if scheduled.reduces else source.groups,
            "weight_base": weight_base,
            "weight_step": int(scheduled.reduces and len(scheduled.depthwise_words) > 1),
            "from_input": int(number == 0),
            "reduce": int(scheduled.reduces),
            "last_reduce": int(bool(reducing) and number == reducing[-1]),
            **{name: int(flags[number]) for name, flags in again.items() if any(flags)},
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
    return bits_for(max(place.pitch for b in schedule.passes for place in (b.source, b.target)))


def value_bits(schedule: Schedule) -> int:
    """Width of a coordinate: the first tap of every window, on the map or on its padding, and the map's size."""
    reach = []
    for scheduled in schedule.passes:
        window = scheduled.work.window
        steps = schedule.config.window if scheduled.reduces else (1, 1)
        for axis in range(2):
            first = window.origin[axis]
            last = (first + (window.output_size[axis] - 1) * window.stride[axis]
                    + (scheduled.chunks[axis] - 1) * steps[axis])
            reach += [~first, last, window.input_shape[axis]]
    return max(reach).bit_length() + 1


def feeder_descriptors(schedule: Schedule) -> DescriptorTable:
    """For :class:`~tepal.hdl.units.feeder.Feeder`."""
    last = len(schedule.passes) - 1
    return DescriptorTable([{
        "last_tile": scheduled.tiles - 1,
        "last_block": scheduled.column_groups - 1,
        "idle": scheduled.period - scheduled.inner,
        "last_cycle": scheduled.period - 1,
        "last_group": scheduled.source.groups - 1,
        "full_lane": scheduled.source.lanes - 1,
        "last_lane": (scheduled.source.shape[2] - 1) % scheduled.source.lanes,
        "ends_frame": int(number == last),
    } for number, scheduled in enumerate(schedule.passes)])


def parameter_descriptors(schedule: Schedule) -> DescriptorTable:
    """For the column parameters in :class:`~tepal.hdl.units.drain.Drain`."""
    return DescriptorTable([{"last_tile": b.tiles - 1, "last_block": b.column_groups - 1} for b in schedule.passes])


def drain_descriptors(schedule: Schedule) -> DescriptorTable:
    """For the write side of :class:`~tepal.hdl.units.drain.Drain`."""
    config: EngineConfig = schedule.config
    rows = []
    for number, scheduled in enumerate(schedule.passes):
        target: FeatureMap = scheduled.target
        row, column = target.row(1), target.column(1)
        second = (*row[1:], 0, 0, 0) if target.shape[1] == 1 else (0, 0, *column[1:], 1)
        rows.append({
            "last_tile": scheduled.tiles - 1,
            "last_block": scheduled.column_groups - 1,
            "last_pixel": scheduled.tile_pixels - 1,
            # Of the last tile, behind the map's last pixel.
            "pixels_beyond": scheduled.tiles * scheduled.tile_pixels - target.shape[0] * target.shape[1],
            "last_phase": config.turns // scheduled.work.pixels_per_window - 1,
            "chunks": -(-target.shape[2] // config.requantisers),
            "last_out_column": target.shape[1] - 1,
            "row_remainder": row[1], "row_address": row[2], "row_wrapped_address": row[2] + target.pitch,
            "column_remainder": column[1], "column_address": column[2],
            "column_wrapped_address": column[2] + target.words, "base_address": target.base,
            **dict(zip(("second_row", "second_row_address", "second_column", "second_column_address",
                        "second_out_column"), second, strict=True)),
            "to_output": int(number == len(schedule.passes) - 1),
        })
    return DescriptorTable(rows)


def target_bits(schedule: Schedule) -> int:
    """Width in which the drain computes addresses of banks and of the output memory."""
    return max(bits_for(schedule.bank_depth), bits_for(schedule.output_map.depth))

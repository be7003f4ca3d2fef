# SPDX-License-Identifier: Apache-2.0
"""Descriptors: for each pass, the numbers that the sequencer, the feeder and the drain count by, as each of them
declares its own; and the widths of what they hand to each other."""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from math import prod

from tepal.hdl.primitives import bits_for
from tepal.hdl.units.column_parameters import ColumnParameters, ParameterDescriptor
from tepal.hdl.units.descriptor_table import Coordinate, DescriptorTable, Difference
from tepal.hdl.units.drain import DrainDescriptor
from tepal.hdl.units.elementwise import ElementwiseUnit
from tepal.hdl.units.feeder import FeederDescriptor
from tepal.hdl.units.sequencer import SequencerPlaces, SequencerTimes
from tepal.hdl.units.weight_loader import LoadDescriptor, WeightLoader
from tepal.hdl.units.widths import Widths

from .memories import MemoryUse
from .places import FeatureMap
from .portions import ROLES, TABLES
from .schedule import Schedule
from .tiling import word_cycles

__all__ = ["address_bits", "column_bits", "descriptor_memories", "drain_descriptors", "feeder_descriptors",
           "load_descriptors", "parameter_descriptors", "sequencer_places", "sequencer_times", "target_bits",
           "unit_widths", "value_bits"]


def _coordinate(value: tuple[int, int, int], bits: int) -> Coordinate:
    """A coordinate whose address has ``bits`` bits."""
    return Coordinate(value[0], value[1], value[2] % (1 << bits))


def _difference(value: tuple[int, int, int], bits: int, wrap: int) -> Difference:
    """A difference of coordinates; ``wrap`` is what one bank row or column adds to the address."""
    return Difference(value[0], value[1], value[2] % (1 << bits), (value[2] + wrap) % (1 << bits))


def _following(schedule: Schedule, role: str, owners: Sequence[int], words: Sequence[int]) -> list[int | None]:
    """For each pass, where in a memory, ``role``, the words of the next pass are that has any; None if that is where
    its own end, for all passes.

    A pass has those of its owner, of which each has so many ``words``."""
    if list(owners) == list(range(len(words))) and schedule.loads is None:
        return [None] * len(owners)
    first = _first_words(schedule, role, words)
    begins = [first[owner] if words[owner] else None for owner in owners]
    # The last one's is the first one again.
    following = next((begin for begin in begins if begin is not None), 0)
    found = []
    for begin in reversed(begins):
        found.append(following)
        following = following if begin is None else begin
    return found[::-1]


def _first_words(schedule: Schedule, role: str, words: Sequence[int]) -> Sequence[int]:
    """For each owner of ``words`` in a memory, the first one; of those without any it says nothing."""
    first = [0, *accumulate(words)]
    if schedule.loads is None:
        return first
    bases = schedule.loads.bases(ROLES.index(role))
    numbers = accumulate(int(count > 0) for count in words)
    return [bases[number - 1] if count else 0 for number, count in zip(numbers, words, strict=True)]


def _spacing(schedule: Schedule, end: str | None = None) -> int:
    """Least cycles from one pass's turn in a unit to the next one's, in any frame: from first step to first step, or
    from ``end`` to end, an attribute that counts its cycles from the last tile's first step.  A pass that waits for
    anything keeps those behind it waiting."""
    passes = schedule.passes
    moments = [each.start if end is None else each.last_tile + getattr(each, end) for each in passes]
    moments.append(moments[0] + passes[-1].last_tile + passes[-1].last_slot)
    return int(min(after - before for before, after in pairwise(moments)))


def _lane_words(schedule: Schedule) -> list[int]:
    """Words of the lanes' parameters that each pass of ``stored`` has."""
    return [groups * schedule.parameter_beats for groups in schedule.parameter_groups]


def _next_of_columns(schedule: Schedule) -> list[int | None]:
    """:func:`_following`, of the columns' parameters."""
    return _following(schedule, "matrix_parameters", schedule.portion_of,
                      [each.column_groups * ColumnParameters.loading(schedule.config) for each in schedule.portions])


def sequencer_times(schedule: Schedule) -> DescriptorTable:
    """For :class:`~tepal.hdl.units.sequencer.Sequencer`: when its steps are."""
    begin = None if schedule.loads is None else {portion.first for portion in schedule.loads.portions}
    return DescriptorTable([SequencerTimes(
        last_tile=scheduled.tiles - 1,
        last_group=scheduled.source.groups - 1,
        last_group_cycle=scheduled.group_period - 1,
        last_step=scheduled.tile_windows * prod(scheduled.chunks) - 1,
        last_pixel=scheduled.tile_windows - 1,
        last_row=scheduled.chunks[0] - 1,
        last_column=scheduled.chunks[1] - 1,
        slot_wait=scheduled.slot - SequencerTimes.WAIT,
        slot_wait_of_block=scheduled.last_slot - SequencerTimes.WAIT,
        from_input=int(scheduled.work.source is None),
        to_output=int(number == schedule.first_output),
        begins_portion=None if begin is None else int(number in begin),
        input_rows=schedule.rows and schedule.rows.claims[number],
        ends_input=schedule.rows and int(number == schedule.rows.last),
    ) for number, scheduled in enumerate(schedule.passes)], _spacing(schedule), frugal=schedule.loads is not None)


def sequencer_places(schedule: Schedule) -> DescriptorTable:
    """For :class:`~tepal.hdl.units.sequencer.Sequencer`: where its windows are."""
    rows = []
    row_bits, column = address_bits(schedule), column_bits(schedule)
    reducing = [n for n, b in enumerate(schedule.passes) if b.reduces]
    kinds = schedule.formats.reduction_kinds
    weights_again = [b.weights_again for b in schedule.passes]
    parameters_again = [schedule.parameter_groups[whole] == 1 < b.source.groups
                        for whole, b in zip(schedule.wholes, schedule.passes, strict=True)]
    weight_bases = _first_words(schedule, "depthwise_weights",
                                [len(b.depthwise_words) if b.reduces else 0 for b in schedule.stored])
    following = _following(schedule, "depthwise_parameters", schedule.wholes, _lane_words(schedule))
    reads_input = [number for number, b in enumerate(schedule.passes) if b.work.source is None]
    for number, scheduled in enumerate(schedule.passes):
        window, source = scheduled.work.window, scheduled.source
        step = schedule.config.window if scheduled.reduces else (1, 1)
        narrow = window.output_size[1] == 1
        second_y = window.origin[0] + (window.stride[0] if narrow else 0)
        # All windows of a pass begin in one lap of a ring, and end in one.
        lap = source.lap(window.origin[0])
        laps = source.lap(min(window.origin[0] + window.kernel[0], source.shape[0]) - 1) - lap
        second_x = window.origin[1] + (0 if narrow else window.stride[1])
        rows.append(SequencerPlaces(
            last_out_column=window.output_size[1] - 1,
            origin_y=_coordinate(source.row(window.origin[0], lap), row_bits),
            origin_x=_coordinate(source.column(window.origin[1]), column),
            second_y=_coordinate(source.row(second_y, lap), row_bits),
            second_x=_coordinate(source.column(second_x), column),
            second_out_column=int(not narrow),
            stride_y=_difference(source.row(window.stride[0]), row_bits, source.pitch),
            stride_x=_difference(source.column(window.stride[1]), column, source.words),
            chunk_y=_difference(source.row(step[0]), row_bits, source.pitch),
            chunk_x=_difference(source.column(step[1]), column, source.words),
            pitch_address=(source.pitch - laps * source.lap_words) % (1 << row_bits) if laps else source.pitch,
            step_address=source.words,
            base_address=source.base,
            height=source.shape[0],
            width=source.shape[1],
            zero_point=window.border,
            word_step=0 if scheduled.reduces else source.groups,
            weight_base=weight_bases[schedule.wholes[number]],
            weight_step=int(scheduled.reduces and len(scheduled.depthwise_words) > 1),
            from_input=int(scheduled.work.source is None),
            reduce=int(scheduled.reduces),
            last_reduce=int(bool(reducing) and number == reducing[-1]),
            reduction_kind=(kinds.index(scheduled.work.reduction.kind) if scheduled.work.reduction else 0)
            if len(kinds) > 1 else None,
            weights_again=weights_again[number] if any(weights_again) else None,
            parameters_again=parameters_again[number] if any(parameters_again) else None,
            reads_again=int(number != reads_input[-1]) if len(reads_input) > 1 and schedule.rows is None else None,
            input_freed=schedule.rows and schedule.rows.frees[number],
            next_parameters=following[number],
        ))
    return DescriptorTable(rows, _spacing(schedule))


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
    following = _following(schedule, "matrix_weights", schedule.portion_of,
                           [each.column_groups * each.sum_cycles for each in schedule.portions])
    return DescriptorTable([FeederDescriptor(
        last_tile=scheduled.tiles - 1,
        last_block=scheduled.column_groups - 1,
        idle=scheduled.period - scheduled.sum_cycles,
        last_cycle=scheduled.period - 1,
        last_group=scheduled.source.groups - 1,
        **{name: cycles - 1 for name, cycles in zip(
            ("full_lane", "last_lane"), word_cycles(scheduled.work, schedule.config), strict=True)},
        ends_frame=int(number == last),
        next_weights=following[number],
    ) for number, scheduled in enumerate(schedule.passes)], _spacing(schedule, "fed"),
        frugal=schedule.loads is not None)


def parameter_descriptors(schedule: Schedule) -> DescriptorTable:
    """For the column parameters in :class:`~tepal.hdl.units.drain.Drain`."""
    following = _next_of_columns(schedule)
    return DescriptorTable([ParameterDescriptor(last_tile=b.tiles - 1, last_block=b.column_groups - 1,
                                                next_parameters=base)
                            for b, base in zip(schedule.passes, following, strict=True)], _spacing(schedule, "fed"))


def drain_descriptors(schedule: Schedule) -> DescriptorTable:
    """For the write side of :class:`~tepal.hdl.units.drain.Drain`."""
    config, rows = schedule.config, []
    told = any(b.work.banked == (b.work.output is not None) for b in schedule.passes)
    following = _next_of_columns(schedule)
    two = config.written_words > 1
    odd_rows = any(each.work.target_row % each.target.banks[0] for each in schedule.passes)
    for number, scheduled in enumerate(schedule.passes):
        target: FeatureMap = scheduled.target
        neighbours = scheduled.neighbours
        row, column, narrow = target.row(1), target.column(neighbours), target.shape[1] == neighbours
        words = -(-scheduled.work.output_shape[2] // config.lanes)
        lap = target.lap(scheduled.work.target_row)
        begin, second = (target.row(scheduled.work.target_row + after, lap) for after in (0, narrow))
        rows.append(DrainDescriptor(
            last_tile=scheduled.tiles - 1,
            last_block=scheduled.column_groups - 1,
            last_pixel=scheduled.tile_pixels // neighbours - 1,
            pixels_beyond=(scheduled.tiles * scheduled.tile_pixels
                           - prod(scheduled.work.output_shape[:2])) // neighbours,
            last_phase=config.turns * neighbours // scheduled.work.pixels_per_window - 1,
            chunks=-(-scheduled.work.output_shape[2] // config.requantisers),
            last_out_column=target.shape[1] // neighbours - 1,
            row_remainder=row[1], row_address=row[2], row_wrapped_address=row[2] + target.pitch,
            column_remainder=column[1], column_address=column[2], column_wrapped_address=column[2] + target.words,
            base_address=target.base + begin[2] + scheduled.work.target_channel // target.lanes,
            second_row=second[1], second_row_address=second[2] - begin[2],
            second_column=0 if narrow else column[1], second_column_address=0 if narrow else column[2],
            second_out_column=int(not narrow),
            to_output=int(scheduled.work.output is not None),
            to_banks=int(scheduled.work.banked) if told else None,
            **_elementwise(schedule, number),
            first_row=begin[1] if odd_rows else None,
            first_turn=target.turn(scheduled.work.target_channel // config.lanes) if two else None,
            neighbours=int(neighbours > 1) if two else None,
            lone_word=words % 2 if two else None,
            next_parameters=following[number] if config.requantiser_cycles > 1 else None,
        ))
    return DescriptorTable(rows, _spacing(schedule, "last_written"))


def _elementwise(schedule: Schedule, number: int) -> dict[str, int]:
    """What the drain's elementwise unit is told of a pass."""
    fmt, scheduled = schedule.elementwise_format, schedule.passes[number]
    if fmt is None:
        return {}
    *tables, mode = schedule.formats.elementwise_of(scheduled.work.elementwise)
    if schedule.loads is None:
        places = [fmt.number(operand, table) for operand, table in enumerate(tables[:fmt.operands])]
    else:
        # Tables of all operands lie in the same place.
        whole, wholes = schedule.wholes[number], schedule.elementwise_wholes
        base = schedule.loads.bases(ROLES.index(TABLES))[wholes.index(whole) + 1 if whole in wholes else 0]
        places = [base // ElementwiseUnit.TABLE_WORDS] * fmt.operands
    told = {"first_table": places[0], "mode": fmt.modes.index(mode)}
    if fmt.operands > 1:
        told |= {"second_table": places[1], "to_skip": int(scheduled.added is not None),
                 "added_base": scheduled.added or 0, "other_base": scheduled.other or 0}
    return told


@lru_cache(maxsize=32)
def descriptor_memories(schedule: Schedule) -> tuple[MemoryUse, ...]:
    """Those of the tables that are memories.  It takes long enough to remember the last few."""
    if len(schedule.passes) <= DescriptorTable.MOST_ROWS and schedule.loads is None:
        return ()
    tables = [sequencer_times(schedule), sequencer_places(schedule), feeder_descriptors(schedule),
              drain_descriptors(schedule)]
    if schedule.config.requantiser_cycles == 1:
        tables.append(parameter_descriptors(schedule))
    if schedule.loads is not None:
        tables.append(load_descriptors(schedule))
    return tuple(MemoryUse("descriptors", 1, len(table), table.stored.size, logic=table.in_logic) for table in tables
                 if table.in_memory)


def load_descriptors(schedule: Schedule) -> DescriptorTable:
    """For :class:`~tepal.hdl.units.weight_loader.WeightLoader`."""
    loads, offsets = schedule.loads, schedule.weight_offsets
    assert loads is not None
    return DescriptorTable([
        LoadDescriptor(memory=each.role, base=each.base, last_word=each.words - 1,
                       wait=0 if number else wait, complete=int(each is portion.passages[-1]),
                       offset=(offsets[each.role][each.number] if each.role in offsets else 0) if offsets else None)
        for portion, wait in zip(loads.portions, loads.waits, strict=True)
        for number, each in enumerate(portion.passages)],
        WeightLoader.SETUP + min(each.words * schedule.word_beats[each.role]
                                 for portion in loads.portions for each in portion.passages))


def target_bits(schedule: Schedule) -> int:
    """Width in which the drain computes addresses of banks and of the output memory."""
    return max(bits_for(schedule.bank_depth), bits_for(schedule.output_depth))


def unit_widths(schedule: Schedule) -> Widths:
    """Widths that the units of ``schedule``'s engine have in common."""
    return Widths(coordinate=value_bits(schedule), address=address_bits(schedule), column=column_bits(schedule),
                  bank=bits_for(schedule.bank_depth), target=target_bits(schedule),
                  tile_word=bits_for(schedule.tile_words),
                  weight=bits_for(next(each.depth for each in schedule.memories if each.role == "depthwise_weights")))

# SPDX-License-Identifier: Apache-2.0
"""Contents of the ROMs: weights and requantiser parameters in the order in which the engine reads them."""

import numpy as np
from tepal.hdl.memories.single_port import LoadedRom

from .portions import ROLES
from .schedule import Schedule
from .tiling import word_cycles
from .timeline import ScheduledPass

__all__ = ["depthwise_parameters", "depthwise_weights", "elementwise_tables", "loaded_weights", "matrix_parameters",
           "matrix_weights"]


def _words(array: np.ndarray, bits: int) -> list[int]:
    """Integers of the last axis of an integer array, ``bits`` to a value, the first one lowest."""
    flat = array.reshape(-1, array.shape[-1])
    if bits == 8:
        return [int.from_bytes(row.tobytes(), "little") for row in flat.astype(np.int8)]
    digits = (flat[:, :, None] >> np.arange(bits) & 1).astype(np.uint8).reshape(len(flat), -1)
    return [int.from_bytes(row.tobytes(), "little") for row in np.packbits(digits, axis=1, bitorder="little")]


def _column_channels(schedule: Schedule) -> np.ndarray:
    """Channel, within its column group, that each column makes (see :class:`~tepal.hdl.units.drain.Drain`)."""
    config = schedule.config
    requantiser, turn = np.divmod(np.arange(config.columns), config.turns)
    return turn * config.requantisers + requantiser


def _operand_places(scheduled: ScheduledPass) -> np.ndarray:
    """Place of each operand of a sum among those that the array takes, in order, some of which are no operands."""
    count, channels = scheduled.engine.operands, scheduled.work.window.input_shape[2]
    lanes, (whole, last) = scheduled.source.lanes, word_cycles(scheduled.work, scheduled.engine)
    word, lane = np.divmod(np.arange(channels), lanes)
    pixel = count * ((scheduled.groups - 1) * whole + last)
    return (np.arange(scheduled.inner // channels)[:, None] * pixel + word * whole * count + lane).ravel()


def matrix_weights(schedule: Schedule) -> list[int]:
    """For each column group and each cycle of its sums, ``config.operands`` weights per column, zeros where a word of
    the tile buffer has no more operands; a byte each where they are sent so (:attr:`Schedule.weight_offsets`)."""
    columns, order = schedule.config.columns, _column_channels(schedule)
    offsets, words = schedule.weight_offsets.get(ROLES.index("matrix_weights")), []
    for number, scheduled in enumerate(schedule.portions):
        weights = scheduled.work.matrix.weights
        places = _operand_places(scheduled)
        padded = np.zeros((scheduled.column_groups * columns, scheduled.sum_cycles, schedule.config.operands), np.int16)
        padded.reshape(len(padded), -1)[:len(weights), places] = weights
        groups = padded.reshape(scheduled.column_groups, columns, *padded.shape[1:])[:, order]
        groups = groups.transpose(0, 2, 1, 3).reshape(-1, columns * schedule.config.operands)
        words += _words(groups + offsets[number], 8) if offsets else _words(groups, schedule.matrix_weight_bits)
    return words


def loaded_weights(schedule: Schedule) -> bytes:
    """:func:`matrix_weights` in the order in which they are loaded, with ``config.single_port``."""
    return LoadedRom.contents(8 * schedule.config.columns, matrix_weights(schedule))


def matrix_parameters(schedule: Schedule) -> list[int]:
    """For each column group, one parameter word per column, ``config.columns_abreast`` to a ROM word, the first
    column's lowest."""
    columns, order = schedule.config.columns, _column_channels(schedule)
    channels = [schedule.matrix_format.words(affine) for _, affine in schedule.affines]
    wholes = dict(zip(schedule.portion_of, schedule.wholes, strict=True))
    result = []
    for number, scheduled in enumerate(schedule.portions):
        words = channels[wholes[number]][scheduled.work.channels] * scheduled.work.pixels_per_window
        words += [0] * (scheduled.column_groups * columns - len(words))
        for group in range(scheduled.column_groups):
            result += [words[group * columns + channel] for channel in order]
    abreast, width = schedule.config.columns_abreast, schedule.matrix_format.width
    return [sum(word << width * i for i, word in enumerate(result[first:first + abreast]))
            for first in range(0, len(result), abreast)]


def depthwise_weights(schedule: Schedule) -> list[int]:
    """For each pass's channel groups and chunks of the kernel, one weight per lane and tap, tap fastest: what a lane
    needs comes from neighbouring memory blocks.  A byte each where they are sent so."""
    weights = [scheduled.depthwise_words.transpose(0, 2, 1) for scheduled in schedule.stored if scheduled.reduces]
    bits, offsets = schedule.depthwise_weight_bits, schedule.weight_offsets.get(ROLES.index("depthwise_weights"))
    if offsets:
        bits, weights = 8, [words + offset for words, offset in zip(weights, offsets, strict=True)]
    return [word for words in weights for word in _words(words.reshape(len(words), -1), bits)] or [0]


def depthwise_parameters(schedule: Schedule) -> list[int]:
    """For each channel group that is stored, the lanes' parameter words, ``parameter_words`` to a ROM word."""
    lanes, per_beat, beats = schedule.config.lanes, schedule.parameter_words, schedule.parameter_beats
    width = schedule.depthwise_format.width
    result = []
    for groups, (affine, _) in zip(schedule.parameter_groups, schedule.affines, strict=True):
        if affine is None:
            continue
        words = schedule.depthwise_format.words(affine)
        words += [0] * (groups * lanes - len(words))
        for group in range(groups):
            own = words[group * lanes:group * lanes + lanes] + [0] * (beats * per_beat - lanes)
            result += [sum(word << width * i for i, word in enumerate(own[beat * per_beat:(beat + 1) * per_beat]))
                       for beat in range(beats)]
    return result or [0]


def elementwise_tables(schedule: Schedule) -> list[int]:
    """Of the passes whose results stay as they are, and then of each elementwise one: for each value, the words of all
    operands; none where there is no elementwise unit."""
    fmt, formats = schedule.elementwise_format, schedule.formats
    if fmt is None:
        return []
    words = []
    for own in (None, *(formats.passes[whole].elementwise for whole in schedule.elementwise_wholes)):
        first, second, _ = formats.elementwise_of(own)
        contents = (fmt.contents(operand, table) for operand, table in enumerate((first, second)[:fmt.operands]))
        words += [sum(word << begin for word, begin in zip(each, fmt.begins, strict=True))
                  for each in zip(*contents, strict=True)]
    return words

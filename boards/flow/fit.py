# SPDX-License-Identifier: Apache-2.0
"""What a schedule takes of a board, and which of a board's engines a network gets."""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from math import gcd
from operator import itemgetter

from tepal.boards.board import Board
from tepal.boards.parts.part import MemoryKind, Part
from tepal.hdl import ConfigError, EngineConfig, Formats, MemoryUse, Schedule
from tepal.hdl.link.framing import CobsEncoder
from tepal.hdl.plan.descriptors import descriptor_memories
from tepal.quant import Network, NetworkError
from tepal.sim import CycleModel

from .lut_estimate import KINDS, MARGIN, logic

__all__ = ["Fit", "blocks", "capacity", "default_engine", "fit", "for_weights", "in_bands", "in_requantisers",
           "is_small", "link_memories", "memory_kind", "on_arrival", "scheduled", "with_beat_for"]


@dataclass(frozen=True)
class Fit:
    """Resources of a schedule on a board: ``used`` and ``available`` per kind (None: unlimited).

    Multipliers and memory blocks are counted, and :data:`~tepal.boards.flow.lut_estimate.KINDS` estimated."""

    used: dict[str, int]
    available: dict[str, int | None]

    @property
    def over(self) -> list[str]:
        """The kinds of which there are too few; an estimated kind only if there are too few by more than the margin."""
        return [kind for kind, limit in self.available.items()
                if limit is not None and self.used[kind] > limit * (1 + MARGIN if kind in KINDS else 1)]

    @property
    def ok(self) -> bool:
        return not self.over

    def within(self, limits: Mapping[str, int]) -> bool:
        """Whether there is enough of all, and no more is used than ``limits``; estimates are taken at their word."""
        return all(self.used[kind] <= limit for most in (self.available, limits) for kind, limit in most.items()
                   if limit is not None)


def memory_kind(board: Board, role: str) -> MemoryKind:
    """What a memory of this role is made of on ``board``."""
    return next((kind for kind in board.part.memories if kind.name == board.roles.get(role)), board.part.memories[0])


def is_small(board: Board, role: str, depth):
    """Whether synthesis makes no blocks of a memory of this role, of the few that may have hardly any words; ``depth``
    may be an array."""
    return (depth <= board.part.family.small_words) if role == "output" and board.part.family else False


def link_memories(board: Board) -> list[MemoryUse]:
    """What the way to the host has beside the accelerator's: bytes that wait behind the receiver, and a block of those
    that are encoded."""
    family = board.part.family
    return [MemoryUse("link", 1, board.buffer, 8),
            MemoryUse("link", 1, CobsEncoder.BLOCK, 8, logic=family.small_words > 0)] if family else []


def blocks(board: Board, use: MemoryUse) -> tuple[str, int]:
    """Which kind of ``board``'s memory blocks a memory takes, and how many."""
    kind = memory_kind(board, use.role)
    if use.logic or is_small(board, use.role, use.depth):
        return kind.name, 0
    if kind.name == "SB_SPRAM256KA" and use.regions > 1:
        # One port: each region in blocks of its own.
        return kind.name, use.count * sum(kind.blocks(depth, use.width) for depth in use.region_depths)
    return kind.name, use.count * sum(kind.blocks(use.depth, width) for width in use.widths)


def in_requantisers(config: EngineConfig, part: Part) -> int:
    """Multipliers of ``part`` that the requantisers take."""
    return config.hard_requantisers * part.widest[1]


def fit(schedule: Schedule, board: Board) -> Fit:
    """What ``schedule`` takes of ``board``."""
    used = {board.part.multiplier: -(-schedule.config.multipliers // board.part.products)
            + in_requantisers(schedule.config, board.part)}
    available: dict[str, int | None] = {board.part.multiplier: board.part.primitives}
    for kind in board.part.memories:
        used[kind.name], available[kind.name] = 0, kind.count
    if not board.part.memories:
        used["memory bits"] = sum(use.count * use.depth * use.width for use in schedule.memories)
        available["memory bits"] = None
        return Fit(used, available)
    for use in (*schedule.memories, *descriptor_memories(schedule), *link_memories(board)):
        kind, count = blocks(board, use)
        used[kind] += count
    for kind, count in logic(schedule, board).items():
        used[kind], available[kind] = count, board.part.logic_kinds[kind]
    return Fit(used, available)


def with_beat_for(network: Network, config: EngineConfig) -> EngineConfig:
    """``config`` with an input stream no wider than divides an image row of ``network``."""
    _, width, channels = network.input_shape
    return replace(config, input_bytes=gcd(config.input_bytes, width * channels))


@lru_cache(maxsize=32)
def scheduled(formats: Formats, config: EngineConfig) -> Schedule:
    """The network of ``formats`` on an engine: the one that was made when this engine was tried, if that was not long
    ago.  In bands there are so many passes that scheduling them takes long."""
    return Schedule(formats.network, config, formats)


def for_weights(config: EngineConfig, formats: Formats) -> EngineConfig:
    """``config`` with as many multipliers, each for one product where weights are so wide that two can't share one."""
    if formats.matrix_weight_bits <= config.widest_weight:
        return config
    return replace(config, rows=config.rows // config.packing, packing=1)


def capacity(part: Part) -> int:
    """Bits in all memory blocks of ``part``."""
    return sum(kind.count * max(words * bits for words, bits in kind.shapes) for kind in part.memories)


def _may_run_in_bands(board: Board, config: EngineConfig) -> bool:
    return bool(board.part.memories) and not config.single_port


def in_bands(schedule: Schedule, board: Board) -> Schedule | None:
    """``schedule`` with as many words of activations as ``board`` has room for, or if that is not enough with some rows
    of the image in the input memory too, so that it fits; None if it can't be made to, or if it lacks anything else.
    What its engine says of either stays as it is.

    Of all numbers of rows that fit, the largest: parts of few rows take more cycles."""
    config = schedule.config
    if not _may_run_in_bands(board, config):
        return None
    kind, found = memory_kind(board, "activations"), fit(schedule, board)
    if found.over != [kind.name]:
        return None
    tables: dict[int, int] = {}
    if banded := _banded(schedule, board, tables):
        return banded
    least = found.used[kind.name] - sum(
        blocks(board, use)[1] - use.count for use in schedule.memories
        if use.role in ("input", "activations") and memory_kind(board, use.role) == kind)
    if config.input_rows is not None or least > kind.count:
        return None
    for power in reversed(range((schedule.layout.shape[0] - 1).bit_length())):
        try:
            ring = scheduled(schedule.formats, replace(config, input_rows=1 << power))
        except NetworkError:
            continue
        if fits := ring if fit(ring, board).ok else _banded(ring, board, tables):
            return fits
    return None


def _banded(schedule: Schedule, board: Board, tables: dict[int, int]) -> Schedule | None:
    """``schedule`` with as many words of activations as ``board`` has room for, so that it fits; None if it can't be
    made to.

    ``tables`` remembers for numbers of words how many tables of descriptors were memories when it did not fit: fewer
    rows of the image make no fewer passes, and each table takes a block at least."""
    kind = memory_kind(board, "activations")
    before, (use,) = fit(schedule, board), (use for use in schedule.memories if use.role == "activations")
    if before.over != [kind.name] or schedule.config.activation_words is not None:
        return None
    room = kind.count - before.used[kind.name] + blocks(board, use)[1]
    told = sum(blocks(board, table)[1] for table in descriptor_memories(schedule))
    for count in range(room // use.count, 0, -1):
        # All words of so many blocks side by side.
        words = bisect_right(range(use.depth), count, key=lambda depth: kind.blocks(depth + 1, use.width))
        if count * use.count + max(0, tables.get(words, 0) - told) > room:
            continue
        try:
            banded = scheduled(schedule.formats, replace(schedule.config, activation_words=words))
        except (ConfigError, NetworkError):
            return None
        if fit(banded, board).ok:
            return banded
        tables[words] = len(descriptor_memories(banded)) if memory_kind(board, "descriptors") == kind else 0
    return None


def on_arrival(schedule: Schedule, board: Board, config: EngineConfig) -> EngineConfig:
    """``config``, of ``schedule``; with all rows of the image in the input memory to begin with as they arrive, if that
    is faster so, and takes no cycle more where the image is there, and fits."""
    asked = config.input_rows, config.activation_words, config.weight_words
    if config.single_port or any(each is not None for each in asked):
        return config
    arriving = replace(config, input_rows=schedule.layout.shape[0])
    other = scheduled(schedule.formats, arriving)
    before, after = CycleModel(schedule), CycleModel(other)
    faster = after.last_byte_cycles < before.last_byte_cycles
    no_slower = (after.in_memory_cycles <= before.in_memory_cycles and after.interval_cycles <= before.interval_cycles)
    return arriving if faster and no_slower and fit(other, board).ok else config


def default_engine(board: Board, network: Network, formats: Formats | None = None) -> EngineConfig:
    """The engine for ``network`` by default: of the board's the one that takes the fewest cycles and fits, or else the
    smallest one; its input stream follows the image (:func:`with_beat_for`), whose rows are computed as they arrive
    (:func:`on_arrival`).  To make one fit, passes run in bands, or the input memory holds some rows of the image
    (:func:`in_bands`).  ``formats`` are the network's, if there are any already."""
    configs = [with_beat_for(network, config) for config in board.engines_for(network)]
    if len(configs) == 1 and configs[0].packing == 1 and not _may_run_in_bands(board, configs[0]):
        return configs[0]
    formats = formats or Formats(network)
    configs = [for_weights(config, formats) for config in configs]
    if 8 * network.parameters > capacity(board.part) > 0:
        # None has room for the weights alone.
        return configs[-1]
    found: list[tuple[int, EngineConfig, Schedule]] = []
    # What is stored whole takes the fewest cycles, so that an engine which is slower so need not be made to fit.
    schedules = [(config, scheduled(formats, config)) for config in configs]
    for least, config, schedule in sorted(((_cycles(whole), each, whole) for each, whole in schedules),
                                          key=itemgetter(0)):
        if found and least >= min(found, key=itemgetter(0))[0]:
            break
        if not fit(schedule, board).ok:
            schedule = in_bands(schedule, board)
        if schedule:
            asked = schedule.config
            config = replace(config, activation_words=asked.activation_words, input_rows=asked.input_rows)
            found.append((_cycles(schedule), config, schedule))
    _, config, schedule = min(found, key=itemgetter(0)) if found else (0, *schedules[-1])
    return on_arrival(schedule, board, config)


def _cycles(schedule: Schedule) -> int:
    return CycleModel(schedule).in_memory_cycles

"""Replays a schedule: who reads and writes each memory, loads each parameter, in which cycle; and by how many cycles
that keeps clear of every conflict."""

from collections import defaultdict
from itertools import pairwise

from tepal.hdl import Schedule
from tepal.hdl.answer import Trailer
from tepal.hdl.plan.schedule import BlockSchedule
from tepal.hdl.units.lane_requantisers import LaneParameters
from tepal.hdl.units.streamer import OutputStreamer
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.sim import CycleModel

__all__ = ["reads", "slacks", "tiles", "writes"]

FRAMES = 2


def tiles(schedule: Schedule, frames: int = FRAMES):
    """(block number, tile, cycle of its first step) in order, of frames as close together as they can be."""
    frame = 0
    for _ in range(frames):
        for number, block in enumerate(schedule.blocks):
            for tile in range(block.tiles):
                yield number, tile, frame + block.start + tile * block.slot
        last = schedule.blocks[-1]
        frame += last.start + (last.tiles - 1) * last.slot + last.last_slot


def reads(schedule: Schedule, number: int, tile: int, start: int):
    """(cycle, row, column, channel group) of what a tile reads and needs of its source map."""
    block, config = schedule.blocks[number], schedule.config
    window, (height, width, _) = block.block.window, block.source.shape
    taps = config.window if block.reduces else (1, 1)
    # The address leaves the window generator's registers, and the memory takes it.
    late = 1 + config.pipelined
    for group in range(block.source.groups):
        for place in range(min(block.tile_windows, block.block.windows - tile * block.tile_windows)):
            row, column = divmod(tile * block.tile_windows + place, window.output_size[1])
            for down in range(window.kernel[0]):
                for across in range(window.kernel[1]):
                    y = row * window.stride[0] + window.origin[0] + down
                    x = column * window.stride[1] + window.origin[1] + across
                    chunk = (place * block.chunks[0] + down // taps[0]) * block.chunks[1] + across // taps[1]
                    if 0 <= y < height and 0 <= x < width:
                        yield start + group * block.group_period + chunk + late, y, x, group


def writes(schedule: Schedule, number: int, tile: int, start: int):
    """(cycle, row, column, channel group) of what a tile writes to its target map."""
    block, config = schedule.blocks[number], schedule.config
    chunks, turns = -(-block.target.shape[2] // config.requantisers), config.turns // block.block.fold
    for column_block in range(block.blocks):
        first = start + block.filled + (column_block + 1) * block.period + schedule.drain_latency
        for place in range(min(block.tile_windows, block.block.windows - tile * block.tile_windows)):
            for turn in range(config.turns):
                pixel = (tile * block.tile_windows + place) * block.block.fold + turn // turns
                chunk = column_block * turns + turn % turns
                if chunk < chunks:
                    yield (first + (place * config.turns + turn) * config.requantiser_cycles,
                           *divmod(pixel, block.target.shape[1]), chunk * config.requantisers // config.lanes)


def _buffer_writes(schedule: Schedule, block: BlockSchedule, start: int) -> tuple[int, int]:
    """Cycles in which a tile's first and last word enter the tile buffer."""
    if not block.reduces:
        return start + schedule.copy_latency, start + block.steps - 1 + schedule.copy_latency
    return (start + block.chunks[0] * block.chunks[1] - 1 + schedule.reduce_latency,
            start + block.steps - 1 + schedule.reduce_latency)


def _sums(block: BlockSchedule, start: int) -> list[int]:
    """Cycles in which the last operands of a tile's sums are fed."""
    return [start + block.filled + (column_block + 1) * block.period for column_block in range(block.blocks)]


def slacks(schedule: Schedule) -> dict[str, int]:
    """By how many cycles each kind of conflict is avoided at the closest; below zero the hardware would go wrong.

    "… of tiles" are between tiles of one block, "… of blocks" between a block's last tiles and the next one's."""
    config, blocks = schedule.config, schedule.blocks
    found: dict[str, int] = {}

    def keep(kind: str, cycles: int):
        found[kind] = min(cycles, found.get(kind, cycles))

    sequence = list(tiles(schedule))
    loads, written, region_written, region_read = [], defaultdict(dict), {}, {}
    for (number, _, start), (following, tile, then) in pairwise(sequence):
        block, after = blocks[number], blocks[following]
        where = "tiles" if tile else "blocks"
        last_step = start + block.steps - 1
        # One step in a cycle; the sequencer counts at least three to the next tile.
        keep(f"steps of {where}", then - last_step - 1)
        keep(f"sequencer of {where}", then - start - 3)
        if not tile:
            # The next block's zero point is there a cycle before its first step; the last window's border is made of
            # this block's two cycles before the window is out.
            keep("constants", then - 1 - (last_step + schedule.window_latency - 2) - 1)
        if config.lane_cycles == 1 and block.reduces:
            groups = [start + group * block.group_period for group in range(block.source.groups)]
            least = schedule.parameter_beats + LaneParameters.LATENCY
            for one, other in pairwise(groups):
                keep("lane parameters of groups", other - one - least)
            if after.reduces:
                keep(f"lane parameters of {where}", then - groups[-1] - least)
        if block.reduces:
            keep("lanes", block.chunks[0] * block.chunks[1] - schedule.reduced_cycles)
        # Words enter the tile buffer one a cycle and in order.
        entered = _buffer_writes(schedule, block, start)[1]
        keep(f"order of {where}", _buffer_writes(schedule, after, then)[0] - entered - 1)
        # A tile's end is told in the last cycle of the one that is fed, or later.
        keep(f"array of {where}", then + after.filled - _sums(block, start)[-1])
    for number, tile, start in sequence:
        block = blocks[number]
        sums = _sums(block, start)
        keep("operands", block.period - block.inner)
        if config.requantiser_cycles == 1:
            loads += [(cycle, number) for cycle in (sums if block.blocks > 1 else sums[:1] if tile == 0 else [])]
    for (one, number), (other, following) in pairwise(loads):
        keep(f"columns of {'blocks' if number != following else 'sums'}", other - one - config.columns)
    # The row above comes down when all columns of a pixel have been taken.
    finished = [(cycle, blocks[number]) for number, _, start in sequence for cycle in _sums(blocks[number], start)]
    for (one, block), (other, _) in pairwise(finished):
        keep("drain", other - one - block.tile_windows * config.drain_step)
    # A place in the tile buffer is read for the last time, then written.
    for (number, _, start), (following, tile, then) in zip(sequence, sequence[TileBuffer.TILES:], strict=False):
        where = "tiles" if tile >= TileBuffer.TILES else "blocks"
        keep(f"tile buffer of {where}",
             _buffer_writes(schedule, blocks[following], then)[0] - _sums(blocks[number], start)[-1] - 1)
    # The activation memory: nothing is read before it is written, or written before it has been read.
    for number, tile, start in sequence:
        source, target = blocks[number].source.base, blocks[number].target.base
        for cycle, *word in reads(schedule, number, tile, start):
            if number:
                keep("read after write", cycle - written[number - 1][tuple(word)] - 1)
                region_read[source] = max(cycle, region_read.get(source, cycle))
                if config.single_port:
                    keep("single port", cycle - region_written[source] - 1)
        if number < len(blocks) - 1:
            for cycle, *word in writes(schedule, number, tile, start):
                if target in region_read:
                    keep("write after read", cycle - region_read[target] - 1)
                written[number][tuple(word)] = cycle
                region_written[target] = max(cycle, region_written.get(target, cycle))
    return found | _stream_slacks(schedule)


def _stream_slacks(schedule: Schedule) -> dict[str, int]:
    """The same of the input and the output memory, of frames whose streams never wait."""
    config, first, last = schedule.config, schedule.blocks[0], schedule.blocks[-1]
    model, outputs = CycleModel(schedule), schedule.output_map
    before, _, full = model._load
    found = defaultdict(list)
    for frame, following in pairwise(model.frames(4)):
        def cycles(action, number, block, begin):
            return [cycle for tile in range(block.tiles)
                    for cycle, *_ in action(schedule, number, tile, begin + tile * block.slot)]

        number = len(schedule.blocks) - 1
        read = cycles(reads, 0, first, following.start)
        found["input after loading"].append(min(read, default=following.start)
                                            - (following.last_beat + full - 1 + config.pipelined) - 1)
        # The loader may store windows of padding before the first beat.
        read = cycles(reads, 0, first, frame.start)
        found["loading after input"].append(following.first_beat - before + config.pipelined
                                            - max(read, default=frame.start) - 1)
        # The streamer fetches a word two cycles before its first byte; the index of the largest follows the last word.
        fetched = frame.last_byte - model._send[1] - 2
        found["output after results"].append(fetched - max(cycles(writes, number, last, frame.steps[-1])) - 1)
        tail = (outputs.shape[2] - 1) % config.lanes + 1
        fetched = frame.last_byte - Trailer.BYTES - OutputStreamer.COMPARE - tail - 1
        found["results after output"].append(min(cycles(writes, number, last, following.steps[-1])) - fetched - 1)
    return {kind: min(values) for kind, values in found.items()}

"""How a network runs on an engine: tiles, memory map, descriptors, and the cycle at which everything happens.

Nothing in the engine depends on data, so the schedule fixes every cycle in advance.  The sequencer starts a
tile every ``slot`` cycles, and the first tile of the next block when the schedule says that it is safe; all
else follows at fixed distances.  The numbers in the descriptors and those that the cycle model reports are
the same numbers.

Stages of a tile, each at a fixed distance from the one before it:

1. the sequencer steps through windows, which are reduced (depthwise) or copied into the tile buffer;
2. the feeder sends the tile through the array once for every block of output channels;
3. finished sums drain out of the array, are requantised and written to the activation memory.
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from math import prod

import numpy as np
from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import bits_for
from tepal.hdl.units.affine import Affine
from tepal.hdl.units.column_parameters import ColumnParameters
from tepal.hdl.units.depthwise import DepthwiseEngine
from tepal.hdl.units.drain import Drain
from tepal.hdl.units.input_layout import InputLayout, split
from tepal.hdl.units.lane_requantisers import LaneParameters, LaneRequantisers
from tepal.hdl.units.requantiser import RequantiserFormat
from tepal.hdl.units.sequencer import Sequencer
from tepal.hdl.units.serial_requantiser import SerialFormat
from tepal.hdl.units.systolic import SystolicArray
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.hdl.units.window import WindowGenerator
from tepal.quant import Network, NetworkError

from .lower import Block, fold
from .widths import Formats, SumFormats

__all__ = ["BlockSchedule", "FeatureMap", "MemoryUse", "Schedule"]

_LEAST_DEPTH = 256
"""Words of a memory block where there are fewest: a shallower memory takes as much."""


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, eq=False)
class FeatureMap:
    """Where a feature map lies: ``banks`` (rows, columns), from word ``base`` in each.

    A pixel takes ``words`` words: one for each ``lanes`` channels, or a single wide one."""

    shape: tuple[int, int, int]
    banks: tuple[int, int]
    lanes: int
    base: int = 0
    wide: bool = False

    @property
    def groups(self) -> int:
        """Channel groups of a pixel."""
        return _ceil(self.shape[2], self.lanes)

    @property
    def words(self) -> int:
        return 1 if self.wide else self.groups

    @property
    def pitch(self) -> int:
        """Words from one row of a bank to the next."""
        return _ceil(self.shape[1], self.banks[1]) * self.words

    @property
    def depth(self) -> int:
        """Words in each bank."""
        return _ceil(self.shape[0], self.banks[0]) * self.pitch

    def row(self, value: int) -> tuple[int, int, int]:
        """(value, remainder, address) of a row number or a difference of rows."""
        return value, value % self.banks[0], value // self.banks[0] * self.pitch

    def column(self, value: int) -> tuple[int, int, int]:
        """(value, remainder, address) of a column number or a difference of columns."""
        return value, value % self.banks[1], value // self.banks[1] * self.words


@dataclass(frozen=True)
class MemoryUse:
    """``count`` equal memories of the accelerator. ``region_depths`` adds up to ``depth``: regions of which one
    is read while another one is written, never both at once."""

    role: str
    count: int
    depth: int
    width: int
    region_depths: tuple[int, ...] = ()

    @property
    def regions(self) -> int:
        return len(self.region_depths)


@dataclass(frozen=True, eq=False)
class BlockSchedule:
    """One block on the engine.

    ``start`` is the cycle of its first step, counted from the frame's first; ``slot`` the cycles from one
    tile's first step to the next one's; ``last_slot`` those from the last tile's to the next block's."""

    block: Block
    source: FeatureMap
    target: FeatureMap
    tile_windows: int
    chunks: tuple[int, int]
    group_period: int
    inner: int
    period: int
    blocks: int
    slot: int
    last_slot: int
    start: int
    tile_latency: int

    @property
    def reduces(self) -> bool:
        """Whether the depthwise engine takes part."""
        return self.block.reduction is not None

    @property
    def tiles(self) -> int:
        return _ceil(self.block.windows, self.tile_windows)

    @property
    def tile_pixels(self) -> int:
        """Pixels of the output that a tile makes."""
        return self.tile_windows * self.block.fold

    @property
    def steps(self) -> int:
        """Cycles from a tile's first step to its last, both counted."""
        return ((self.source.groups - 1) * self.group_period
                + self.tile_windows * self.chunks[0] * self.chunks[1])

    @cached_property
    def depthwise_words(self) -> np.ndarray:
        """int8 (words, taps, lanes): weights of each channel group and each chunk of the kernel, in order.

        A single word where all are equal, and one group's where all groups' are: so are an average pool's."""
        rows, columns = self.source.banks
        assert self.block.reduction is not None
        weights, lanes, groups = self.block.reduction.weights, self.source.lanes, self.source.groups
        height, width, channels = weights.shape
        down, across = self.chunks
        padded = np.zeros((down * rows, across * columns, groups * lanes), np.int8)
        padded[:height, :width, :channels] = weights
        # Lanes beyond the last channel may hold anything; this lets an average pool's words be equal.
        padded[:height, :width, channels:] = weights[:, :, -1:]
        padded = padded.reshape(down, rows, across, columns, groups, lanes).transpose(4, 0, 2, 1, 3, 5)
        words = padded.reshape(groups, down * across, rows * columns, lanes)
        if (words == words[0, 0]).all():
            return words[0, :1]
        return words[0] if (words == words[0]).all() else words.reshape(-1, rows * columns, lanes)

    @property
    def weights_again(self) -> bool:
        """Whether each channel group has the same several words of depthwise weights."""
        return self.reduces and 1 < len(self.depthwise_words) < self.source.groups * prod(self.chunks)

    @property
    def words(self) -> int:
        """Words that a pixel takes in the tile buffer."""
        return self.source.groups * (1 if self.reduces else prod(self.block.window.kernel))

    @property
    def filled(self) -> int:
        """Cycles from a tile's first step to the write of its last word into the tile buffer."""
        return self.steps - 1 + self.tile_latency

    @property
    def fed(self) -> int:
        """Cycles from a tile's first step to the end of its way into the array."""
        return self.filled + 1 + self.blocks * self.period


class Schedule:
    """A network on an engine.

    Parameters
    ----------
    network
        What to compute.
    config
        How big the engine is.  The schedule's own has no more ``copy_lanes`` than shorten the copying.
    formats
        The network's, if another schedule has them already (:attr:`formats`).

    Raises
    ------
    NetworkError
        The engine can't run the network.
    """

    def __init__(self, network: Network, config: EngineConfig, formats: Formats | None = None):
        self.network, self.config = network, config
        self.formats = formats or Formats(network)
        self.layout, first = self._fold()
        row = first.window.input_shape[2]
        # A row of the first window in as many cycles, but no wider words than that takes.
        self.config = replace(config, copy_lanes=_ceil(row, _ceil(row, config.copy_lanes)))
        self.layout = split(self.layout, self.config.tile_lanes)
        self._check_input()
        lowered = (first, *self.formats.blocks[1:])
        self.input_map, maps = self._place(lowered)
        self.blocks = self._time(lowered, maps)

    # -- numbers ---------------------------------------------------------------------------------------

    @property
    def depthwise_accumulator(self) -> int:
        """Bits of a depthwise sum."""
        return self.formats.depthwise.accumulator

    @property
    def _matrix(self) -> SumFormats:
        return self.formats.matrix(self.config.packing)

    @property
    def matrix_accumulator(self) -> int:
        """Bits of a sum in the array."""
        return self._matrix.accumulator

    @property
    def affines(self) -> tuple[tuple[Affine | None, Affine], ...]:
        """Proved requantisers of each block: (depthwise, matrix)."""
        return tuple(zip(self.formats.depthwise.affines(self.config.lane_cycles),
                         self._matrix.affines(self.config.requantiser_cycles), strict=True))

    @property
    def depthwise_format(self) -> RequantiserFormat | SerialFormat:
        return self.formats.depthwise.format(self.config.lane_cycles)

    @property
    def matrix_format(self) -> RequantiserFormat | SerialFormat:
        return self._matrix.format(self.config.requantiser_cycles)

    # -- shape -----------------------------------------------------------------------------------------

    @property
    def parameter_words(self) -> int:
        """Parameter words that the depthwise requantisers are given in a cycle."""
        if self.config.lane_cycles > 1:
            return 1
        # A group of few chunks takes a cycle a row.
        return _ceil(self.config.lanes, max(1, self.config.rows - LaneParameters.LATENCY))

    @property
    def parameter_beats(self) -> int:
        """Cycles in which a channel group's parameters are loaded."""
        return _ceil(self.config.lanes, self.parameter_words)

    @cached_property
    def parameter_groups(self) -> tuple[int, ...]:
        """Channel groups of each block whose parameters are stored: one where all channels' are equal, as an average
        pool's are."""
        affines = self.formats.depthwise.affines(self.config.lane_cycles)
        return tuple(0 if affine is None else 1 if affine.uniform else block.source.groups
                     for affine, block in zip(affines, self.blocks, strict=True))

    @property
    def parameter_period(self) -> int:
        """Least cycles from one channel group to the next for their parameters to be there."""
        return self.parameter_beats + LaneParameters.LATENCY

    @property
    def bank_depth(self) -> int:
        """Words in each bank of the activation memory."""
        return max([1] + [m.base + m.depth for b in self.blocks[1:] for m in (b.source,)])

    @property
    def region_base(self) -> int:
        """First word of the activation memory's upper region."""
        return max((b.source.base for b in self.blocks[1:]), default=0) or self.bank_depth

    @cached_property
    def memories(self) -> tuple[MemoryUse, ...]:
        """Every memory, ROMs included."""
        config, word = self.config, 8 * self.config.lanes
        bases = sorted({b.source.base for b in self.blocks[1:]} | {0})
        regions = tuple(end - base for base, end in zip(bases, [*bases[1:], self.bank_depth], strict=True))
        reducing = [b for b in self.blocks if b.reduces]
        return (
            MemoryUse("input", 1, self.layout.depth, 8 * self.layout.word_bytes),
            MemoryUse("activations", config.taps, self.bank_depth, word, regions),
            MemoryUse("output", 1, self.output_map.depth, word),
            *(MemoryUse("tile_buffer", count, depth, 8 * config.tile_lanes) for depth, count in
              sorted(Counter(TileBuffer.depth(words) for words in self.tile_row_words if words).items(), reverse=True)),
            MemoryUse("matrix_weights", 1, sum(b.blocks * b.inner for b in self.blocks), 8 * config.columns),
            MemoryUse("matrix_parameters", 1, sum(b.blocks for b in self.blocks) * config.columns,
                      self.matrix_format.width),
            MemoryUse("depthwise_weights", 1, max(1, sum(len(b.depthwise_words) for b in reducing)),
                      word * config.taps),
            MemoryUse("depthwise_parameters", 1,
                      max(1, sum(self.parameter_groups) * self.parameter_beats),
                      self.depthwise_format.width * self.parameter_words),
        )

    @property
    def output_map(self) -> FeatureMap:
        return self.blocks[-1].target

    @property
    def tile_words(self) -> int:
        """Most words that a pixel takes in the tile buffer."""
        return max(b.words for b in self.blocks)

    @cached_property
    def tile_row_words(self) -> tuple[int, ...]:
        """Words of a pixel for which each row of the tile buffer has room: none where no tile has so many pixels."""
        least = min(self.tile_words, _LEAST_DEPTH // TileBuffer.TILES)
        needed = (max((b.words for b in self.blocks if b.tile_windows > pixel), default=0)
                  for pixel in reversed(range(self.config.rows)))
        return tuple(words and max(words, least) for words in needed)

    def _check_input(self):
        _, width, channels = self.layout.shape
        if width * channels % self.config.input_bytes:
            raise NetworkError(f"an image row of {width} x {channels} bytes is no whole number of "
                               f"{self.config.input_bytes}-byte beats: choose --input-bytes 1 or another divisor of "
                               f"{width * channels}")

    def _fold(self) -> tuple[InputLayout, Block]:
        """The image and the first block: its output pixels side by side in the array's columns, if their channels
        fill them all and it is faster so."""
        config = self.config
        plain = self.formats.layout, self.formats.blocks[0]
        _, width, channels = plain[1].output_shape
        count = config.columns // channels
        if (count < 2 or channels * count != config.columns or channels % config.requantisers or width % count
                or config.requantiser_cycles > 1):
            return plain

        def cycles(first: tuple[InputLayout, Block]) -> int:
            shape = self._shape(first[1], self._input(first[1]), self._input(first[1]))
            return shape.tiles * max(shape.steps, shape.blocks * shape.period)

        return min(plain, fold(*plain, count), key=cycles)

    def _input(self, first: Block, *, wide: bool = True) -> FeatureMap:
        return FeatureMap(first.window.input_shape, (1, 1), self.config.tile_lanes, wide=wide)

    def _place(self, lowered):
        """Input map, and for each block (source, target): two regions in turn, so that none is read and
        written at once but by neighbours."""
        lanes, banks = self.config.lanes, self.config.window
        inner = [FeatureMap(b.output_shape, banks, lanes) for b in lowered[:-1]]
        first = max((m.depth for m in inner[0::2]), default=0)
        if self.config.single_port:
            # Memories of their own, which an address bit tells apart.
            first = 1 << bits_for(first)
        inner = [FeatureMap(m.shape, banks, lanes, first * (i % 2)) for i, m in enumerate(inner)]
        chain = [self._input(lowered[0], wide=self.layout.parts == 1), *inner,
                 FeatureMap(lowered[-1].output_shape, (1, 1), lanes)]
        return chain[0], list(pairwise(chain))

    # -- time ------------------------------------------------------------------------------------------

    @property
    def window_latency(self) -> int:
        """Cycles from a step to its window."""
        return WindowGenerator.latency(self.config.pipelined)

    @property
    def copy_latency(self) -> int:
        """Cycles from a step to the write of a copied word into the tile buffer."""
        return self.window_latency + TileBuffer.entry(self.config.pipelined)

    @property
    def reduce_latency(self) -> int:
        """Cycles from a step to the write of a depthwise result into the tile buffer."""
        return (self.sum_latency + LaneRequantisers.latency(self.config.lanes, self.depthwise_format)
                + TileBuffer.entry(self.config.pipelined))

    @property
    def sum_latency(self) -> int:
        """Cycles from a step to the sum that it ends."""
        return self.window_latency + DepthwiseEngine.latency(self.config.taps)

    @property
    def reduced_cycles(self) -> int:
        """Cycles that the lanes' requantisers need for a pixel."""
        return LaneRequantisers.period(self.config)

    @property
    def drain_latency(self) -> int:
        """Cycles from a sum's last feed to the write of its first result."""
        config = self.config
        return (TileBuffer.latency(config.pipelined) + 1
                + SystolicArray.latency(config.rows, config.spread, config.packing, config.pipelined)
                + Drain.latency(config, self.matrix_format))

    def _shape(self, block: Block, source: FeatureMap, target: FeatureMap) -> BlockSchedule:
        """A block with its own periods, not yet placed in time."""
        config = self.config
        tile_windows = _ceil(block.windows, _ceil(block.windows, config.rows))
        kernel = block.window.kernel
        reduces = block.reduction is not None
        chunks = kernel
        if reduces:
            chunks = (_ceil(kernel[0], config.window[0]), _ceil(kernel[1], config.window[1]))
            # Sums must not come faster than they are requantised: rows of zero weights fill up the time.
            chunks = (max(chunks[0], _ceil(self.reduced_cycles, chunks[1])), chunks[1])
        group_period = tile_windows * prod(chunks)
        if reduces:
            # The next group's parameters are fetched while this one is computed.
            group_period = max(group_period, self.parameter_period)
        out_channels, inner = block.matrix.weights.shape
        blocks = _ceil(out_channels, config.columns)
        period = max(self._period_bounds(inner, blocks).values())
        return BlockSchedule(block, source, target, tile_windows, chunks, group_period, inner, period, blocks,
                             slot=0, last_slot=0, start=0, tile_latency=0)

    def _time(self, lowered, maps) -> tuple[BlockSchedule, ...]:
        placed = []
        for shaped in (self._shape(b, *m) for b, m in zip(lowered, maps, strict=True)):
            shaped = replace(shaped, tile_latency=self.reduce_latency if shaped.reduces else self.copy_latency)
            placed.append(replace(shaped, slot=max(self._slot_bounds(shaped).values())))
        blocks = []
        start = 0
        for number, shaped in enumerate(placed):
            following = placed[(number + 1) % len(placed)]
            last_tile = start + (shaped.tiles - 1) * shaped.slot
            after = max(self._start_bounds(shaped, last_tile, following, raw=number + 1 < len(placed),
                                           start=start).values())
            blocks.append(replace(shaped, start=start, last_slot=after - last_tile))
            start = after
        return tuple(blocks)

    # Bounds have names, by which the tests take a cycle from each and see that it is missed.

    def _period_bounds(self, inner: int, blocks: int) -> dict[str, int]:
        """Least cycles from one block of output channels to the next."""
        config = self.config
        return {
            "operands": inner,
            # Sums leave row by row.
            "drain": SystolicArray.draining(config),
            # Where there are several blocks, each one's parameters enter column by column.
            "columns": ColumnParameters.loading(config) if blocks > 1 else 1,
        }

    def _slot_bounds(self, block: BlockSchedule) -> dict[str, int]:
        """Least cycles from a tile's first step to the next one's."""
        return {
            # One step at a time, and each group's parameters are fetched while the one before is computed.
            "groups": block.source.groups * block.group_period,
            "array": block.blocks * block.period,
            # A place in the tile buffer is written again when it has been read; rows are skewed alike in both.  Both
            # bounds above together imply it where there are four places, not where there are fewer.
            "tile buffer": _ceil(block.fed + 2 - block.tile_latency, TileBuffer.TILES),
            "sequencer": Sequencer.LEAST_SLOT,
        }

    def _start_bounds(self, block: BlockSchedule, last_tile: int, following: BlockSchedule, raw: bool,
                      start: int) -> dict[str, int]:
        """First cycles at which ``following`` may take its first step."""
        bounds = {
            # As from tile to tile.
            "groups": last_tile + block.source.groups * block.group_period,
            # Constants of a layer are held while its last windows are read.
            "constants": last_tile + block.steps + self.window_latency + 1,
            # The array is busy with the tile before.
            "array": last_tile + block.fed - following.filled - 1,
            # Words enter the tile buffer in order, whichever way they come.
            "order": last_tile + block.filled + 1 - following.tile_latency,
            # Parameters of columns that are being loaded: at each sum of several blocks, else at the first.
            "columns": (last_tile + block.fed if block.blocks > 1 else start + block.filled + 1 + block.period)
            + self.config.columns - following.filled - 1 - following.period,
            "tile buffer": max(self._place_bounds(block, last_tile, following, start)),
        }
        if raw and self.config.single_port:
            bounds["single port"] = last_tile + self._written(block) + 1
        if raw:
            needs = self._needs(block, following)
            # Tile u of the following block reads what tile needs[u] of this one wrote.
            written = start + needs * block.slot + self._written(block)
            begins = np.arange(len(needs)) * following.slot
            bounds["read after write"] = int((written - begins).max()) + 1
        return bounds

    @staticmethod
    def _place_bounds(block: BlockSchedule, last_tile: int, following: BlockSchedule, start: int):
        """For each place in the tile buffer, the first cycle at which ``following`` may start for its tile there."""
        # Its tiles go where this block's last ones were, or else others before them, which have been fed when this
        # block's first is.  Where there are four places, the bounds on the array and on the order imply these.
        for place in range(TileBuffer.TILES):
            back = TileBuffer.TILES - 1 - place
            fed = last_tile - back * block.slot + block.fed if back < block.tiles else start + block.filled + 1
            yield fed + 1 - following.tile_latency - place * following.slot

    def _written(self, block: BlockSchedule) -> int:
        """Cycles from a tile's first step to the write of its last result."""
        return (block.fed - 1 + self.drain_latency
                + block.tile_windows * self.config.drain_step - self.config.requantiser_cycles)

    def _needs(self, block: BlockSchedule, following: BlockSchedule) -> np.ndarray:
        """For each tile of ``following``, the last tile of ``block`` that it reads from."""
        window = following.block.window
        height, width, _ = window.input_shape
        out_height, out_width = window.output_size
        bottom = np.minimum(np.arange(out_height) * window.stride[0] + window.origin[0] + window.kernel[0], height) - 1
        right = np.minimum(np.arange(out_width) * window.stride[1] + window.origin[1] + window.kernel[1], width) - 1
        last = np.maximum(bottom[:, None], 0) * width + np.maximum(right[None, :], 0)
        last = np.maximum.accumulate(last.ravel())
        ends = np.minimum(np.arange(1, following.tiles + 1) * following.tile_windows, last.size) - 1
        return last[ends] // block.tile_pixels

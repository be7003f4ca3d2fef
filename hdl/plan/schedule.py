# SPDX-License-Identifier: Apache-2.0
"""A network on an engine: its passes in their places and at their times, and the memories that they take.

The numbers in the descriptors and those that the cycle model reports are the same numbers.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

from tepal.hdl.config import EngineConfig
from tepal.hdl.memories.streamed import BEAT, beats_of, narrow_beat
from tepal.hdl.units.affine import Affine
from tepal.hdl.units.column_parameters import ColumnParameters
from tepal.hdl.units.elementwise import ElementwiseFormat, ElementwiseUnit
from tepal.hdl.units.input_layout import InputLayout, split
from tepal.hdl.units.requantiser import RequantiserFormat
from tepal.hdl.units.serial_requantiser import SerialFormat
from tepal.quant import Network, NetworkError

from .bands import Group, aligned
from .choice import choose
from .input_ring import by_rows, in_ring, row_plan
from .kept_rows import with_fewest_loads
from .memories import FEW_WORDS, MemoryUse, parameter_groups, tile_buffers, tile_row_words
from .passes import Pass, unroll
from .places import FeatureMap, outputs, place
from .portions import ROLES, TABLES, LoadPlan, Words, load_plan
from .slices import sliced
from .tiling import Latencies, Tiling, copied, parameter_beats, parameter_words
from .timeline import ScheduledPass, timeline
from .widths import Formats, SumFormats

__all__ = ["Schedule", "may_unroll"]


def may_unroll(first: Pass, count: int, engine):
    """Whether ``count`` pixels side by side fill the array's columns, of which each requantiser then serves one pixel's
    at a time, or all of them together serve two pixels, each of which is a word of memory: of an
    :class:`~tepal.hdl.config.EngineConfig`, or of what has arrays in place of its integers."""
    _, width, channels = first.output_shape
    two = (engine.requantisers == 2 * channels) & (engine.lanes == channels) & first.banked
    return ((not first.in_order) & (engine.columns == count * channels)
            & ((channels % engine.requantisers == 0) | two) & (engine.requantiser_cycles == 1) & (width % count == 0))


def _spans(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """For each of ``numbers``, which are all from 0 on, in their order: where it comes first, and last."""
    last = {number: place for place, number in enumerate(numbers)}
    first = {number: len(numbers) - 1 - place for place, number in enumerate(reversed(numbers))}
    return [(first[number], last[number]) for number in range(len(last))]


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
    groups
        Passes that run in bands (those whose maps are added to each other, in bands of the same rows); by default none
        but those that ``config.activation_words`` asks for.

    Attributes
    ----------
    layout : InputLayout
        How the image lies in the input memory.
    latency : Latencies
        Of the engine's pipeline.
    input_map : FeatureMap
        What the first pass reads.
    region_depths : tuple of int
        Words in each region of a bank of the activation memory.
    skip_depth : int
        Words of the skip memory.
    passes : tuple of ScheduledPass
        In order.
    groups : tuple of Group
        Passes of ``formats`` that run in bands.
    wholes : tuple of int
        For each pass the number of the one of ``formats`` that it is, or is a part of: in bands, in parts of the
        image's rows, or in slices.
    portion_of : tuple of int
        For each pass, the number in ``portions`` of the one whose weights it has.
    rows : RowPlan, or None
        Which rows of the image passes wait for and free; None if a frame waits for all of them.

    Raises
    ------
    NetworkError
        The engine can't run the network.
    """

    def __init__(self, network: Network, config: EngineConfig, formats: Formats | None = None, *,
                 groups: Sequence[Group] | None = None):
        self.network, self.config = network, config
        self.formats = formats or Formats(network)
        self.layout, first = self._first_pass()
        self.config = replace(config, copy_lanes=copied(first, config.copy_lanes))
        self.layout = split(in_ring(self.layout, config.input_rows), self.config.tile_lanes)
        self._check_input()
        self._check_weights()
        whole = (first, *self.formats.passes[1:])
        self.groups = self._choose(whole) if groups is None else aligned(whole, groups)
        passes, self.wholes, self.portion_of = sliced(network, *by_rows(whole, self.groups, self.layout, self.config),
                                                     self.config)
        self.rows = row_plan(passes, self.layout)
        places = place(passes, self.config, self.layout)
        self.input_map, self.region_depths = places.image, places.region_depths
        self.skip_depth = sum(places.skip_depths)
        self.latency = Latencies.of(self.config, self.depthwise_format, self.matrix_format, self.elementwise_format)
        self.passes = timeline([Tiling(each, self.config, self.latency) for each in passes], places)
        self.loads = self._loads()

    def _choose(self, passes: Sequence[Pass]) -> tuple[Group, ...]:
        latency = Latencies.of(self.config, self.depthwise_format, self.matrix_format, None)
        return with_fewest_loads(passes, choose(passes, self.config, latency), self.config)

    def _check_input(self):
        _, width, channels = self.layout.shape
        if width * channels % self.config.input_bytes:
            raise NetworkError(f"an image row of {width} x {channels} bytes is no whole number of "
                               f"{self.config.input_bytes}-byte beats: choose --input-bytes 1 or another divisor of "
                               f"{width * channels}")

    def _check_weights(self):
        bits, config = max(self.matrix_weight_bits, self.depthwise_weight_bits), self.config
        if bits > config.widest_weight:
            what = ("whose multipliers of 8 x 8 bits take int8 alone: quantise the float model to int8, or choose "
                    "another board" if config.single_port else
                    f"of which {config.packing} products share a multiplier: choose --packing 1")
            raise NetworkError(f"uint8 weights with a zero point need {bits} bits in this engine, {what}")

    def _first_pass(self) -> tuple[InputLayout, Pass]:
        """The image and the first pass: unrolled, if its pixels' channels fill the array's columns and it is faster
        so."""
        config = self.config
        layout, first = self.formats.layout, self.formats.passes[0]
        count = config.columns // first.output_shape[2]
        if count < 2 or not may_unroll(first, count, config):
            return layout, first
        unrolled = unroll(layout, first, count)
        faster = Tiling(unrolled[1], config, Latencies()).busy < Tiling(first, config, Latencies()).busy
        return unrolled if faster else (layout, first)

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
        """Proved requantisers of each pass of ``stored``: (depthwise, matrix)."""
        return tuple(zip(self.formats.depthwise.affines(self.config.lane_cycles),
                         self._matrix.affines(self.config.requantiser_cycles), strict=True))

    @property
    def depthwise_format(self) -> RequantiserFormat | SerialFormat:
        return self.formats.depthwise.format(self.config.lane_cycles, self.config.requantiser_multiplier)

    @property
    def matrix_format(self) -> RequantiserFormat | SerialFormat:
        return self._matrix.format(self.config.requantiser_cycles, self.config.requantiser_multiplier)

    @property
    def matrix_weight_bits(self) -> int:
        """Bits of a weight in the array."""
        return self.formats.matrix_weight_bits

    @property
    def depthwise_weight_bits(self) -> int:
        """Bits of a weight in the depthwise engine."""
        return self.formats.depthwise_weight_bits

    @cached_property
    def elementwise_format(self) -> ElementwiseFormat | None:
        """Of what is done to results on their way to memory; None if nothing is."""
        return self.formats.elementwise(self.skip_depth)

    # -- memories --------------------------------------------------------------------------------------

    @cached_property
    def stored(self) -> tuple[ScheduledPass, ...]:
        """Those passes whose weights and parameters of the lanes are stored: of each one in parts the first, which has
        what the other ones have."""
        return tuple(self.passes[first] for first, _ in _spans(self.wholes))

    @cached_property
    def portions(self) -> tuple[ScheduledPass, ...]:
        """Those passes whose weights in the array, and columns' parameters, are stored: the first one of all that have
        the same ones."""
        return tuple(self.passes[first] for first, _ in _spans(self.portion_of))

    def _loads(self) -> LoadPlan | None:
        if self.config.weight_words is None:
            return None

        loading, passes, table = ColumnParameters.loading(self.config), len(self.passes), ElementwiseUnit.TABLE_WORDS
        portions, wholes = _spans(self.portion_of), _spans(self.wholes)
        return load_plan(
            [Words(*span, (each.column_groups * each.sum_cycles, each.column_groups * loading))
             for span, each in zip(portions, self.portions, strict=True)],
            [Words(*span, (len(each.depthwise_words), groups * self.parameter_beats))
             for span, each, groups in zip(wholes, self.stored, self.parameter_groups, strict=True) if each.reduces],
            [number for number, each in enumerate(self.passes) if each.reduces],
            [Words(0, passes - 1, (table,)), *(Words(*wholes[whole], (table,)) for whole in self.elementwise_wholes)]
            if self.elementwise_format else (),
            passes, self.config.weight_words)

    @cached_property
    def elementwise_wholes(self) -> tuple[int, ...]:
        """Numbers in ``formats`` of those passes whose results don't stay as they are."""
        return tuple(whole for whole, each in enumerate(self.formats.passes) if each.elementwise)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights, parameters and tables that come from outside for a frame."""
        passages = (each for portion in self.loads.portions for each in portion.passages) if self.loads else ()
        return sum(each.words * self.word_beats[each.role] for each in passages) * BEAT // 8

    @property
    def output_maps(self) -> tuple[FeatureMap, ...]:
        """Of each output."""
        return tuple(self.passes[number].target for number in outputs([each.work for each in self.passes]))

    @property
    def output_depth(self) -> int:
        """Words of the output memory."""
        return sum(each.depth for each in self.output_maps)

    @property
    def first_output(self) -> int:
        """Number of the first pass that writes the output memory."""
        return next(number for number, each in enumerate(self.passes) if each.work.output is not None)

    @property
    def bank_depth(self) -> int:
        """Words in each bank of the activation memory."""
        return sum(self.region_depths)

    @property
    def region_base(self) -> int:
        """First word of the activation memory's second region; behind its last word, if there is one region."""
        return self.region_depths[0]

    @property
    def tile_words(self) -> int:
        """Most words that a pixel takes in the tile buffer."""
        return max(each.words for each in self.passes)

    @cached_property
    def tile_row_words(self) -> tuple[int, ...]:
        """Words of a pixel for which each row of the tile buffer has room."""
        return tile_row_words(self.passes, self.config.rows)

    @property
    def parameter_words(self) -> int:
        """Parameter words that the depthwise requantisers are given in a cycle."""
        return parameter_words(self.config)

    @property
    def parameter_beats(self) -> int:
        """Cycles in which a channel group's parameters are loaded."""
        return parameter_beats(self.config)

    @cached_property
    def parameter_groups(self) -> tuple[int, ...]:
        """Channel groups of each pass of ``stored`` whose parameters are stored."""
        return parameter_groups(self.formats.depthwise.affines(self.config.lane_cycles), self.stored)

    @property
    def word_bits(self) -> tuple[int, ...]:
        """Bits of a word of each of the memories :data:`~.portions.ROLES` that there is."""
        config, elementwise = self.config, self.elementwise_format
        return (self.matrix_weight_bits * config.columns * config.operands,
                self.matrix_format.width * config.columns_abreast,
                self.depthwise_weight_bits * config.lanes * config.taps,
                self.depthwise_format.width * self.parameter_words,
                *((elementwise.word_bits,) if elementwise else ()))

    @property
    def weight_bits(self) -> dict[int, int]:
        """Bits of a weight in those of the memories :data:`~.portions.ROLES` that hold weights."""
        return {ROLES.index("matrix_weights"): self.matrix_weight_bits,
                ROLES.index("depthwise_weights"): self.depthwise_weight_bits}

    @cached_property
    def weight_offsets(self) -> dict[int, tuple[int, ...]]:
        """Of those of the memories :data:`~.portions.ROLES` whose weights come from outside as bytes although they are
        wider: what was added to the weights of each passage, by its number, to make bytes of them."""
        if self.config.weight_words is None:
            return {}
        wholes = dict(zip(self.portion_of, self.wholes, strict=True))
        passes = {"matrix_weights": [wholes[number] for number in range(len(self.portions))],
                  "depthwise_weights": [whole for whole, each in enumerate(self.stored) if each.reduces]}
        return {role: tuple(offsets[whole] for whole in passes[ROLES[role]])
                for role, offsets in self._offsets_of_passes.items()}

    @property
    def _offsets_of_passes(self) -> dict[int, tuple[int, ...]]:
        """Of the same memories, wherever weights come from: what makes bytes of each pass's in ``formats``."""
        found = {"matrix_weights": self.formats.matrix_offsets, "depthwise_weights": self.formats.depthwise_offsets}
        return {ROLES.index(role): offsets for role, offsets in found.items() if offsets}

    @cached_property
    def word_beats(self) -> tuple[int, ...]:
        """Beats in which a word of each of these memories comes, if it comes from outside."""
        return tuple(map(beats_of, self.word_bits, self.beat_bits))

    def in_logic(self, role: str) -> bool:
        """Whether a memory is made of LUTs."""
        if self.loads is None:
            return False
        depths = {"output": self.output_depth, "matrix_parameters": self.loads.depths[ROLES.index("matrix_parameters")]}
        return depths.get(role, FEW_WORDS + 1) <= FEW_WORDS

    @cached_property
    def beat_bits(self) -> tuple[int, ...]:
        """Bits of a word of each of these memories that come in a beat, if it comes from outside."""
        as_bytes, wide = self._offsets_of_passes, ROLES.index("depthwise_parameters")
        # There are few words of the lanes' parameters where one has those of all lanes.
        return tuple(BEAT // 8 * self.weight_bits[role] if role in as_bytes else
                     narrow_beat(bits) if role == wide and self.parameter_beats == 1 else BEAT
                     for role, bits in enumerate(self.word_bits))

    @cached_property
    def memories(self) -> tuple[MemoryUse, ...]:
        """Every memory, ROMs included."""
        config, word, passes, portions = self.config, 8 * self.config.lanes, self.stored, self.portions
        depths = dict(zip(ROLES, self.loads.depths, strict=False) if self.loads else (
            ("matrix_weights", sum(each.column_groups * each.sum_cycles for each in portions)),
            ("matrix_parameters", sum(each.column_groups for each in portions) * ColumnParameters.loading(config)),
            ("depthwise_weights", max(1, sum(len(each.depthwise_words) for each in passes if each.reduces))),
            ("depthwise_parameters", max(1, sum(self.parameter_groups) * self.parameter_beats))))
        widths = dict(zip(ROLES, self.word_bits, strict=False))
        beats = dict(zip(ROLES, self.beat_bits, strict=False)) if self.loads else {}
        return (
            MemoryUse("input", 1, self.layout.depth, 8 * self.layout.word_bytes),
            MemoryUse("activations", config.taps, self.bank_depth, word, self.region_depths),
            MemoryUse("output", 1, self.output_depth, 8 * config.written_bytes, logic=self.in_logic("output")),
            *tile_buffers(self.tile_row_words, 8 * config.tile_lanes),
            *(MemoryUse(role, 1, depths[role], widths[role], beat=beats.get(role, 0), logic=self.in_logic(role))
              for role in ROLES if role != TABLES),
            *self._elementwise_memories(depths.get(TABLES)),
        )

    def _elementwise_memories(self, depth: int | None) -> list[MemoryUse]:
        """``depth`` is that of tables from outside, None where there are none."""
        fmt, lanes = self.elementwise_format, self.config.requantisers
        if fmt is None:
            return []
        tables = [MemoryUse(TABLES, lanes, depth or ElementwiseUnit.TABLE_WORDS * len(each), width)
                  for each, width in zip(fmt.tables, fmt.widths, strict=True)]
        return tables + ([MemoryUse("skip", 1, self.skip_depth, 8 * lanes)] if fmt.operands > 1 else [])

# SPDX-License-Identifier: Apache-2.0
"""How big the engine is: one frozen object that schedule, ROM contents and hardware all read."""

from dataclasses import asdict, dataclass, fields, replace
from typing import Any

__all__ = ["RARE", "ConfigError", "EngineConfig"]

RARE = "operands", "logic_columns", "columns_abreast", "requantiser_multiplier"
"""What few engines have: told of those alone in which it is not what it is by default."""


class ConfigError(ValueError):
    """The engine's shape, or the design's name, is impossible; the message names the parameter."""


@dataclass(frozen=True)
class EngineConfig:
    """The size of an engine: of its lanes, array, requantisers and memories.

    Parameters
    ----------
    rows
        P, rows of the systolic array: output pixels in a tile.
    columns
        C, columns of the systolic array: output channels that are made at once, a column group.
    lanes
        L, channels that the depthwise engine works on at once; also the bytes of a memory word.
    window
        Taps of a depthwise window that are read and multiplied at once, (rows, columns). The activation
        memory has one bank per tap. Larger kernels take several steps.
    requantisers
        R, results that leave the array in a cycle; divides ``columns``, and either divides ``lanes`` or is twice as
        many.  Two words of memory are written at once then, to two banks: there must be several beside each other in
        the ``window``, and the engine must be ``pipelined`` and not ``single_port``.
    input_bytes
        Width of the input stream. Each image row must be a whole number of beats.
    spread
        Registers between the array's multipliers and accumulators; a cycle of latency each, where a part's
        multipliers lie in few places, far from most accumulators.
    packing
        Neighbouring rows of the array that share a multiplier: 2 where it has 18 bits and logic beside it is to spare.
    operands
        K, operands of each sum that the array takes in a cycle: elements multiply so many pairs, and add the products
        before they are accumulated.  More than one only if the engine is ``pipelined``, not ``single_port``, and its
        requantisers are pipelines.
    logic_columns
        Columns of the array whose multipliers are made of logic, for arrays with more products than a part has
        multipliers for; with a ``packing`` of 2 alone.
    columns_abreast
        Neighbouring columns of the array that take their operands in the same cycle, and the parameters of their
        requantisers too; divides ``columns``.  More than one, where tiles are too small for parameters that come one by
        one, only if the engine is ``pipelined`` and its requantisers are pipelines.
    requantiser_multiplier
        Bits of either factor of a hardware multiplier in each pipelined requantiser, of the array and of the lanes: it
        takes as much of the product as it can, and logic the rest.  0: logic takes all of it.
    copy_lanes
        Bytes of a row of the first convolution's window that are copied at once; counts if more than ``lanes``.
    requantiser_cycles
        Cycles that the array's requantiser spends on a value. One: a pipeline. Three or more: a small, serial
        one; ``requantisers`` must be 1 then.
    lane_cycles
        The same of the depthwise lanes' requantisers. One: a pipeline for each lane. Three or more: a serial
        one for all of them.
    single_port
        Activations and the array's weights lie in memories with one port for both reading and writing, which come
        up blank: the weights are loaded from outside, and no pass reads what another one is still writing.
    pipelined
        Registers wherever a fast clock wants them.  Without, for small parts with slow clocks: memories have no
        registers at their outputs, windows are made in half the steps, and operands reach all of the array in the
        same cycle; ``requantisers`` must be 1 then.
    activation_words
        Most words in each bank of the activation memory.  Passes between which larger maps lie run in bands of rows,
        for more cycles (:mod:`tepal.hdl.plan.bands`).  None: every map is stored whole.
    weight_words
        Words of the array's weights, ``operands`` for each column, that are on the chip at a time: all weights, with
        requantiser parameters and elementwise tables, come from outside as a stream, again for every frame
        (:mod:`tepal.hdl.plan.portions`).  None: all are on the chip.
    input_rows
        Most rows of the image that the input memory holds at a time.  The pass that reads it runs in parts of rows,
        each of which begins when its rows have arrived (:mod:`tepal.hdl.plan.input_ring`); so it does where there is
        room for all.  None: it holds the whole image, and a frame begins when all of it has arrived.

    Raises
    ------
    ConfigError
        The parameters are out of range, or don't go together.

    Examples
    --------
    >>> EngineConfig(rows=4, columns=8, lanes=4, requantisers=3)
    Traceback (most recent call last):
    tepal.hdl.config.ConfigError: requantisers (3) must divide columns (8)
    """

    rows: int
    columns: int
    lanes: int
    window: tuple[int, int] = (3, 3)
    requantisers: int = 1
    input_bytes: int = 1
    spread: int = 0
    packing: int = 1
    copy_lanes: int = 1
    requantiser_cycles: int = 1
    lane_cycles: int = 1
    single_port: bool = False
    pipelined: bool = True
    activation_words: int | None = None
    weight_words: int | None = None
    input_rows: int | None = None
    operands: int = 1
    logic_columns: int = 0
    columns_abreast: int = 1
    requantiser_multiplier: int = 0

    def __post_init__(self):
        for name in ("rows", "columns", "lanes", "requantisers", "input_bytes", "copy_lanes", "requantiser_cycles",
                     "lane_cycles", "operands", "columns_abreast"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ConfigError(f"{name} must be a positive integer, not {value!r}")
        if not isinstance(self.spread, int) or self.spread < 0:
            raise ConfigError(f"spread must be an integer that is not negative, not {self.spread!r}")
        if self.packing not in (1, 2):
            raise ConfigError(f"packing must be 1 or 2, not {self.packing!r}")
        if self.rows % self.packing:
            raise ConfigError(f"packing ({self.packing}) must divide rows ({self.rows})")
        if len(self.window) != 2 or any(not isinstance(n, int) or n < 1 for n in self.window):
            raise ConfigError(f"window must be two positive integers, not {self.window!r}")
        if self.columns % self.requantisers:
            raise ConfigError(f"requantisers ({self.requantisers}) must divide columns ({self.columns})")
        if self.lanes % self.requantisers and self.requantisers != 2 * self.lanes:
            raise ConfigError(f"requantisers ({self.requantisers}) must divide lanes ({self.lanes}), or be twice as "
                              "many")
        if self.requantisers > self.lanes and not self.takes_two_words:
            raise ConfigError(f"requantisers ({self.requantisers}) beyond lanes ({self.lanes}) write two banks at "
                              "once: the window must have several columns, pipelined be on and single_port off")

        for name in ("requantiser_cycles", "lane_cycles"):
            if getattr(self, name) == 2:
                raise ConfigError(f"{name} must be 1, or 3 or more, not 2")
        if self.requantiser_cycles > 1 and self.requantisers > 1:
            raise ConfigError(f"requantiser_cycles above 1 ({self.requantiser_cycles}) need requantisers to be 1, "
                              f"not {self.requantisers}")

        if self.activation_words is not None:
            if not isinstance(self.activation_words, int) or self.activation_words < 1:
                raise ConfigError(f"activation_words must be a positive integer, not {self.activation_words!r}")
            if self.single_port:
                raise ConfigError("activation_words need memories with two ports: bands are read and written at once")
        if self.weight_words is not None:
            if not isinstance(self.weight_words, int) or self.weight_words < 1:
                raise ConfigError(f"weight_words must be a positive integer, not {self.weight_words!r}")
            if self.single_port or self.requantiser_cycles > 1 or self.lane_cycles > 1:
                raise ConfigError("weight_words need memories with two ports and pipelined requantisers: single_port "
                                  "must be off, requantiser_cycles and lane_cycles 1")
        if self.input_rows is not None:
            if not isinstance(self.input_rows, int) or self.input_rows < 1:
                raise ConfigError(f"input_rows must be a positive integer, not {self.input_rows!r}")
            if self.single_port:
                raise ConfigError("input_rows need memories with two ports: a map is written in parts that are apart")
        if not isinstance(self.logic_columns, int) or not 0 <= self.logic_columns <= self.columns:
            raise ConfigError(f"logic_columns must be 0 to columns ({self.columns}), not {self.logic_columns!r}")
        if self.logic_columns and self.packing == 1:
            raise ConfigError("logic_columns need a packing of 2: a multiplier of its own for each product is faster "
                              "than logic is")
        bits = self.requantiser_multiplier
        if not isinstance(bits, int) or (bits != 0 and not 9 <= bits <= 18):
            raise ConfigError(f"requantiser_multiplier must be 0, or 9 to 18 bits, not {bits!r}")
        if bits and self.requantiser_cycles > 1 and self.lane_cycles > 1:
            raise ConfigError(f"a requantiser_multiplier ({bits}) needs pipelined requantisers: requantiser_cycles or "
                              "lane_cycles must be 1")
        if self.operands > 1 and (not self.pipelined or self.single_port or self.requantiser_cycles > 1):
            raise ConfigError(f"several operands ({self.operands}) need a pipelined engine whose memories have two "
                              "ports: pipelined must be on, single_port off, requantiser_cycles 1")
        if self.columns % self.columns_abreast:
            raise ConfigError(f"columns_abreast ({self.columns_abreast}) must divide columns ({self.columns})")
        if self.columns_abreast > 1 and (not self.pipelined or self.requantiser_cycles > 1):
            raise ConfigError(f"several columns_abreast ({self.columns_abreast}) need a pipelined engine: pipelined "
                              "must be on, requantiser_cycles 1")
        if not self.pipelined and self.requantisers > 1:
            raise ConfigError(f"an engine that is not pipelined needs requantisers to be 1, not {self.requantisers}")

    def told(self) -> dict[str, Any]:
        """What is asked for, by name, ready for JSON; without what is left to the plan, and what is :data:`RARE` only
        where it is not as in most engines."""
        return {name: value for name, value in asdict(self).items() if value is not None and _USUAL.get(name) != value}

    @property
    def shape(self) -> str:
        """Of the array, for people: rows x columns, and x operands where there are several."""
        return " x ".join(map(str, (self.rows, self.columns, self.operands)[:2 + (self.operands > 1)]))

    @property
    def plain(self) -> "EngineConfig":
        """This engine without anything that is :data:`RARE`."""
        return replace(self, **_USUAL)

    @property
    def taps(self) -> int:
        """Depthwise products per lane and cycle; also the number of activation banks."""
        return self.window[0] * self.window[1]

    @property
    def tile_lanes(self) -> int:
        """Bytes of a word of the tile buffer."""
        return max(self.lanes, self.copy_lanes)

    @property
    def takes_two_words(self) -> bool:
        """Whether results may be written to two words of the activation memory at once."""
        return self.window[1] > 1 and self.pipelined and not self.single_port

    @property
    def written_words(self) -> int:
        """Words of the activation memory that results are written to at once."""
        return max(1, self.requantisers // self.lanes)

    @property
    def written_bytes(self) -> int:
        """Bytes of a word of the output memory, which takes all results of a cycle at once."""
        return max(self.lanes, self.requantisers)

    @property
    def drain_step(self) -> int:
        """Cycles that the sums of one pixel take to leave the array."""
        return self.turns * self.requantiser_cycles

    @property
    def turns(self) -> int:
        """Columns that one requantiser serves."""
        return self.columns // self.requantisers

    @property
    def products(self) -> int:
        """What the systolic array multiplies in a cycle."""
        return self.rows * self.columns * self.operands

    @property
    def multipliers(self) -> int:
        """Multipliers of the systolic array, one vendor primitive each where there are any."""
        return self.rows * (self.columns - self.logic_columns) * self.operands // self.packing

    def lag(self, column: int) -> int:
        """Cycles by which a column of a pipelined array takes its operands, and shows its sums, after the first."""
        return column // self.columns_abreast

    @property
    def scattered(self) -> bool:
        """Whether memories lie all over the part, as where weights come from outside: what goes to and from them has
        registers on the way."""
        return self.pipelined and self.weight_words is not None

    @property
    def hard_requantisers(self) -> int:
        """Requantisers that have a hardware multiplier each, of the array and of the lanes."""
        pipelined = self.requantisers * (self.requantiser_cycles == 1) + self.lanes * (self.lane_cycles == 1)
        return pipelined if self.requantiser_multiplier else 0

    @property
    def widest_weight(self) -> int:
        """Most bits of a weight in the array: those of an uint8 with a zero point, or of an int8 where two products
        share a multiplier and none is added before they are taken apart, or one of logic stands beside them."""
        return 8 if self.single_port or (self.packing > 1 and (self.operands == 1 or self.logic_columns > 0)) else 9

    def in_logic(self, column: int) -> bool:
        """Whether a column's multipliers are made of logic: such columns lie evenly among the others."""
        return (column + 1) * self.logic_columns // self.columns != column * self.logic_columns // self.columns

    @property
    def together(self) -> int:
        """Rows of the array that take their operands in the same cycle."""
        return self.packing if self.pipelined else self.rows


_USUAL = {field.name: field.default for field in fields(EngineConfig) if field.name in RARE}
"""What is :data:`RARE`, as most engines have it."""

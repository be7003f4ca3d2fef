# SPDX-License-Identifier: Apache-2.0
"""From finished sums to memory: column parameters, requantisers, what is done to their results, write addresses."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.config import EngineConfig
from tepal.hdl.primitives import Relay, bits_for, delay, delay_events

from .arithmetic import modular_sum
from .column_parameters import ColumnParameters
from .descriptor_table import Countdown, DescriptorTable
from .elementwise import ElementwiseFormat, ElementwiseUnit
from .instance_name import InstanceName
from .requantiser import SELECT, Requantiser, RequantiserFormat
from .serial_requantiser import ParameterRom, SerialFormat, SerialRequantiser
from .systolic import ProcessingElement
from .widths import Widths
from .write_walk import ChunkWalk, PixelWalk

__all__ = ["Drain", "DrainDescriptor"]


@dataclass(frozen=True)
class DrainDescriptor:
    """How and where a pass's results are written.  Counters are described by their last value.

    Parameters
    ----------
    last_tile, last_block, last_pixel
        Of the pass's tiles, its column groups, and a tile's output pixels.
    pixels_beyond
        Pixels of the last tile that lie behind the map's last one.
    last_phase, chunks
        Of the turns in which the requantisers serve a pixel's columns; and the chunks that the pixel has.
    last_out_column
        Last column of the output.
    row_remainder, row_address, row_wrapped_address, column_remainder, column_address, column_wrapped_address
        From one row, from one column, to the next: members of a
        :class:`~tepal.hdl.units.descriptor_table.Difference`.
    base_address, first_row
        First word of the row and the channel of the map with which the pass begins, and that row's bank; None where all
        passes begin in the first one.
    second_row, second_row_address, second_column, second_column_address, second_out_column
        Place of the second pixel.
    to_output
        The results go to the output memory.
    to_banks
        They go to the activation memory; None if they do in all passes whose results don't go to the output memory.
    to_skip, added_base, other_base
        They go to the skip memory, from this word on; first word there of what is added to them.  None if no pass adds
        another map.
    first_table, second_table, mode
        Of the elementwise unit; None if there is none, the second one if it adds nothing.
    next_parameters
        First word of the next pass's parameters, for a serial requantiser; None where each pass's follow those before.
    first_turn, neighbours, lone_word
        Bank columns by which its first word lies further on than a pixel's first one; the two words of a chunk are
        those of neighbouring pixels, which are stepped over together and counted as one; the last chunk of a pixel has
        one word.  None where a chunk is no more than a word.
    """

    last_tile: int
    last_block: int
    last_pixel: int
    pixels_beyond: int
    last_phase: int
    chunks: int
    last_out_column: int
    row_remainder: int
    row_address: int
    row_wrapped_address: int
    column_remainder: int
    column_address: int
    column_wrapped_address: int
    base_address: int
    second_row: int
    second_row_address: int
    second_column: int
    second_column_address: int
    second_out_column: int
    to_output: int
    to_banks: int | None = None
    to_skip: int | None = None
    added_base: int | None = None
    other_base: int | None = None
    first_table: int | None = None
    second_table: int | None = None
    mode: int | None = None
    first_row: int | None = None
    next_parameters: int | None = None
    first_turn: int | None = None
    neighbours: int | None = None
    lone_word: int | None = None


class Drain(wiring.Component):
    """Requantises the sums that leave the array and writes them to memory.

    Each of R = ``config.requantisers`` serves T = ``config.turns`` neighbouring columns in turn.  Column r * T + i of a
    column group holds channel i * R + r, so that the requantisers' results of one cycle, aligned, are neighbouring
    channels of one pixel: a chunk, the unit of writing.  If ``config.written_words`` is 2, a chunk is two neighbouring
    words of a pixel, or of two pixels where several are made from one window: in neighbouring columns of banks.

    Parameters
    ----------
    config, widths
        Shape of the engine, and widths of what the units hand to each other.  In an engine that is not pipelined,
        results are written in the cycle in which they are there.
    fmt, words
        Requantiser format, and one parameter word per column of every column group.
    parameter_table, table
        Of :class:`~tepal.hdl.units.column_parameters.ParameterDescriptor` and :class:`DrainDescriptor`.
    rom
        Where those words are, if not in a ROM of the drain's own (:class:`ColumnParameters`).
    elementwise
        Format of the elementwise unit; None: the requantisers' results are written as they are.
    tables
        Where its tables are, if not in ROMs of its own (:class:`~tepal.hdl.units.elementwise.ElementwiseUnit`).

    Members
    -------
    captured, bottom, ending : In
        From the array; the last with several ``config.columns_abreast`` alone: parameters are fetched in time for the
        sums then, which need not wait for them.
    enable : Out(1) per part of a word, for each bank and, as the last one, the output memory
    address, data : Out
        Write port, common to all memories.
    own_address, own_data : Out for each memory
        The same, from registers of their own, where weights come from outside: maps fill memory blocks all over the
        part then; or where a chunk is two words, of which each bank takes its own.
    output_enable : Out
        For the output memory, where a chunk is two words: a bit for every :meth:`output_bytes`, each from a register of
        its own, for the memory may be a single word, of registers all over the part.
    done : Out(1)
        This write is the frame's last.
    written, number, end : Out
        Parts of a word that are written anywhere, by which pass, and that this is its last write (for tracing).
    """

    REQUANTISER = InstanceName("requantiser_{}", "array's requantiser {}", "requantisers")
    SERIAL = InstanceName("requantiser", part="serial requantisers")
    PORT = InstanceName("parameters", "array's requantiser parameters")
    WRITER = InstanceName("writer_{}")
    ENABLER = InstanceName("enabler_{}")
    NAME = InstanceName("drain", "drain", "drain", (
        REQUANTISER, SERIAL, PORT, WRITER, ENABLER, ElementwiseUnit.NAME, ColumnParameters.ROM, ColumnParameters.RELAY,
        ColumnParameters.WORD))

    EARLY = 2
    """Cycles before a write in which a pipelined requantiser's side begins to make its address."""

    @staticmethod
    def ahead(config: EngineConfig) -> int:
        """Cycles before the array's capture in which its column parameters begin to be fetched."""
        known = ProcessingElement.latency(config) if config.columns_abreast > 1 else 0
        return min(known, ColumnParameters.LATENCY)

    @staticmethod
    def output_bytes(config: EngineConfig) -> int:
        """Bytes of the output memory's word that are enabled together."""
        return gcd(4, config.written_bytes) if config.written_words > 1 else config.requantisers

    @staticmethod
    def write(pipelined: bool) -> int:
        """Cycles from a result to its write."""
        return int(pipelined)

    @classmethod
    def latency(cls, config: EngineConfig, fmt: RequantiserFormat | SerialFormat,
                elementwise: ElementwiseFormat | None = None) -> int:
        """Cycles from the one in which the array shows a column group's first sum to the write of its first chunk."""
        further = ElementwiseUnit.latency(elementwise, config.pipelined, config.scattered) if elementwise else 0
        select = ColumnParameters.LATENCY - cls.ahead(config) + SELECT if isinstance(fmt, RequantiserFormat) else 0
        return (config.lag((config.requantisers - 1) * config.turns) + select + fmt.latency + further
                + cls.write(config.pipelined))

    @staticmethod
    def features(engine: Any, fmt: RequantiserFormat | SerialFormat, passes: int) -> dict[str, Any]:
        """Features for the LUT estimate, for so many ``passes``; ``engine`` is a configuration, or has arrays in
        place of its integers.  With a serial requantiser there are others: nothing is delayed behind that."""
        column_bits = fmt.accumulator + fmt.width
        found = {"bits to choose from": (engine.columns - engine.requantisers) * column_bits,
                 "bits of columns": engine.columns * fmt.width,
                 "bits of requantisers": engine.requantisers * column_bits,
                 "delayed results": engine.columns * (engine.requantisers - 1) // 2,
                 "blocks": passes, "fixed": 1}
        serial = " beside a serial one" if isinstance(fmt, SerialFormat) else ""
        return {f"{name}{serial}": count for name, count in found.items()}

    def __init__(self, config: EngineConfig, widths: Widths, fmt: RequantiserFormat | SerialFormat, words: list[int], *,
                 parameter_table: DescriptorTable, table: DescriptorTable,
                 elementwise: ElementwiseFormat | None = None, rom=None, tables: Sequence[Sequence] | None = None):
        self.config, self.widths, self.format, self.words = config, widths, fmt, words
        self.elementwise, self.rom, self.tables = elementwise, rom, tables
        self.parameter_table, self.table = parameter_table, table
        self.parts = parts = max(1, config.lanes // config.requantisers)
        # Passes that write outputs: the frame's last result is the last one's.
        self.several = sum(row["to_output"] for row in table.rows) > 1
        self.own = config.scattered or config.written_words > 1
        # There what moves the walks goes far, too: it comes from registers, a cycle after it is decided, and all is
        # counted so much earlier.
        self.late = int(config.scattered and isinstance(fmt, RequantiserFormat))
        super().__init__({
            "captured": In(1), "bottom": In(signed(fmt.accumulator)).array(config.columns),
            **({"ending": In(1)} if config.columns_abreast > 1 else {}),
            "enable": Out(parts).array(config.taps + 1),
            "address": Out(widths.target), "data": Out(8 * config.written_bytes), "done": Out(1),
            "written": Out(parts), "number": Out(bits_for(len(table))), "end": Out(1),
            **({"own_address": Out(widths.target).array(config.taps + 1),
                "own_data": Out(8 * config.written_bytes).array(config.taps + 1)} if self.own else {}),
            **({"output_enable": Out(config.written_bytes // self.output_bytes(config))}
               if config.written_words > 1 else {}),
        })

    def elaborate(self, platform):
        m = Module()
        tick, start, results = Signal(), Signal(), []
        if isinstance(self.format, RequantiserFormat):
            results, begin = self._pipelines(m, self.format)
            m.d.comb += start.eq(begin)
        else:
            # Here all is counted when a value enters the requantiser, not when it leaves.
            m.d.comb += start.eq(delay(m, self.captured, 1, name="first"))
        phase, write, moves = self._walk(m, tick, start)
        if isinstance(self.format, SerialFormat):
            results = [self._serial(m, self.format, tick, phase, moves)]
            now = self._delay_serial_write(m, self.format, tick, write)
        else:
            now = self._delay_pipelined_write(m, tick, write)
        if self.elementwise:
            now, results = self._go_on(m, self.elementwise, now, write, results)
        self._write(m, now, write, results)
        return m

    def _pipelines(self, m: Module, fmt: RequantiserFormat):
        """(results of a cycle, whether the first ones of a column group are among them)."""
        count_of, step, ahead = self.config.requantisers, self.config.turns, self.ahead(self.config)
        late, fetches = ColumnParameters.LATENCY - ahead, self.captured
        if ahead:
            fetches = delay(m, self.ending, ProcessingElement.latency(self.config) - ahead, name="fetches")
        parameters = ColumnParameters(self.parameter_table, fmt, self.words, self.config.columns,
                                      self.config.columns_abreast, self.rom).add_to(m, fetches)
        # Requantiser 0 meets its columns in turn from the cycle after the capture; the others when their first columns
        # show their sums.
        first = delay(m, self.captured, 1, name="first")
        count, phase = Signal(range(max(2, step))), Signal(range(max(2, step)))
        m.d.comb += phase.eq(Mux(first, 0, count))
        m.d.sync += count.eq(Mux(phase == step - 1, 0, phase + 1))
        lags = [self.config.lag(index * step) for index in range(count_of)]
        results = []
        for index in range(count_of):
            phase = delay(m, phase, lags[index] - lags[index - 1], name=f"phase_{index}") if index else phase
            m.submodules[self.REQUANTISER(index)] = unit = Requantiser(fmt)
            own = slice(index * step, index * step + step)
            sums, words = self.bottom[own], [Value.cast(word) for word in parameters[own]]
            # Among one there is no choice: tools would make one of whatever the phase is.
            now = Array(sums)[phase] if step > 1 else sums[0]
            word = Array(words)[delay(m, phase, late, name=f"word_phase_{index}")] if step > 1 else words[0]
            m.d.comb += [unit.acc.eq(delay(m, now, late + SELECT, name=f"sum_{index}")),
                         unit.parameters.eq(delay(m, word, SELECT, name=f"word_{index}"))]
            results.append(delay(m, unit.result, lags[-1] - lags[index], name=f"result_{index}"))
        # The capture again, when its results are there.
        return results, delay(m, first, late + SELECT + fmt.latency + lags[-1] - self.EARLY - self.late, name="start")

    def _serial(self, m: Module, fmt: SerialFormat, tick, phase, moves):
        """Result of the requantiser that takes the next value at every ``tick``; ``moves`` say which parameter word
        follows."""
        m.submodules[self.SERIAL()] = unit = SerialRequantiser(fmt)
        m.submodules[ColumnParameters.ROM()] = rom = ParameterRom("matrix_parameters", fmt.width, self.words,
                                                             jumps="next_parameters" in self.table)
        m.d.comb += [unit.start.eq(tick), unit.acc.eq(Array(self.bottom)[phase]), unit.parameters.eq(rom.data),
                     rom.advance.eq(unit.advance)]
        for name, move in moves.items():
            held = Signal(len(move), name=name)
            with m.If(tick):
                m.d.sync += held.eq(move)
            m.d.comb += getattr(rom, name).eq(held)
        return unit.result

    def _walk(self, m: Module, tick, start):
        """Counts chunks, one at every ``tick``, from ``start`` to a column group's last: (the turn of the requantisers;
        what is to be known of the chunk's write; how a serial requantiser's parameters follow)."""
        following = Signal()
        d, upcoming, number = self.table.follow(m, following, name="descriptor", rom="drain")
        step = self.config.turns
        tile, column_group, pixel = (Countdown.of(self.table, name, self.table.rows[0][name])
                                     for name in ("last_tile", "last_block", "last_pixel"))
        phase = Signal(range(max(2, step)))
        busy = Signal()
        m.d.comb += tick.eq(start | busy)
        if isinstance(self.format, SerialFormat):
            wait = Signal(range(self.format.cycles))
            m.d.comb += tick.eq(start | busy & (wait == 0))
            m.d.sync += wait.eq(Mux(tick, self.format.cycles - 1, wait - 1))

        # A last column group that is not full is counted through to its end: up to ``step`` chunks more than there are.
        two = self.config.written_words > 1
        chunks = ChunkWalk(max(row["chunks"] for row in self.table.rows) + step, self.parts, self.widths.target,
                           self.config.window[1] if two else None)
        # A cycle after a pass's last chunk, the current descriptor is the one that was upcoming.
        begun = d if self.late else upcoming
        pixels = PixelWalk(m, self.table, d, begun, self.config.window, self.widths.target, self.widths.column)
        moves = (chunks.advance(), [*chunks.rewind(), *pixels.advance()], [*pixels.rewind(), *chunks.commit()],
                 [*chunks.restart(d.first_turn if two else 0), *pixels.commit()],
                 [*pixels.restart(), *(chunks.restart(begun.first_turn) if two else ())])
        # Where several pixels are made from one window, a column group's columns hold several pixels.
        shared = any(row["last_phase"] != step - 1 for row in self.table.rows)
        last_phase = phase == (d.last_phase if shared else step - 1)
        inside = ~tile.last | (pixel.left >= d.pixels_beyond)
        at_end = tick & tile.last & column_group.last & (pixel.left == d.pixels_beyond)
        # A pass's end moves all descriptors.  Where its last pixel has several chunks, the one before foretells it.
        foreseen = self.late and all(row["last_phase"] for row in self.table.rows)
        if foreseen:
            closing = Signal()
            with m.If(tick):
                m.d.sync += closing.eq((phase + 1 == (d.last_phase if shared else step - 1)) & pixel.last
                                       & column_group.last & tile.last)
            m.d.comb += following.eq(tick & closing)
        chances = tick, last_phase, pixel.last, column_group.last, tile.last
        now = [() if self.late else statements for statements in moves]
        with m.If(tick):
            m.d.sync += [busy.eq(1), phase.eq(phase + 1), *now[0]]
            with m.If(last_phase):
                m.d.sync += [phase.eq(0), *pixel.step(), *now[1]]
                with m.If(pixel.last):
                    m.d.sync += [busy.eq(0), *pixel.start(d.last_pixel), *column_group.step(), *now[2]]
                    with m.If(column_group.last):
                        m.d.sync += [*column_group.start(d.last_block), *tile.step(), *now[3]]
                        with m.If(tile.last):
                            if not foreseen:
                                m.d.comb += following.eq(1)
                            m.d.sync += [*now[4], *tile.start(upcoming.last_tile),
                                         *column_group.start(upcoming.last_block), *pixel.start(upcoming.last_pixel)]
        for number_of, statements in enumerate(moves if self.late else ()):
            moved = delay(m, Cat(*chances[:number_of + 1]).all(), 1, name=f"move_{number_of}")
            with m.If(moved):
                m.d.sync += statements

        def known(name: str, value):
            """What is known of a chunk when the walks are in its place."""
            return delay(m, value, self.late, name=f"walk_{name}")

        chunk_count, to_output = known("chunks", d.chunks), known("to_output", d.to_output)
        inside = known("inside", inside) & (chunks.chunk < chunk_count)
        last_chunk = chunks.chunk == chunk_count - 1
        last_write = known("at_end", at_end) & last_chunk
        within = pixels.pixel["row_address"] + pixels.pixel["column_address"]
        # The output memory's words are whole chunks.
        group = Mux(to_output, chunks.group, chunks.group << 1) if two else chunks.group
        base = known("base_address", d.base_address) + group
        write = {"row": pixels.pixel["row"], "column": pixels.pixel["column"],
                 "to_output": to_output, "number": known("number", number),
                 "part": chunks.part, "inside": inside, "end": last_write, "within": within, "base": base}
        for name in ("to_banks", "to_skip", "first_table", "second_table", "mode"):
            if name in self.table:
                write[name] = known(name, getattr(d, name))
        if two:
            write |= self._walk_second(m, write["column"], chunks.turn, known("neighbours", d.neighbours),
                                       last_chunk & known("lone_word", d.lone_word))
        if self.elementwise and self.elementwise.operands > 1:
            write |= self._walk_skip(m, self.elementwise, known("tick", tick) & inside, known("following", following),
                                     d if self.late else upcoming)
        last_row = last_phase & pixel.last
        restart = column_group.last & tile.last & (number == len(self.table) - 1)
        return phase, write, {
            "repeat": last_phase & ~last_row, "onward": last_row & ~column_group.last,
            "rewind": last_row & column_group.last & ~tile.last, "commit": last_row & column_group.last & tile.last,
            "restart": last_row & restart,
            **({"base": d.next_parameters} if "next_parameters" in self.table else {})}

    def _walk_second(self, m: Module, column, turn, neighbours, lone_word) -> dict[str, Any]:
        """Columns of the banks of a chunk's two words; whether there is a second one, and by how much its address is
        higher: by one if it is the same pixel's, and if it is the next pixel's where that lies in the first column
        again."""
        banks = self.config.window[1]
        first, _ = modular_sum(m, column, turn, banks, name="first_word")
        second, wrapped = modular_sum(m, first, C(1, range(2)), banks, name="second_word")
        return {"column": first, "second_column": second, "ahead": wrapped | ~neighbours,
                "second": neighbours | ~lone_word}

    def _walk_skip(self, m: Module, fmt: ElementwiseFormat, step, following, upcoming):
        """Words of the skip memory: of what is added to this chunk, and of the chunk itself.  Both go from word to word
        with each ``step``."""
        places = {}
        for name in ("other", "added"):
            word = Signal(range(max(2, fmt.skip_words)), name=f"{name}_word", init=self.table.rows[0][f"{name}_base"])
            with m.If(step):
                m.d.sync += word.eq(word + 1)
            with m.If(following):
                m.d.sync += word.eq(getattr(upcoming, f"{name}_base"))
            places[f"{name}_word"] = word
        return places

    def _go_on(self, m: Module, fmt: ElementwiseFormat, now, write: dict, results: list):
        """(whether a chunk is written, its results), once the elementwise unit is done with them; what ``write`` says
        of it is delayed with it."""
        pipelined = self.config.pipelined
        m.submodules[ElementwiseUnit.NAME()] = unit = ElementwiseUnit(fmt, len(results), pipelined=pipelined,
                                                                        roms=self.tables)
        m.d.comb += [*(port.eq(result) for port, result in zip(unit.results, results, strict=True)),
                     unit.mode.eq(write.pop("mode")), unit.table_0.eq(write.pop("first_table"))]
        if fmt.operands > 1:
            m.d.comb += [unit.table_1.eq(write.pop("second_table")), unit.read_address.eq(write.pop("other_word"))]
        late = ElementwiseUnit.latency(fmt, pipelined, self.config.scattered)
        now = delay(m, now, late, name="elementwise_writing")
        _unpack(write, delay(m, Cat(*write.values()), late, name="elementwise_write"))
        if fmt.operands > 1:
            for port, value in ((unit.write_enable, now & write["inside"] & write.pop("to_skip")),
                                (unit.write_address, write.pop("added_word")), (unit.write_data, Cat(unit.out))):
                m.d.comb += port.eq(delay(m, value, int(pipelined), name=f"skip_{port.name}"))
        return now, [*unit.out]

    def _delay_serial_write(self, m: Module, fmt: SerialFormat, tick, write: dict):
        """Whether a serial requantiser's chunk is written; what ``write`` says of it is delayed with it."""
        within, base = write.pop("within"), write.pop("base")
        write["address"] = (within + base)[:self.widths.target]
        now, late = delay_events(m, tick, Cat(*write.values()), fmt.latency, fmt.cycles, name="write")
        _unpack(write, late)
        return now

    def _delay_pipelined_write(self, m: Module, tick, write: dict):
        """The same for pipelined ones.  The address is a sum of two sums, which is made in a cycle of its own."""
        now = delay(m, tick, self.late + self.EARLY, name="writing")
        _unpack(write, delay(m, Cat(*write.values()), self.EARLY - 1, name="write"))
        address = write.pop("within") + write.pop("base")
        second = address + write.pop("ahead") if "ahead" in write else None
        for name, value in write.items():
            write[name] = delay(m, value, 1, name=f"write_{name}")
        write["address"] = Signal.like(self.address, name="write_address", reset_less=True)
        m.d.sync += write["address"].eq(address)
        if second is not None:
            write["second_address"] = Signal.like(self.address, name="write_second_address", reset_less=True)
            m.d.sync += write["second_address"].eq(second)
        return now

    def _write(self, m: Module, now, write: dict, results: list):
        """The write port.  In a pipelined engine, the memory is chosen in a cycle of its own."""
        written, data = Signal(self.parts), Signal(len(Cat(results)))
        with m.If(now & write["inside"]):
            m.d.comb += written.eq(1 << write["part"])
        to_output, ends = write["to_output"], now & write["end"]
        last = len(self.enable) - 1
        stage = m.d.sync if self.config.pipelined else m.d.comb
        for bank in range(last):
            row, column = divmod(bank, self.config.window[1])
            at_column = write["column"] == column
            if "second" in write:
                at_column |= write["second"] & (write["second_column"] == column)
            here = write.get("to_banks", ~to_output) & (write["row"] == row) & at_column
            stage += self.enable[bank].eq(Mux(here, written, 0))
        stage += [self.enable[last].eq(Mux(to_output, written, 0)), self.address.eq(write["address"]),
                  data.eq(Cat(results)), self.written.eq(written), self.number.eq(write["number"]), self.end.eq(ends),
                  self.done.eq(ends & (write["number"] == len(self.table) - 1 if self.several else to_output))]
        m.d.comb += self.data.eq(data.replicate(self.parts))
        if self.config.written_words > 1:
            for number, enable in enumerate(self.output_enable):
                m.submodules[self.ENABLER(number)] = enabler = Relay(1)
                m.d.comb += [enabler.word.eq(Mux(to_output, written, 0)), enable.eq(enabler.late)]
        bits, shared = len(self.address), {}
        for memory in range(last + 1) if self.own else ():
            # Banks of a column take the same word; the output memory takes all, in the place of one more column.
            column = memory % self.config.window[1] if memory < last else self.config.window[1]
            if self.config.scattered or column not in shared:
                own = self._word_of(write, results, column)
                m.submodules[self.WRITER(memory)] = shared[column] = writer = Relay(len(own))
                m.d.comb += writer.word.eq(own)
            late = shared[column].late
            m.d.comb += [self.own_address[memory].eq(late),
                         self.own_data[memory].eq(late[bits:].replicate(self.parts))]

    def _word_of(self, write: dict, results: list, column: int):
        """Address and data for the banks of a column, or for the output memory."""
        whole = Cat(write["address"], *results)
        if "second" not in write or column == self.config.window[1]:
            return whole
        half = len(results) // 2
        return Mux(write["column"] == column, Cat(write["address"], *results[:half]),
                   Cat(write["second_address"], *results[half:]))


def _unpack(fields: dict[str, Any], packed) -> None:
    """Replace each field, in order, by its bits of ``packed``."""
    start = 0
    for name, value in fields.items():
        fields[name] = packed[start:start + len(value)]
        start += len(value)

"""From finished sums to the activation memory: column parameters, requantisers, write addresses."""

from amaranth import *
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.block import ReplayRom
from tepal.hdl.primitives import Relay, bits_for, delay, delay_events

from .arithmetic import modular_sum
from .descriptor_table import Countdown, DescriptorTable
from .requantiser import SELECT, Requantiser, RequantiserFormat
from .serial_requantiser import ParameterRom, SerialFormat, SerialRequantiser

__all__ = ["Drain", "LaneParameters"]

EARLY = 2
"""Cycles before a write in which the pipelines' side begins to make its address."""


class LaneParameters(wiring.Component):
    """Requantiser parameters of the depthwise lanes, changed for each channel group.

    The next group's parameters are fetched from a narrow ROM, ``per_beat`` words a cycle, while this group's
    are in use.

    Members
    -------
    take : In(1)
        In :attr:`ACTIVE` cycles the next group's parameters are wanted; ``rewind``, ``commit``, ``restart`` beside it
        say where those of the group after it are (see :class:`~tepal.hdl.memories.block.ReplayRom`).
    active : Out(fmt.layout) per lane
    """

    ACTIVE = 2
    """Cycles from ``take`` to the parameters."""

    LATENCY = 1 + ReplayRom.latency(1)
    """Least cycles between two ``take``, beyond those in which words are fetched."""

    def __init__(self, fmt: RequantiserFormat, lanes: int, per_beat: int, words: list[int]):
        self.format, self.lanes, self.per_beat, self.words = fmt, lanes, per_beat, words
        super().__init__({"take": In(1), "rewind": In(1), "commit": In(1), "restart": In(1),
                          "active": Out(fmt.layout).array(lanes)})

    def elaborate(self, platform):
        m = Module()
        width = self.format.width
        beats = -(-self.lanes // self.per_beat)
        m.submodules.rom = rom = ReplayRom("depthwise_parameters", width * self.per_beat, self.words, registers=1)
        # Of the words asked for: how many there are, and, when they come out of the memory, which.
        beat = Signal(range(beats + 1), init=0)
        asked = Signal(beats)
        with m.If(beat != beats):
            m.d.comb += [rom.advance.eq(beat != beats - 1), asked.eq(1 << beat)]
            m.d.sync += beat.eq(beat + 1)
        arrived = [delay(m, asked[i], ReplayRom.latency(1), name=f"arrived_{i}") for i in range(beats)]
        for lane in range(self.lanes):
            m.submodules[f"lane_{lane}"] = unit = _Shadowed(width)
            m.d.comb += [unit.arrived.eq(arrived[lane // self.per_beat]), unit.take.eq(self.take),
                         unit.word.eq(rom.data.word_select(lane % self.per_beat, width)),
                         self.active[lane].eq(unit.active)]
        take = delay(m, self.take, 1, name="take")
        moves = delay(m, Cat(self.rewind, self.commit, self.restart), 1, name="moves")
        with m.If(take):
            # The ROM still shows the group's last word: only now is it known what comes after it.
            m.d.comb += [rom.advance.eq(1), Cat(rom.rewind, rom.commit, rom.restart).eq(moves)]
            m.d.sync += beat.eq(0)
        return m


class _Shadowed(wiring.Component):
    """A word that waits, and the one in use, which it replaces in the second cycle after ``take``.

    Lanes lie all over the part: each takes its word by a register of its own."""

    def __init__(self, width: int):
        super().__init__({"arrived": In(1), "word": In(width), "take": In(1), "active": Out(width)})

    def elaborate(self, platform):
        m = Module()
        shadow = Signal.like(self.word, name="shadow", reset_less=True)
        with m.If(self.arrived):
            m.d.sync += shadow.eq(self.word)
        with m.If(delay(m, self.take, 1, name="take")):
            m.d.sync += self.active.eq(shadow)
        return m


_NEIGHBOURS = 4
"""Columns whose parameters come by the same register."""


class Drain(wiring.Component):
    """Requantises the sums that leave the array and writes them to memory.

    Each of ``requantisers`` serves ``step`` neighbouring columns in turn.  Column r * step + i of a block holds
    channel i * requantisers + r, so that the requantisers' results of one cycle, aligned, are neighbouring
    channels of one pixel: a chunk, the unit of writing.

    Parameters
    ----------
    parameter_table, table
        From :mod:`tepal.hdl.plan.descriptors`.
    fmt, words
        Requantiser format, and one parameter word per column of every block.
    columns, requantisers, lanes, window, address_bits, column_bits
        Shape of the engine, and widths in which addresses, and what a column adds to one, are computed.
    pipelined
        Without, results are written in the cycle in which they are there.

    Members
    -------
    captured, bottom : In
        From the array.
    enable : Out(1) per part of a word, for each bank and the output memory behind them
    address, data : Out
        Write port, common to all memories.
    done : Out(1)
        This write is the frame's last.
    written, number, end : Out
        Parts of a word that are written anywhere, by which block, and that this is its last write (for tracing).
    """

    PARAMETERS = ReplayRom.latency(1) + 2
    """Cycles from a column's first sum to its parameters."""

    @staticmethod
    def write(pipelined: bool) -> int:
        """Cycles from a result to its write."""
        return int(pipelined)

    def __init__(self, parameter_table: DescriptorTable, table: DescriptorTable, fmt: RequantiserFormat | SerialFormat,
                 words: list[int], columns: int, requantisers: int, lanes: int, window, address_bits: int,
                 column_bits: int, pipelined: bool = True):
        self.parameter_table, self.table, self.format, self.words = parameter_table, table, fmt, words
        self.columns, self.requantisers, self.lanes, self.window = columns, requantisers, lanes, window
        self.column_bits, self.pipelined = column_bits, pipelined
        super().__init__({
            "captured": In(1), "bottom": In(signed(fmt.accumulator)).array(columns),
            "enable": Out(lanes // requantisers).array(window[0] * window[1] + 1),
            "address": Out(address_bits), "data": Out(8 * lanes), "done": Out(1),
            "written": Out(lanes // requantisers), "number": Out(bits_for(len(table))), "end": Out(1),
        })

    def _parameters(self, m: Module):
        """Each column's parameters, in time for its first sum."""
        following = Signal()
        d, _, number = self.parameter_table.follow(m, following, name="parameter_descriptor")
        m.submodules.rom = rom = ReplayRom("matrix_parameters", self.format.width, self.words, registers=1)
        tile, block = Signal.like(d.last_tile), Signal.like(d.last_block)
        last_block, last_tile = block == d.last_block, tile == d.last_tile
        # A single block's parameters stay for all its tiles.
        single = d.last_block == 0
        load = Signal()
        m.d.comb += load.eq(self.captured & (~single | (tile == 0)))
        # What comes behind this block's parameters is known now, and done when they are in.
        commit = last_block & (last_tile | single)
        replay = Cat(last_block & ~commit, commit, commit & (number == len(self.parameter_table) - 1))
        with m.If(self.captured):
            m.d.sync += block.eq(Mux(last_block, 0, block + 1))
            with m.If(last_block):
                m.d.sync += tile.eq(Mux(last_tile, 0, tile + 1))
                m.d.comb += following.eq(last_tile)
        column = Signal(range(self.columns + 1), init=self.columns)
        latched = Signal.like(replay, name="replay")
        ending = Signal()
        advance, moves = Signal(), Signal.like(replay, name="moves")
        with m.If(load):
            m.d.sync += [column.eq(1), latched.eq(replay)]
            m.d.comb += [advance.eq(1), ending.eq(self.columns == 1)]
        with m.Elif(column != self.columns):
            m.d.sync += column.eq(column + 1)
            m.d.comb += [advance.eq(1), ending.eq(column == self.columns - 1)]
        with m.If(ending):
            m.d.comb += moves.eq(Mux(load, replay, latched))
        m.d.comb += [rom.advance.eq(delay(m, advance, 1, name="advance")),
                     Cat(rom.rewind, rom.commit, rom.restart).eq(delay(m, moves, 1, name="moves"))]
        parameters, copies = [], []
        arrives = delay(m, load, self.PARAMETERS, name="load")
        for index in range(self.columns):
            arrives = delay(m, arrives, 1, name=f"arrives_{index}") if index else arrives
            if index % _NEIGHBOURS == 0:
                m.submodules[f"copy_{index}"] = copy = Relay(self.format.width)
                m.d.comb += copy.word.eq(rom.data)
                copies.append(copy)
            word = Signal(self.format.layout, name=f"parameters_{index}", reset_less=True)
            with m.If(arrives):
                m.d.sync += word.eq(copies[-1].late)
            parameters.append(word)
        return parameters

    def _pipelines(self, m: Module, fmt: RequantiserFormat, step: int):
        """(results of a cycle, whether the first ones of a block are among them)."""
        parameters = self._parameters(m)
        # Requantiser 0 meets its columns in turn from the cycle after the capture; the others later.
        first = delay(m, self.captured, 1, name="first")
        count, phase = Signal(range(max(2, step))), Signal(range(max(2, step)))
        m.d.comb += phase.eq(Mux(first, 0, count))
        m.d.sync += count.eq(Mux(phase == step - 1, 0, phase + 1))
        results = []
        for index in range(self.requantisers):
            phase = delay(m, phase, step, name=f"phase_{index}") if index else phase
            m.submodules[f"requantiser_{index}"] = unit = Requantiser(fmt)
            own = range(index * step, index * step + step)
            m.d.comb += [unit.acc.eq(delay(m, Array([self.bottom[c] for c in own])[phase], self.PARAMETERS + SELECT,
                                           name=f"sum_{index}")),
                         unit.parameters.eq(delay(m, Array([Value.cast(parameters[c]) for c in own])[
                             delay(m, phase, self.PARAMETERS, name=f"word_phase_{index}")], SELECT,
                             name=f"word_{index}"))]
            results.append(delay(m, unit.result, (self.requantisers - 1 - index) * step, name=f"result_{index}"))
        # The same event, when its results are there.
        return results, delay(m, first, self.PARAMETERS + SELECT + fmt.latency + (self.requantisers - 1) * step - EARLY,
                              name="start")

    def _serial(self, m: Module, fmt: SerialFormat, tick, phase, move):
        """Result of the requantiser that takes the next value at every ``tick``; ``move`` says what comes after a
        block's sums of a row."""
        m.submodules.requantiser = unit = SerialRequantiser(fmt)
        m.submodules.rom = rom = ParameterRom("matrix_parameters", fmt.width, self.words)
        m.d.comb += [unit.start.eq(tick), unit.acc.eq(Array(self.bottom)[phase]), unit.parameters.eq(rom.data),
                     rom.advance.eq(unit.advance)]
        for name, condition in move.items():
            flag = Signal(name=name)
            with m.If(tick):
                m.d.sync += flag.eq(condition)
            m.d.comb += getattr(rom, name).eq(flag)
        return unit.result

    def elaborate(self, platform):
        m = Module()
        step = self.columns // self.requantisers
        tick, start, results = Signal(), Signal(), []
        if isinstance(self.format, RequantiserFormat):
            results, begin = self._pipelines(m, self.format, step)
            m.d.comb += start.eq(begin)
        else:
            # Here all is counted when a value enters the requantiser, not when it leaves.
            m.d.comb += start.eq(delay(m, self.captured, 1, name="first"))

        following = Signal()
        d, upcoming, number = self.table.follow(m, following, name="descriptor")
        parts = self.lanes // self.requantisers
        tile, block, pixel = (Countdown.of(self.table, name, self.table.rows[0][name])
                              for name in ("last_tile", "last_block", "last_pixel"))
        phase = Signal(range(max(2, step)))
        # Up to ``step`` more than there are, in a last block that is not full.
        most = max(row["chunks"] for row in self.table.rows) + step
        chunk_base, chunk = Signal(range(most + 1)), Signal(range(most + 1))
        busy = Signal()
        m.d.comb += tick.eq(start | busy)
        if isinstance(self.format, SerialFormat):
            wait = Signal(range(self.format.cycles))
            m.d.comb += tick.eq(start | busy & (wait == 0))
            m.d.sync += wait.eq(Mux(tick, self.format.cycles - 1, wait - 1))

        # Where pixel, group and part of the word are; beside the pixel's place, that of the one behind it.  A tile's
        # pixels are walked once per block, from the first one and the second.
        bits = len(self.address)
        group_base, group = Signal(bits), Signal(bits)
        part_base, part = Signal(range(max(2, parts))), Signal(range(max(2, parts)))
        shapes = {"row": range(max(2, self.window[0])), "row_address": bits,
                  "column": range(max(2, self.window[1])), "column_address": self.column_bits}
        ahead_shapes = shapes | {"out_column": d.last_out_column.shape()}
        # Behind a map's only pixel there is no place: whatever fits.
        begins = {name: self.table.rows[0][f"second_{name}"] % (1 << Shape.cast(shape).width)
                  for name, shape in ahead_shapes.items()}

        def places(name, shapes, init):
            return {field: Signal(shape, name=f"{name}_{field}", init=init[field]) for field, shape in shapes.items()}

        walker, tile_start = (places(name, shapes, dict.fromkeys(shapes, 0)) for name in ("pixel", "tile"))
        ahead, tile_second = (places(name, ahead_shapes, begins) for name in ("next", "second"))

        def stepped(name, banks):
            total, wrapped = modular_sum(m, ahead[name], getattr(d, f"{name}_remainder"), banks, name=f"after_{name}")
            return total, ahead[f"{name}_address"] + Mux(wrapped, getattr(d, f"{name}_wrapped_address"),
                                                         getattr(d, f"{name}_address"))

        row_end = ahead["out_column"] == d.last_out_column
        row, column = stepped("row", self.window[0]), stepped("column", self.window[1])
        after = {"row": Mux(row_end, row[0], ahead["row"]), "row_address": Mux(row_end, row[1], ahead["row_address"]),
                 "column": Mux(row_end, 0, column[0]), "column_address": Mux(row_end, 0, column[1]),
                 "out_column": Mux(row_end, 0, ahead["out_column"] + 1)}
        first_place = dict.fromkeys(shapes, 0)
        second_place = {name: getattr(upcoming, f"second_{name}") for name in ahead_shapes}

        def goto(place, following_place):
            return ([walker[name].eq(place[name]) for name in walker]
                    + [ahead[name].eq(following_place[name]) for name in ahead])

        def begin_tile(place, following_place):
            return goto(place, following_place) + [tile_start[name].eq(place[name]) for name in tile_start] + [
                tile_second[name].eq(following_place[name]) for name in tile_second]

        # The columns of a folded block hold several pixels.
        folds = any(row["last_phase"] != step - 1 for row in self.table.rows)
        last_phase = phase == (d.last_phase if folds else step - 1)
        inside = ~tile.last | (pixel.left >= d.pixels_beyond)
        last_write = tick & tile.last & block.last & (pixel.left == d.pixels_beyond) & (chunk == d.chunks - 1)
        next_part = Mux(part == parts - 1, 0, part + 1)
        next_group = Mux(part == parts - 1, group + 1, group)
        with m.If(tick):
            m.d.sync += [busy.eq(1), phase.eq(phase + 1), chunk.eq(chunk + 1), part.eq(next_part),
                         group.eq(next_group)]
            with m.If(last_phase):
                m.d.sync += [phase.eq(0), *pixel.step(), chunk.eq(chunk_base), group.eq(group_base),
                             part.eq(part_base), *goto(ahead, after)]
                with m.If(pixel.last):
                    m.d.sync += [busy.eq(0), *pixel.start(d.last_pixel), *block.step(), *goto(tile_start, tile_second),
                                 chunk_base.eq(chunk + 1), chunk.eq(chunk + 1),
                                 group_base.eq(next_group), group.eq(next_group),
                                 part_base.eq(next_part), part.eq(next_part)]
                    with m.If(block.last):
                        m.d.sync += [*block.start(d.last_block), *tile.step(), chunk_base.eq(0), chunk.eq(0),
                                     group_base.eq(0), group.eq(0), part_base.eq(0), part.eq(0),
                                     *begin_tile(ahead, after)]
                        with m.If(tile.last):
                            m.d.comb += following.eq(1)
                            m.d.sync += [*begin_tile(first_place, second_place), *tile.start(upcoming.last_tile),
                                         *block.start(upcoming.last_block), *pixel.start(upcoming.last_pixel)]

        within, base = walker["row_address"] + walker["column_address"], d.base_address + group
        write = {"row": walker["row"], "column": walker["column"], "to_output": d.to_output, "number": number,
                 "part": part, "inside": inside & (chunk < d.chunks), "end": last_write}

        def split(packed):
            start = 0
            for name, value in write.items():
                write[name] = packed[start:start + len(value)]
                start += len(value)

        if isinstance(self.format, SerialFormat):
            last_row = last_phase & pixel.last
            restart = block.last & tile.last & (number == len(self.table) - 1)
            results = [self._serial(m, self.format, tick, phase, {
                "repeat": last_phase & ~last_row, "onward": last_row & ~block.last,
                "rewind": last_row & block.last & ~tile.last, "commit": last_row & block.last & tile.last,
                "restart": last_row & restart})]
            write["address"] = (within + base)[:bits]
            now, late = delay_events(m, tick, Cat(*write.values()), self.format.latency, self.format.cycles,
                                     name="write")
            split(late)
        else:
            # The address is the sum of two sums, in a cycle of its own.
            write |= {"within": within, "base": base}
            now = delay(m, tick, EARLY, name="writing")
            split(delay(m, Cat(*write.values()), EARLY - 1, name="write"))
            address = write.pop("within") + write.pop("base")
            write = {name: delay(m, value, 1, name=f"write_{name}") for name, value in write.items()}
            write["address"] = Signal.like(self.address, name="write_address", reset_less=True)
            m.d.sync += write["address"].eq(address)

        written, data = Signal(parts), Signal(len(Cat(results)))
        with m.If(now & write["inside"]):
            m.d.comb += written.eq(1 << write["part"])
        to_output, ends = write["to_output"], now & write["end"]
        last = len(self.enable) - 1
        # Which memory, in a cycle of its own.
        stage = m.d.sync if self.pipelined else m.d.comb
        for bank in range(last):
            row, column = divmod(bank, self.window[1])
            here = ~to_output & (write["row"] == row) & (write["column"] == column)
            stage += self.enable[bank].eq(Mux(here, written, 0))
        stage += [self.enable[last].eq(Mux(to_output, written, 0)), self.address.eq(write["address"]),
                  data.eq(Cat(results)), self.written.eq(written), self.number.eq(write["number"]), self.end.eq(ends),
                  self.done.eq(ends & to_output)]
        m.d.comb += self.data.eq(data.replicate(parts))
        return m

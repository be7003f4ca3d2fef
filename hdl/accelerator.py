# SPDX-License-Identifier: Apache-2.0
"""The accelerator: a whole network, frame after frame, on one engine."""

from dataclasses import dataclass
from itertools import accumulate
from math import prod

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.block import Ram, ReplayRom, Rom
from tepal.hdl.memories.single_port import LoadedRom, RegionRam
from tepal.hdl.memories.streamed import BEAT, ScatteredRam, StreamedRom
from tepal.hdl.plan import rom_contents
from tepal.hdl.plan.descriptors import (
    drain_descriptors,
    feeder_descriptors,
    load_descriptors,
    parameter_descriptors,
    sequencer_places,
    sequencer_times,
    unit_widths,
)
from tepal.hdl.plan.portions import ROLES, TABLES
from tepal.hdl.plan.schedule import Schedule
from tepal.hdl.units.depthwise import DepthwiseEngine
from tepal.hdl.units.drain import Drain
from tepal.hdl.units.feeder import Feeder
from tepal.hdl.units.input_rows import InputRows
from tepal.hdl.units.instance_name import InstanceName
from tepal.hdl.units.lane_requantisers import LaneRequantisers
from tepal.hdl.units.loader import InputLoader
from tepal.hdl.units.sequencer import Sequencer
from tepal.hdl.units.streamer import OutputStreamer
from tepal.hdl.units.systolic import SystolicArray
from tepal.hdl.units.tile_buffer import TileBuffer
from tepal.hdl.units.weight_loader import WeightLoader
from tepal.hdl.units.window import WindowGenerator

from .answer import BEGUN_FRAME, FRAME
from .primitives import VerilogExport, delay, delay_events, relayed

__all__ = ["LOAD", "WEIGHTS", "Accelerator", "MemoryNames", "written_layout"]

LOAD = {"load_tdata": In(16), "load_tvalid": In(1), "load_tfirst": In(1), "run": In(1)}
"""Further members of an :class:`Accelerator` with ``config.single_port``."""

WEIGHTS = {"s_axis_weights_tdata": In(BEAT), "s_axis_weights_tvalid": In(1), "s_axis_weights_tready": Out(1)}
"""Further members of an :class:`Accelerator` with ``config.weight_words``."""


class MemoryNames:
    """What the accelerator's memories are called, other than those within its units."""

    INPUT = InstanceName("input_memory", "input memory", "memories")
    BANK = InstanceName("activations_{}_{}", "activation memory, bank row {} column {}", "memories")
    OUTPUT = InstanceName("output_memory", "output memory", "memories")
    DEPTHWISE_WEIGHTS = InstanceName("depthwise_weights", "depthwise weights", "memories")
    MATRIX_WEIGHTS = InstanceName("matrix_weights", "array's weights", "memories")


def written_layout(size: int) -> data.StructLayout:
    """What each stage writes: whether it does, by which pass, and its bytes, ``size`` at most."""
    word = data.StructLayout({"valid": 1, "block": 16, "data": 8 * size})
    return data.StructLayout({"depthwise": word, "matrix": word})


@dataclass
class _Entry:
    """What enters the tile buffer: whether it was reduced, and by which pass."""

    reduced: Value
    number: Value


class Accelerator(wiring.Component):
    """Runs a network on its own: an image in over a stream, all results and their argmax out over another.

    ::

        s_axis ─► loader ─► input memory ─┐
                                          ▼
        activation memory ─► window generator ─► depthwise engine ─► requantisers ─┐
               ▲                       └────────── copied windows ───────────► tile buffer
               │                                                                   │
               └── drain: requantisers ◄───────── systolic array ◄─────────────────┘
                      └─► output memory ─► m_axis

    The image is int8, rows of pixels of channels, ``config.input_bytes`` to a beat, the first byte lowest.
    Results are int8 in the same order, a byte a beat, then a :class:`~tepal.hdl.answer.Trailer`: the index of the
    largest (two bytes, low first), the frame's number and its status; ``m_axis_tlast`` marks the last.  The next image
    is taken while this one is computed.

    Parameters
    ----------
    schedule
        The network on an engine.
    debug
        Add the member ``written``.
    closes
        End an answer that a reset cut off (:class:`~tepal.hdl.units.streamer.OutputStreamer`).

    Members
    -------
    s_axis_tdata, s_axis_tvalid, s_axis_tready, s_axis_tlast
        AXI4-Stream sink (:class:`~tepal.hdl.units.loader.InputLoader` says what ``tlast`` does).
    m_axis_tdata, m_axis_tvalid, m_axis_tready, m_axis_tlast
        AXI4-Stream source.
    frame_error : Out(1)
        Since reset a frame was too long, too short or abandoned.
    written : Out(:func:`written_layout`)
        What the stages write in this cycle.
    load_tdata, load_tvalid, load_tfirst, run
        With ``config.single_port`` alone: the array's weights, 16 bits at a time, ``load_tfirst`` beside the first
        (:func:`tepal.hdl.plan.rom_contents.loaded_weights`), at most every other cycle, each for two; and that they are
        there: no frame begins before.
    s_axis_weights_tdata, s_axis_weights_tvalid, s_axis_weights_tready
        With ``config.weight_words`` alone: AXI4-Stream sink of weights and parameters without end, those of
        :func:`tepal.hdl.plan.weight_stream.weight_stream`.
    """

    WRITTEN = InstanceName("written_{}_0")
    NAMES = (
        InputLoader.NAME, MemoryNames.INPUT, MemoryNames.BANK, OutputStreamer.NAME, MemoryNames.OUTPUT, Sequencer.NAME,
        WindowGenerator.NAME, DepthwiseEngine.NAME, MemoryNames.DEPTHWISE_WEIGHTS, *LaneRequantisers.NAMES,
        TileBuffer.NAME, Feeder.NAME, SystolicArray.NAME, MemoryNames.MATRIX_WEIGHTS, Drain.NAME, InputRows.NAME,
        WeightLoader.NAME, WRITTEN)
    """Names of its instances."""

    def __init__(self, schedule: Schedule, *, debug: bool = False, closes: bool = True):
        self.schedule, self.config = schedule, schedule.config
        self.debug, self.closes, self.widths = debug, closes, unit_widths(schedule)
        super().__init__(({"written": Out(written_layout(schedule.config.written_bytes))} if debug else {}) | {
            "s_axis_tdata": In(8 * schedule.config.input_bytes), "s_axis_tvalid": In(1), "s_axis_tready": Out(1),
            "s_axis_tlast": In(1),
            "m_axis_tdata": Out(8), "m_axis_tvalid": Out(1), "m_axis_tready": In(1), "m_axis_tlast": Out(1),
            "frame_error": Out(1),
            **(LOAD if schedule.config.single_port else {}),
            **(WEIGHTS if schedule.config.weight_words is not None else {}),
        })

    def elaborate(self, platform):
        m = Module()
        loader, input_memory, banks, streamer, output_memory = self._memories(m)
        sequencer = self._sequencer(m, loader, streamer)
        streamed, tables, begun = self._streamed(), self._streamed_tables(), Signal(name="weights_begun")
        window = self._window(m, sequencer, input_memory, banks)
        engine = self._depthwise(m, sequencer, window, streamed.get("depthwise_weights"))
        reduced = self._lane_requantisers(streamed.get("depthwise_parameters"), begun).add_to(m, sequencer, engine)
        tile, feeder, entry = self._tile_buffer(m, sequencer, window, reduced)
        array = self._array(m, tile, feeder, streamed.get("matrix_weights"))
        drain = self._drain(m, array, streamer, [*banks, output_memory], streamed.get("matrix_parameters"),
                            tables)
        if streamed:
            loader = self._load_weights(m, sequencer, drain, streamed, tables)
            m.d.comb += begun.eq(delay(m, loader.begun, self._late, name="weights_written"))
            if isinstance(platform, VerilogExport):
                m.submodules.weight_tap = Instance("tepal_weight_tap", i_clk=ClockSignal(), i_complete=loader.complete)
        if self.debug:
            self._show_written(m, tile, drain, entry)
        if isinstance(platform, VerilogExport):
            self._tap(m, sequencer, tile, feeder, drain, entry)
        return m

    @property
    def _registers(self) -> int:
        """Registers at the outputs of memories, and for what goes along with their words."""
        return int(self.config.pipelined)

    @property
    def _late(self) -> int:
        """Cycles by which what comes from outside is written later, on the way to memories all over the part: one in
        registers of all memories of a kind, two in those of a memory."""
        return 3 * self._registers

    def _memories(self, m: Module):
        """Memories of the input, activations and results, and what goes between the outer two and the streams."""
        schedule, config, registers = self.schedule, self.config, self._registers
        layout, word, part = schedule.layout, 8 * config.lanes, 8 * min(config.lanes, config.requantisers)
        loader = m.submodules[InputLoader.NAME()] = InputLoader(layout, config.input_bytes)
        input_memory = m.submodules[MemoryNames.INPUT()] = Ram(8 * layout.word_bytes, layout.depth, registers=registers)
        if config.single_port:
            banks = [RegionRam(word, schedule.bank_depth, schedule.region_base, part, registers,
                               len(schedule.region_depths))
                     for _ in range(config.taps)]
        else:
            kind = ScatteredRam if config.scattered else Ram
            banks = [kind(word, schedule.bank_depth, part, registers) for _ in range(config.taps)]
        for i, bank in enumerate(banks):
            m.submodules[MemoryNames.BANK(*divmod(i, config.window[1]))] = bank
        streamer = m.submodules[OutputStreamer.NAME()] = OutputStreamer(
            [each.shape for each in schedule.output_maps], config.written_bytes, closes=self.closes,
            begun=schedule.rows is not None, pipelined=config.pipelined)
        output_memory = m.submodules[MemoryNames.OUTPUT()] = Ram(
            8 * config.written_bytes, streamer.depth, 8 * Drain.output_bytes(config), logic=schedule.in_logic("output"))
        m.d.comb += [
            loader.data.eq(self.s_axis_tdata), loader.last.eq(self.s_axis_tlast),
            loader.valid.eq(self.s_axis_tvalid), self.s_axis_tready.eq(loader.ready), self.frame_error.eq(loader.error),
            # The last word is there long before the first step.
            *(getattr(input_memory, f"write_{name}").eq(delay(m, value, registers, name=f"loaded_{name}"))
              for name, value in (("enable", loader.enable), ("address", loader.address), ("data", loader.word))),
            self.m_axis_tdata.eq(streamer.data), self.m_axis_tlast.eq(streamer.last),
            self.m_axis_tvalid.eq(streamer.valid), streamer.ready.eq(self.m_axis_tready),
            output_memory.read_address.eq(streamer.address), streamer.word.eq(output_memory.read_data),
        ]
        return loader, input_memory, banks, streamer, output_memory

    def _sequencer(self, m: Module, loader: InputLoader, streamer: OutputStreamer) -> Sequencer:
        """The sequencer, which claims the input memory and the output memory for a frame."""
        sequencer = m.submodules[Sequencer.NAME()] = Sequencer(
            self.config, self.widths, times=sequencer_times(self.schedule), places=sequencer_places(self.schedule))
        if self.schedule.rows is not None:
            self._pass_rows(m, sequencer, loader, streamer)
            return sequencer
        # The loader may hold another frame already when this one's results claim the output memory.
        working = Signal(FRAME, reset_less=True)
        with m.If(sequencer.input_claim):
            m.d.sync += working.eq(loader.frame)
        m.d.comb += [
            sequencer.input_full.eq(loader.full & self.run if self.config.single_port else loader.full),
            sequencer.output_free.eq(streamer.free),
            streamer.claim.eq(sequencer.output_claim), streamer.frame.eq(working),
            loader.release.eq(self._input_read(m, sequencer)),
        ]
        return sequencer

    def _input_read(self, m: Module, sequencer: Sequencer):
        """Whether what is freed has been read: the last words still are when the last step is made."""
        return delay(m, sequencer.input_release, self.schedule.latency.window, name="release")

    def _pass_rows(self, m: Module, sequencer: Sequencer, loader: InputLoader, streamer: OutputStreamer):
        """The image goes by rows from the loader to the sequencer, their places go back.

        What becomes of a frame is known when its last row is there.  The loader keeps it until the last pass begins
        that reads the frame's input, and the streamer takes it then or, if it may be sending another answer, when the
        output memory is claimed."""
        plan = self.schedule.rows
        assert plan is not None
        rows = m.submodules[InputRows.NAME()] = InputRows(self.schedule.layout, plan.ahead)
        working = Signal(BEGUN_FRAME, reset_less=True)
        with m.If(sequencer.ends_input):
            m.d.sync += working.eq(loader.frame)
        claims_first = self.schedule.first_output <= plan.last
        freed = delay(m, sequencer.rows_freed, self.schedule.latency.window, name="freed")
        m.d.comb += [
            rows.written.eq(loader.written), rows.ends.eq(loader.ends), loader.room.eq(rows.room),
            rows.wanted.eq(sequencer.rows_wanted), rows.claimed.eq(sequencer.rows_claimed),
            rows.freed.eq(Mux(self._input_read(m, sequencer), freed, 0)), sequencer.input_full.eq(rows.there),
            sequencer.output_free.eq(streamer.free), streamer.claim.eq(sequencer.output_claim),
            loader.release.eq(sequencer.ends_input), streamer.frame.eq(working),
            streamer.known.eq(delay(m, sequencer.ends_input, 1, name="ends_input") if claims_first else
                              sequencer.output_claim),
        ]

    def _window(self, m: Module, sequencer: Sequencer, input_memory, banks: list) -> WindowGenerator:
        window = m.submodules[WindowGenerator.NAME()] = WindowGenerator(self.config, self.widths, self.schedule.layout)
        m.d.comb += [
            *(getattr(window, name).eq(getattr(sequencer, name))
              for name in ("y", "x", "group", "from_input", "pitch", "step", "height", "width", "zero_point",
                           *(["bank_turn"] if self.config.written_words > 1 else []))),
            input_memory.read_address.eq(delay(m, window.input_address, ScatteredRam.LATENCY * self.config.scattered,
                                               name="input_address")), window.input_data.eq(input_memory.read_data),
        ]
        for i, bank in enumerate(banks):
            m.d.comb += [bank.read_address.eq(window.bank_address[i]), window.bank_data[i].eq(bank.read_data)]
        return window

    def _streamed(self) -> dict[str, StreamedRom]:
        """The memories of weights and parameters that come from outside, by their roles; none if all are on the
        chip."""
        loads, found = self.schedule.loads, {}
        roles = zip(ROLES, self.schedule.word_bits, loads.depths, strict=False) if loads else ()
        for number, (role, width, depth) in enumerate(roles):
            if role == TABLES:
                # Of these there are many: :meth:`_streamed_tables`.
                continue
            # The address of the columns' parameters goes to few blocks.
            relays = self._registers if role != "matrix_parameters" else 0
            # The requantisers' parameters always have a register.
            registers = 1 if role.endswith("parameters") else self._registers
            found[role] = StreamedRom(width, depth, registers, relays, late=self._late - self._registers,
                                      beat=self.schedule.beat_bits[number], logic=self.schedule.in_logic(role))
        return found

    def _streamed_tables(self) -> list[list[StreamedRom]]:
        """For each operand of the elementwise unit, those of its lanes' memories whose tables come from outside."""
        loads, fmt, lanes = self.schedule.loads, self.schedule.elementwise_format, self.config.requantisers
        if loads is None or fmt is None:
            return []
        return [[StreamedRom(width, loads.depths[ROLES.index(TABLES)], self._registers,
                             late=self._late - self._registers)
                 for _ in range(lanes)] for width in fmt.widths]

    def _load_weights(self, m: Module, sequencer: Sequencer, drain: Drain, streamed: dict[str, StreamedRom],
                      tables: list[list[StreamedRom]]) -> WeightLoader:
        """The weight loader, which writes what is ``streamed`` and the ``tables``, and lets passes begin.

        All are written some cycles later, through registers of their own.  Nothing of what a pass waits for is read
        before the pass takes its first step, :meth:`Sequencer.latency` cycles after it is there."""
        loads = self.schedule.loads
        assert loads is not None
        loader = m.submodules[WeightLoader.NAME()] = WeightLoader(
            load_descriptors(self.schedule), self.schedule.word_beats, loads.depths,
            prologue=[(each.role, each.words) for each in loads.prologue], ended=loads.ended, passes=loads.passes)
        m.d.comb += [
            loader.data.eq(self.s_axis_weights_tdata), loader.valid.eq(self.s_axis_weights_tvalid),
            self.s_axis_weights_tready.eq(loader.ready), loader.ended.eq(drain.end),
            loader.claim.eq(sequencer.weights_claim), sequencer.weights_there.eq(loader.there),
        ]
        for number, rom in enumerate(streamed.values()):
            enable, address = getattr(loader, f"enable_{number}"), loader.address[:len(rom.write_address)]
            m.d.comb += Cat(rom.write_enable, rom.write_address, rom.write_data).eq(relayed(
                m, Cat(enable, address, self._written(loader, number, rom)), self._registers, name=f"written_{number}"))
        if tables:
            self._load_tables(m, loader, tables)
        return loader

    def _written(self, loader: WeightLoader, role: int, rom: StreamedRom):
        """What is written into a memory of this role: the loader's word, or, of weights that are wider than a byte and
        come as bytes, these less what was added to them."""
        if role not in self.schedule.weight_offsets:
            return loader.written[:len(rom.write_data)]
        return Cat((loader.written.word_select(number, 8) - loader.offset)[:self.schedule.weight_bits[role]]
                   for number in range(BEAT // 8))

    def _load_tables(self, m: Module, loader: WeightLoader, tables: list[list[StreamedRom]]) -> None:
        """All lanes' ``tables`` are written at once."""
        fmt, enable = self.schedule.elementwise_format, getattr(loader, f"enable_{ROLES.index(TABLES)}")
        assert fmt is not None
        for number, (begin, roms) in enumerate(zip(fmt.begins, tables, strict=True), ROLES.index(TABLES)):
            beat, bit = divmod(begin, BEAT)
            address = loader.address[:len(roms[0].write_address)]
            write = relayed(m, Cat(enable[beat], address, loader.written[bit:]), self._registers,
                            name=f"written_{number}")
            for rom in roms:
                m.d.comb += Cat(rom.write_enable, rom.write_address, rom.write_data).eq(write)

    def _depthwise(self, m: Module, sequencer: Sequencer, window: WindowGenerator, streamed) -> DepthwiseEngine:
        """The depthwise engine, which sees every window, and its weights."""
        config, registers, at_window = self.config, self._registers, self.schedule.latency.window
        kinds, bits = self.schedule.formats.reduction_kinds, self.schedule.depthwise_weight_bits
        engine = m.submodules[DepthwiseEngine.NAME()] = DepthwiseEngine(
            config.lanes, config.taps, self.schedule.depthwise_accumulator, kinds, bits)
        # Large arrays leave no room for all lanes' weights beside each other.
        slices = config.lanes if config.columns_abreast > 1 else 1
        weights = m.submodules[MemoryNames.DEPTHWISE_WEIGHTS()] = streamed or Rom(
            "depthwise_weights", bits * config.lanes * config.taps, rom_contents.depthwise_weights(self.schedule),
            registers, relays=int(slices > 1), slices=slices)
        m.d.comb += weights.address.eq(delay(m, sequencer.weight, at_window - 1 - 2 * registers - weights.relays,
                                             name="weight"))
        weights_now = delay(m, weights.data, registers, name="weights")
        m.d.comb += engine.first.eq(delay(m, sequencer.first, at_window, name="chunk_first"))
        if len(kinds) > 1:
            # A constant of the pass, as the window generator's are: held until its last window has been made.
            m.d.comb += engine.kind.eq(sequencer.reduction_kind)
        for tap in range(config.taps):
            m.d.comb += [engine.windows[tap].eq(window.taps[tap]),
                         engine.weights[tap].eq(Cat(weights_now.word_select(lane * config.taps + tap, bits)
                                                    for lane in range(config.lanes)))]
        return engine

    def _lane_requantisers(self, streamed, begun) -> LaneRequantisers:
        schedule = self.schedule
        return LaneRequantisers(schedule.depthwise_format, rom_contents.depthwise_parameters(schedule),
                                schedule.parameter_words, schedule.latency.sum, streamed, begun)

    def _tile_buffer(self, m: Module, sequencer: Sequencer, window: WindowGenerator, reduced: list):
        """The tile buffer, which takes copied and reduced words, and the feeder: (both, what enters the former).

        A copied word comes ``latency.window``, a reduced one ``latency.reduce`` cycles after its step; the
        schedule keeps them from meeting.  Either brings its place along."""
        schedule, config = self.schedule, self.config
        tile = m.submodules[TileBuffer.NAME()] = TileBuffer(config, schedule.tile_row_words)
        feeder = m.submodules[Feeder.NAME()] = Feeder(config, self.widths, feeder_descriptors(schedule))
        step_place = Cat(sequencer.part, sequencer.word, sequencer.pixel, sequencer.number, sequencer.tile_end)
        entry = TileBuffer.entry(config)
        at_copy, at_result = schedule.latency.window, schedule.latency.reduce - entry
        copied = delay(m, sequencer.valid & ~sequencer.reduce, at_copy, name="copied")
        spacing = min([prod(b.chunks) for b in schedule.passes if b.reduces], default=1)
        reduced_near, reduced_place = delay_events(m, sequencer.valid & sequencer.reduce & sequencer.last, step_place,
                                                   at_result, spacing, name="reduced")
        near_place = Mux(reduced_near, reduced_place, delay(m, step_place, at_copy, name="copied_place"))
        near = entry // 2
        entering = Mux(delay(m, reduced_near, near, name="reduced_near"),
                       delay(m, Cat(reduced), near, name="reduced_word"),
                       delay(m, window.copied, near, name="copied_word"))
        writes = delay(m, copied | reduced_near, entry, name="entering")
        reduced_now = delay(m, reduced_near, entry, name="reduced_entering")
        part, word, pixel, number, tile_end = _split(
            delay(m, near_place, entry, name="place"),
            len(sequencer.part), len(sequencer.word), len(sequencer.pixel), len(sequencer.number), 1)
        m.d.comb += [
            tile.write.eq(writes), tile.write_part.eq(part), tile.write_word.eq(word),
            tile.pixel.eq(pixel), tile.data.eq(delay(m, entering, entry - near, name="word")),
            feeder.tile_end.eq(tile.write & tile_end),
            *(getattr(tile, name).eq(getattr(feeder, name)) for name in ("part", "word", "lane", "first", "last")),
        ]
        return tile, feeder, _Entry(reduced_now, number)

    def _array(self, m: Module, tile: TileBuffer, feeder: Feeder, streamed) -> SystolicArray:
        config = self.config
        array = m.submodules[SystolicArray.NAME()] = SystolicArray(
            config, self.schedule.matrix_accumulator, self.schedule.matrix_weight_bits)
        matrix = self._matrix_weights(m, feeder, streamed)
        for row in range(config.rows):
            m.d.comb += [array.x[row].eq(tile.x[row]), array.first[row].eq(tile.first_out[row]),
                         array.last[row].eq(tile.last_out[row])]
        matrix_word = delay(m, matrix.data, self._registers, name="matrix_word")
        for column in range(config.columns):
            m.d.comb += array.w[column].eq(matrix_word.word_select(column, len(array.w[column])))
        return array

    def _matrix_weights(self, m: Module, feeder: Feeder, streamed) -> ReplayRom:
        """The array's weights, whose word is there when the tile buffer's bytes are, but for a register of the
        array's."""
        config, registers = self.config, self._registers
        words, loaded = rom_contents.matrix_weights(self.schedule), None
        if config.single_port:
            loaded = LoadedRom(8 * config.columns, len(words), registers)
            m.d.comb += [loaded.load.eq(self.load_tvalid), loaded.load_first.eq(self.load_tfirst),
                         loaded.load_data.eq(self.load_tdata)]
        relays = registers if loaded is None else 0
        matrix = m.submodules[MemoryNames.MATRIX_WEIGHTS()] = ReplayRom(
            "matrix_weights", self.schedule.word_bits[ROLES.index("matrix_weights")], words, registers, relays,
            rom=loaded or streamed, jumps="next_weights" in feeder.table, begins=loaded is None)
        ahead = TileBuffer.latency(config.pipelined) - ReplayRom.latency(registers, relays) - registers
        move = {name: delay(m, getattr(feeder, name), ahead, name=name)
                for name in ("advance", "rewind", "commit", "restart")}
        if loaded is not None:
            # Weights are written front to back as well; then reading begins at the first one.
            begins = self.run & ~delay(m, self.run, 1, name="running")
            move["advance"] |= loaded.advance | begins
            move["restart"] |= self.load_tfirst | begins
        if matrix.jumps:
            move["base"] = delay(m, feeder.next_weights, ahead, name="next_weights")
        m.d.comb += [getattr(matrix, name).eq(value) for name, value in move.items()]
        return matrix

    def _drain(self, m: Module, array: SystolicArray, streamer: OutputStreamer, memories: list, streamed,
               tables) -> Drain:
        """The drain, which writes ``memories``."""
        schedule = self.schedule
        drain = m.submodules[Drain.NAME()] = Drain(
            self.config, self.widths, schedule.matrix_format, rom_contents.matrix_parameters(schedule),
            parameter_table=parameter_descriptors(schedule), table=drain_descriptors(schedule),
            elementwise=schedule.elementwise_format, rom=streamed, tables=tables)
        m.d.comb += [drain.captured.eq(array.captured), streamer.done.eq(drain.done)]
        if self.config.columns_abreast > 1:
            m.d.comb += drain.ending.eq(array.ending)
        for column in range(self.config.columns):
            m.d.comb += drain.bottom[column].eq(array.bottom[column])
        enables = [*drain.enable]
        if self.config.written_words > 1:
            enables[-1] = drain.output_enable
        for number, (memory, enable) in enumerate(zip(memories, enables, strict=True)):
            address, data = ((drain.own_address[number], drain.own_data[number]) if drain.own else
                             (drain.address, drain.data))
            m.d.comb += [memory.write_address.eq(address), memory.write_data.eq(data), memory.write_enable.eq(enable)]
        return drain

    def _show_written(self, m: Module, tile: TileBuffer, drain: Drain, entry: _Entry):
        depthwise, matrix = self.written.depthwise, self.written.matrix
        m.d.comb += [
            depthwise.valid.eq(entry.reduced), depthwise.block.eq(entry.number),
            depthwise.data.eq(tile.data[:8 * self.config.lanes]),
            matrix.valid.eq(drain.written.any()), matrix.block.eq(drain.number), matrix.data.eq(drain.data),
        ]

    def _tap(self, m: Module, sequencer: Sequencer, tile: TileBuffer, feeder: Feeder, drain: Drain, entry: _Entry):
        """The tap is empty in synthesis; in simulation it writes down what happens at which cycle."""
        def wide(number):
            return Cat(number, C(0, 16))[:16]

        lanes = tile.data[:8 * self.config.lanes]
        m.submodules.tap = Instance(
            "tepal_tap", p_LANES=self.config.written_bytes, p_PARTS=len(drain.written),
            i_clk=ClockSignal(), i_rst=ResetSignal(),
            i_accepted=self.s_axis_tvalid & self.s_axis_tready, i_accepted_last=self.s_axis_tlast,
            i_offered=self.m_axis_tvalid, i_sent=self.m_axis_tvalid & self.m_axis_tready,
            i_sent_last=self.m_axis_tlast, i_sent_data=self.m_axis_tdata,
            i_step_begins=sequencer.block_start, i_step_block=wide(sequencer.number),
            i_feed_begins=feeder.begins, i_feed_block=wide(feeder.number),
            i_tile_write=entry.reduced, i_tile_end=feeder.tile_end,
            i_tile_block=wide(entry.number), i_tile_data=Cat(lanes, C(0, len(drain.data) - len(lanes))),
            i_drain_write=drain.written, i_drain_end=drain.end, i_drain_block=wide(drain.number),
            i_drain_data=drain.data)


def _split(packed: Value, *widths: int) -> list:
    """The fields of ``packed``, which lie one after the other."""
    starts = accumulate(widths, initial=0)
    return [packed[start:start + width] for start, width in zip(starts, widths, strict=False)]

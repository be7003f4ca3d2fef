"""The accelerator: a whole network, frame after frame, on one engine."""

from math import prod

from amaranth import *
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from tepal.hdl.memories.block import Ram, ReplayRom, Rom

from .memories.single_port import LoadedRom, RegionRam
from .plan import rom_contents as images
from .plan.descriptors import (
    address_bits,
    column_bits,
    drain_descriptors,
    feeder_descriptors,
    parameter_descriptors,
    sequencer_places,
    sequencer_times,
    target_bits,
    value_bits,
)
from .plan.schedule import Schedule
from .plan.tiling import reduced_cycles
from .primitives import VerilogExport, bits_for, delay, delay_events
from .units.depthwise import DepthwiseEngine
from .units.drain import Drain, LaneParameters
from .units.feeder import Feeder
from .units.ports import FRAME, InputLoader, OutputStreamer
from .units.requantiser import Requantiser
from .units.sequencer import Sequencer
from .units.serial_requantiser import ParameterRom, SerialFormat, SerialRequantiser
from .units.systolic import SystolicArray
from .units.tile_buffer import TileBuffer
from .units.window import WindowGenerator

__all__ = ["LOAD", "Accelerator", "written_layout"]

LOAD = {"load_tdata": In(16), "load_tvalid": In(1), "load_tfirst": In(1), "run": In(1)}
"""Further members of an :class:`Accelerator` with ``config.single_port``."""


def written_layout(lanes: int) -> data.StructLayout:
    """A word of each stage: whether it is written, by which block, and its bytes."""
    word = data.StructLayout({"valid": 1, "block": 16, "data": 8 * lanes})
    return data.StructLayout({"depthwise": word, "matrix": word})


def _fields(*widths: int):
    """(start, width) of fields packed one after the other."""
    start = 0
    for width in widths:
        yield start, width
        start += width


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
    Results are int8 in the same order, a byte a beat, then a :class:`~tepal.hdl.units.ports.Trailer`: the index of the
    largest (two bytes, low first), the frame's number and its status; ``m_axis_tlast`` marks the last.  The next image
    is taken while this one is computed.

    Parameters
    ----------
    schedule
        The network on an engine.
    debug
        Let the member ``written`` be.
    closes
        After a reset within an answer, end it (:class:`~tepal.hdl.units.ports.OutputStreamer`).

    Members
    -------
    s_axis_tdata, s_axis_tvalid, s_axis_tready, s_axis_tlast
        AXI4-Stream sink (:class:`~tepal.hdl.units.ports.InputLoader` says what ``tlast`` does).
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
    """

    def __init__(self, schedule: Schedule, *, debug: bool = False, closes: bool = True):
        self.schedule, self.debug, self.closes = schedule, debug, closes
        super().__init__(({"written": Out(written_layout(schedule.config.lanes))} if debug else {}) | {
            "s_axis_tdata": In(8 * schedule.config.input_bytes), "s_axis_tvalid": In(1), "s_axis_tready": Out(1),
            "s_axis_tlast": In(1),
            "m_axis_tdata": Out(8), "m_axis_tvalid": Out(1), "m_axis_tready": In(1), "m_axis_tlast": Out(1),
            "frame_error": Out(1),
            **(LOAD if schedule.config.single_port else {}),
        })

    def _requantise_lanes(self, m: Module, sequencer, engine, fmt, at_sum: int) -> list:
        """Results of every lane's own requantiser."""
        schedule, lanes = self.schedule, self.schedule.config.lanes
        parameters = m.submodules.depthwise_parameters = LaneParameters(
            fmt, lanes, schedule.parameter_words, images.depthwise_parameters(schedule))
        ahead = at_sum - LaneParameters.ACTIVE
        replay = delay(m, Cat(sequencer.rewind, sequencer.commit, sequencer.restart), ahead, name="group_replay")
        m.d.comb += [parameters.take.eq(delay(m, sequencer.group_start, ahead, name="group_start")),
                     Cat(parameters.rewind, parameters.commit, parameters.restart).eq(replay)]
        results = []
        for lane in range(lanes):
            m.submodules[f"depthwise_requantiser_{lane}"] = unit = Requantiser(fmt)
            m.d.comb += [unit.acc.eq(engine.acc[lane]), unit.parameters.eq(parameters.active[lane])]
            results.append(unit.result)
        return results

    def _requantise_in_turn(self, m: Module, sequencer, engine, fmt: SerialFormat) -> list:
        """Results of a requantiser that serves one lane after the other; those of a pixel stand beside each other."""
        schedule, lanes = self.schedule, self.schedule.config.lanes
        m.submodules.depthwise_requantiser = unit = SerialRequantiser(fmt)
        rom = m.submodules.depthwise_parameters = ParameterRom("depthwise_parameters", fmt.width,
                                                               images.depthwise_parameters(schedule))
        summed, replay = delay_events(
            m, sequencer.valid & sequencer.reduce & sequencer.last,
            Cat(sequencer.group_end, sequencer.rewind, sequencer.commit, sequencer.restart),
            schedule.latency.sum, reduced_cycles(schedule.config), name="summed")
        flags = Signal.like(replay, name="replay", reset_less=True)
        starts, waiting = [summed], [engine.acc[0]]
        for lane in range(1, lanes):
            starts.append(delay(m, starts[-1], fmt.cycles, name=f"start_{lane}"))
            held = Signal.like(engine.acc[lane], name=f"waiting_{lane}", reset_less=True)
            with m.If(summed):
                m.d.sync += held.eq(engine.acc[lane])
            waiting.append(held)
        with m.If(summed):
            m.d.sync += flags.eq(replay)
        m.d.comb += [unit.start.eq(Cat(starts).any()), unit.parameters.eq(rom.data), unit.acc.eq(waiting[0])]
        for start, acc in zip(starts[1:], waiting[1:], strict=True):
            with m.If(start):
                m.d.comb += unit.acc.eq(acc)
        # Parameters: the group's lanes, again for every pixel, then the next group's.
        last = Signal()
        with m.If(unit.start):
            m.d.sync += last.eq(starts[-1])
        group_end, rewind, commit, restart = flags
        m.d.comb += [rom.advance.eq(unit.advance), rom.repeat.eq(last & (group_end == 0)),
                     *(getattr(rom, name).eq(last & group_end & flag) for name, flag in (
                         ("rewind", rewind), ("commit", commit), ("restart", restart))),
                     rom.onward.eq(last & group_end)]
        # The results of the lanes before the last one, moving up.
        results = [unit.result]
        for lane in reversed(range(lanes - 1)):
            result = Signal(signed(8), name=f"result_{lane}", reset_less=True)
            with m.If(unit.done):
                m.d.sync += result.eq(results[0])
            results.insert(0, result)
        return results

    def elaborate(self, platform):
        m = Module()
        schedule, config = self.schedule, self.schedule.config
        lanes, word = config.lanes, 8 * config.lanes
        columns, registers = config.window[1], int(config.pipelined)
        wide, across = address_bits(schedule), column_bits(schedule)

        # Memories.
        layout = schedule.layout
        loader = m.submodules.loader = InputLoader(layout, config.input_bytes)
        input_memory = m.submodules.input_memory = Ram(8 * layout.word_bytes, layout.depth, registers=registers)
        if config.single_port:
            banks = [RegionRam(word, schedule.bank_depth, schedule.region_base, 8 * config.requantisers, registers)
                     for _ in range(config.taps)]
        else:
            banks = [Ram(word, schedule.bank_depth, 8 * config.requantisers, registers) for _ in range(config.taps)]
        for i, bank in enumerate(banks):
            m.submodules[f"activations_{i // columns}_{i % columns}"] = bank
        streamer = m.submodules.streamer = OutputStreamer(schedule.output_map.shape, lanes, closes=self.closes)
        output_memory = m.submodules.output_memory = Ram(word, streamer.depth, 8 * config.requantisers)
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

        # Stage 1: windows, reduced or copied.
        weight_words = images.depthwise_weights(schedule)
        sequencer = m.submodules.sequencer = Sequencer(
            sequencer_times(schedule), sequencer_places(schedule), config.window, value_bits(schedule), wide, across,
            config.rows, schedule.tile_words, len(weight_words), config.pipelined)
        window = m.submodules.window = WindowGenerator(config.window, lanes, value_bits(schedule),
                                                       bits_for(schedule.bank_depth), across,
                                                       bits_for(layout.depth), layout.word_bytes,
                                                       config.tile_lanes, config.pipelined, layout.parts)
        # The loader may have another frame already when this one's results are claimed.
        working = Signal(FRAME, reset_less=True)
        with m.If(sequencer.input_claim):
            m.d.sync += working.eq(loader.frame)
        m.d.comb += [
            sequencer.input_full.eq(loader.full & self.run if config.single_port else loader.full),
            sequencer.output_free.eq(streamer.free),
            streamer.claim.eq(sequencer.output_claim), streamer.frame.eq(working),
            # The last words are still being read when the last step is made.
            loader.release.eq(delay(m, sequencer.input_release, schedule.latency.window, name="release")),
            *(getattr(window, name).eq(getattr(sequencer, name))
              for name in ("y", "x", "group", "from_input", "pitch", "step", "height", "width", "zero_point")),
            input_memory.read_address.eq(window.input_address), window.input_data.eq(input_memory.read_data),
        ]
        for i, bank in enumerate(banks):
            m.d.comb += [bank.read_address.eq(window.bank_address[i]), window.bank_data[i].eq(bank.read_data)]

        at_window = schedule.latency.window
        engine = m.submodules.depthwise = DepthwiseEngine(lanes, config.taps, schedule.depthwise_accumulator)
        weights = m.submodules.depthwise_weights = Rom("depthwise_weights", word * config.taps, weight_words,
                                                       registers)
        m.d.comb += weights.address.eq(delay(m, sequencer.weight, at_window - 1 - 2 * registers, name="weight"))
        weights_now = delay(m, weights.data, registers, name="weights")
        m.d.comb += engine.first.eq(delay(m, sequencer.first, at_window, name="chunk_first"))
        for tap in range(config.taps):
            m.d.comb += [engine.windows[tap].eq(window.taps[tap]),
                         engine.weights[tap].eq(Cat(weights_now.word_select(lane * config.taps + tap, 8)
                                                    for lane in range(lanes)))]
        at_sum = schedule.latency.sum
        if isinstance(schedule.depthwise_format, SerialFormat):
            reduced = self._requantise_in_turn(m, sequencer, engine, schedule.depthwise_format)
        else:
            reduced = self._requantise_lanes(m, sequencer, engine, schedule.depthwise_format, at_sum)

        # Both ways into the tile buffer; the schedule keeps them from meeting.
        tile = m.submodules.tile_buffer = TileBuffer(config.tile_lanes, schedule.tile_row_words, config.together,
                                                     config.pipelined)
        feeder = m.submodules.feeder = Feeder(feeder_descriptors(schedule), config.tile_lanes, schedule.tile_words)
        place = Cat(sequencer.part, sequencer.word, sequencer.pixel, sequencer.number, sequencer.tile_end)
        entry = TileBuffer.entry(config.pipelined)
        at_copy, at_result = schedule.latency.window, schedule.latency.reduce - entry
        copied = delay(m, sequencer.valid & ~sequencer.reduce, at_copy, name="copied")
        spacing = min([prod(b.chunks) for b in schedule.passes if b.reduces], default=1)
        reduced_now, reduced_place = delay_events(m, sequencer.valid & sequencer.reduce & sequencer.last, place,
                                                  at_result, spacing, name="reduced")
        place = Mux(reduced_now, reduced_place, delay(m, place, at_copy, name="copied_place"))
        near = entry // 2
        entering = Mux(delay(m, reduced_now, near, name="reduced_near"),
                       delay(m, Cat(reduced), near, name="reduced_word"),
                       delay(m, window.copied, near, name="copied_word"))
        writes = delay(m, copied | reduced_now, entry, name="entering")
        reduced_now = delay(m, reduced_now, entry, name="reduced_entering")
        place = delay(m, place, entry, name="place")
        part, word_of_tile, pixel, number, tile_end = (
            place[start:start + width] for start, width in _fields(
                len(sequencer.part), len(sequencer.word), len(sequencer.pixel), len(sequencer.number), 1))
        m.d.comb += [
            tile.write.eq(writes), tile.write_part.eq(part), tile.write_word.eq(word_of_tile),
            tile.pixel.eq(pixel), tile.data.eq(delay(m, entering, entry - near, name="word")),
            feeder.tile_end.eq(tile.write & tile_end),
            *(getattr(tile, name).eq(getattr(feeder, name)) for name in ("part", "word", "lane", "first", "last")),
        ]

        # Stage 2: the array.
        array = m.submodules.array = SystolicArray(config.rows, config.columns, config.drain_step,
                                                   schedule.matrix_accumulator, config.spread, config.packing,
                                                   config.pipelined)
        matrix_words, loaded = images.matrix_weights(schedule), None
        if config.single_port:
            loaded = LoadedRom(8 * config.columns, len(matrix_words), registers)
            m.d.comb += [loaded.load.eq(self.load_tvalid), loaded.load_first.eq(self.load_tfirst),
                         loaded.load_data.eq(self.load_tdata)]
        relays = registers if loaded is None else 0
        matrix = m.submodules.matrix_weights = ReplayRom("matrix_weights", 8 * config.columns, matrix_words,
                                                         registers, relays, rom=loaded)
        # The word is needed when the tile buffer's bytes are there; a register of the array's takes it from the ROM.
        ahead = TileBuffer.latency(config.pipelined) - ReplayRom.latency(registers, relays) - registers
        move = {name: delay(m, getattr(feeder, name), ahead, name=name)
                for name in ("advance", "rewind", "commit", "restart")}
        if loaded is not None:
            # Written front to back, too; then from the beginning.
            begins = self.run & ~delay(m, self.run, 1, name="running")
            move["advance"] |= loaded.advance | begins
            move["restart"] |= self.load_tfirst | begins
        m.d.comb += [getattr(matrix, name).eq(value) for name, value in move.items()]
        for row in range(config.rows):
            m.d.comb += [array.x[row].eq(tile.x[row]), array.first[row].eq(tile.first_out[row]),
                         array.last[row].eq(tile.last_out[row])]
        matrix_word = delay(m, matrix.data, registers, name="matrix_word")
        for column in range(config.columns):
            m.d.comb += array.w[column].eq(matrix_word.word_select(column, 8))

        # Stage 3: the drain.
        drain = m.submodules.drain = Drain(
            parameter_descriptors(schedule), drain_descriptors(schedule), schedule.matrix_format,
            images.matrix_parameters(schedule), config.columns, config.requantisers, lanes, config.window,
            target_bits(schedule), across, config.pipelined)
        m.d.comb += [drain.captured.eq(array.captured), streamer.done.eq(drain.done)]
        for column in range(config.columns):
            m.d.comb += drain.bottom[column].eq(array.bottom[column])
        for memory, enable in zip([*banks, output_memory], drain.enable, strict=True):
            m.d.comb += [memory.write_address.eq(drain.address), memory.write_data.eq(drain.data),
                         memory.write_enable.eq(enable)]

        def wide_number(number):
            return Cat(number, C(0, 16))[:16]

        if self.debug:
            depthwise, matrix = self.written.depthwise, self.written.matrix
            m.d.comb += [
                depthwise.valid.eq(reduced_now), depthwise.block.eq(number), depthwise.data.eq(tile.data),
                matrix.valid.eq(drain.written.any()), matrix.block.eq(drain.number), matrix.data.eq(drain.data),
            ]
        if isinstance(platform, VerilogExport):
            # The tap is empty in synthesis; in simulation it writes down what happens at which cycle.
            m.submodules.tap = Instance(
                "tepal_tap", p_LANES=lanes, p_PARTS=len(drain.written),
                i_clk=ClockSignal(), i_rst=ResetSignal(),
                i_accepted=self.s_axis_tvalid & self.s_axis_tready, i_accepted_last=self.s_axis_tlast,
                i_offered=self.m_axis_tvalid, i_sent=self.m_axis_tvalid & self.m_axis_tready,
                i_sent_last=self.m_axis_tlast, i_sent_data=self.m_axis_tdata,
                i_step_begins=sequencer.block_start, i_step_block=wide_number(sequencer.number),
                i_feed_begins=feeder.begins, i_feed_block=wide_number(feeder.number),
                i_tile_write=reduced_now, i_tile_end=feeder.tile_end,
                i_tile_block=wide_number(number), i_tile_data=tile.data[:word],
                i_drain_write=drain.written, i_drain_end=drain.end, i_drain_block=wide_number(drain.number),
                i_drain_data=drain.data)
        return m

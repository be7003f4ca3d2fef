# SPDX-License-Identifier: Apache-2.0
"""A folder with everything that others need to use an accelerator: Verilog, ROMs, FuseSoC core, description."""

import json
from importlib import metadata
from itertools import accumulate
from math import prod

from tepal.boards.board import Board
from tepal.hdl import TOP, Schedule, export_verilog
from tepal.hdl.answer import Status, Trailer
from tepal.hdl.memories.axi_reader import AxiReader, axi_ports
from tepal.hdl.memories.image_check import WeightError
from tepal.hdl.plan.rom_contents import loaded_weights
from tepal.hdl.streamed import image_of
from tepal.quant import Network, Preprocessing
from tepal.sim import CycleModel

from . import yosys

__all__ = ["WEIGHTS", "describe", "generate"]

WEIGHTS = "weights.bin"
"""File of the weights that an engine loads or reads, behind the design's name and an underscore."""

_ARCHITECTURES = {"LFE5U": "ecp5", "iCE40": "ice40"}
"""What yosys calls the families of parts."""


def describe(schedule: Schedule, board: Board, versions: dict[str, str], name: str, roms: list[str]) -> dict:
    """The JSON sidecar: names, ports, shapes, quantisation, cycles, versions.

    ``name`` is the top module's, ``roms`` are the names of the ``.hex`` files."""
    network, config, model = schedule.network, schedule.config, CycleModel(schedule)
    beats = schedule.layout.shape[0] * schedule.layout.shape[1] * schedule.layout.shape[2] // config.input_bytes
    return {
        "name": network.name,
        "board": board.name,
        "top": name,
        "roms": roms,
        "parameters": {
            "ROM_DIR": {"default": "", "about": "folder in which $readmemh looks for the files in roms; without one, "
                                                "they must be where the tool runs that reads the Verilog"}},
        "versions": versions,
        "engine": config.told() | {"multipliers": config.multipliers, "products": config.products},
        "ports": {
            "clk": {"direction": "in", "width": 1},
            "rst": {"direction": "in", "width": 1, "active": "high", "synchronous": True},
            "s_axis": {"protocol": "AXI4-Stream", "role": "sink", "tdata_width": 8 * config.input_bytes,
                       "signals": [f"s_axis_{name}" for name in ("tdata", "tvalid", "tready", "tlast")],
                       "byte_order": "first byte lowest", "beats_per_frame": beats},
            "m_axis": {"protocol": "AXI4-Stream", "role": "source", "tdata_width": 8,
                       "signals": [f"m_axis_{name}" for name in ("tdata", "tvalid", "tready", "tlast")],
                       "beats_per_frame": network.result_bytes + Trailer.BYTES},
            "frame_error": {"direction": "out", "width": 1,
                            "about": "since reset a frame was too long, too short or abandoned"},
            **({"load": {"signals": {"load_tdata": 16, "load_tvalid": 1, "load_tfirst": 1, "run": 1},
                         "file": f"{name}_{WEIGHTS}",
                         "words": len(loaded_weights(schedule)) // 2,
                         "about": "the file, 16 bits at a time, low byte first: in load_tdata beside load_tvalid and "
                                  "in the cycle behind, in which load_tvalid is low, load_tfirst beside the first; "
                                  "then run, before which no frame begins"}}
               if config.single_port else {}),
            **(_memory(schedule, f"{name}_{WEIGHTS}") if schedule.loads else {}),
        },
        "input": {"shape": list(network.input_shape), "dtype": "int8", "order": "HWC",
                  "scale": network.input_scale, "zero_point": network.input_zero_point,
                  "preprocessing": _preprocessing(network)},
        "output": {"shape": list(network.output_shape), "dtype": "int8", "order": "HWC", "scale": network.output_scale,
                   "zero_point": network.output_zero_point,
                   "trailer": [
                       {"name": "argmax", "bytes": 2, "byte_order": "low first", "about": "index of the largest value"},
                       {"name": "number", "bytes": 1,
                        "about": "of the frame among all that were begun since reset, those that were abandoned "
                                 "included, modulo 256"},
                       {"name": "status", "bytes": 1,
                        "bits": {flag.name.lower(): flag.bit_length() - 1 for flag in Status if flag.name},
                        "about": "too_long: this frame was, and its surplus was dropped; abandoned: another one "
                                 "between the frame answered before and this one was; cut_off: a reset came within "
                                 "this packet, which is no answer and ends with this byte"}]},
        **({"outputs": _outputs(network), "answers": _answers(network)} if len(network.output_layers) > 1 else {}),
        "softmax": network.softmax is not None,
        "cycles": {"cycles": model.cycles, "in_memory_cycles": model.in_memory_cycles,
                   "last_byte_cycles": model.last_byte_cycles, "interval_cycles": model.interval_cycles,
                   "about": "cycles: first input beat to last output beat; last_byte_cycles: last input beat to first "
                            "output beat, with the image streaming in; in_memory_cycles: the same with all of the "
                            "image in the input memory when it begins; interval_cycles: from frame to frame; start and "
                            "end of a layer count from the frame's first step"},
        "layers": [{"index": network.layers[layer.layer].index, "name": network.layers[layer.layer].name,
                    "block": layer.pass_number, "start": layer.start, "end": layer.end, "macs": layer.macs}
                   for layer in model.layers()],
        "memories": [{"role": use.role, "count": use.count, "depth": use.depth, "width": use.width}
                     for use in schedule.memories],
    }


def _memory(schedule: Schedule, file: str) -> dict:
    """Ports to an external memory of weights."""
    image, bits = image_of(schedule), AxiReader.ADDRESS_BITS
    return {
        "m_axi": {"protocol": "AXI4", "role": "master, reads only", "signals": [*axi_ports(bits)], "data_width": 64,
                  "address_width": bits,
                  "burst": "INCR, up to 16 beats, none across a multiple of 128 bytes",
                  "outstanding": AxiReader.BURSTS, "file": file, "bytes": len(image.data),
                  "bytes_per_frame": len(image.frame)},
        "weights_base": {"direction": "in", "width": bits,
                         "about": "address of the file's first byte, a multiple of 128"},
        "weights_start": {"direction": "in", "width": 1, "about": "the file is in the memory: it is read and checked "
                                                                  "once, and no frame begins before"},
        "weights_error": {"direction": "out", "width": 2,
                          "values": {error.name.lower(): error.value for error in WeightError},
                          "about": "what is wrong with the weights: no frame is answered then, until a reset"},
    }


def _outputs(network: Network) -> list[dict]:
    """The network's outputs in the order in which they are sent."""
    begins = accumulate(map(prod, network.output_shapes), initial=0)
    return [{"name": layer.name, "first_byte": begin, "shape": list(layer.output_shape), "dtype": "int8",
             "order": "HWC", "scale": layer.output_scale, "zero_point": layer.output_zero_point}
            for layer, begin in zip((network.layers[number] for number in network.output_layers), begins, strict=False)]


def _answers(network: Network) -> list[dict]:
    """What the host makes of them: the model file's outputs, in its order."""
    return [{"name": answer.name, "outputs": list(answer.parts), "shape": list(answer.shape),
             "then": [closing.title for closing in answer.closings]} for answer in network.all_answers]


def _preprocessing(network: Network) -> dict | None:
    """What pixels mean to the network; None where nothing says it and its input is of no usual range."""
    known = network.preprocessing
    usual = Preprocessing.of_input(network.input_scale, network.input_zero_point, network.input_shape[2])
    if not (pixels := known or usual):
        return None
    return {**pixels.lists(), "from": "model" if known else "scale and zero point",
            "about": "of a pixel 0 to 255: real = (low + pixel * (high - low) / 255 - mean) / std for each channel, in "
                     "the order of layout; int8 = real / scale + zero_point, rounded and limited to -128 to 127"}


def _core(name: str, board: Board, roms: list[str]) -> str:
    """A FuseSoC core description (CAPI 2)."""
    lines = ["CAPI=2:", f"name: tepal:accelerator:{name}:1.0.0",
             "description: Neural network accelerator with AXI4-Stream ports, generated by Tepal",
             "filesets:", "  rtl:", "    files:", f"      - {name}.v: {{file_type: verilogSource}}",
             f"      - {name}.vlt: {{file_type: vlt}}",
             *(f"      - {rom}: {{file_type: user, copyto: {rom}}}" for rom in roms),
             "targets:", "  default: &default", "    filesets: [rtl]", f"    toplevel: {name}",
             "  lint:", "    <<: *default", "    flow: lint", "    flow_options: {tool: verilator}"]
    part = board.part.name
    for family, architecture in _ARCHITECTURES.items():
        if part.startswith(family):
            lines += ["  synth:", "    <<: *default", "    flow: generic",
                      f"    flow_options: {{tool: yosys, arch: {architecture}, output_format: json}}"]
    return "\n".join(lines) + "\n"


def generate(schedule: Schedule, board: Board, name: str = TOP) -> dict[str, str | bytes]:
    """File name to text, or to the bytes of weights that are to be loaded. The same schedule gives the same bytes.

    All files and modules are called ``name``, or that, an underscore and a word.

    Raises
    ------
    ConfigError
        ``name`` is none for a module.
    ToolError
        yosys is missing or fails.
    """
    export = export_verilog(schedule, yosys.to_verilog, name)
    files: dict[str, str | bytes] = dict(export.files())
    roms = sorted(export.roms)
    files[f"{name}.core"] = _core(name, board, roms)
    if schedule.config.single_port:
        files[f"{name}_{WEIGHTS}"] = loaded_weights(schedule)
    if schedule.loads:
        files[f"{name}_{WEIGHTS}"] = image_of(schedule).data
    versions = {tool: metadata.version(tool) for tool in ("tepal", "amaranth")} | {"yosys": yosys.version()}
    files[f"{name}.json"] = json.dumps(describe(schedule, board, versions, name, roms), indent=2) + "\n"
    return files

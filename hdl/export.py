# SPDX-License-Identifier: Apache-2.0
"""Verilog of an accelerator: one file, and one ``.hex`` file per ROM.

All that a design brings with it, modules and files, is called by the design's name, so that several go into one.  The
hardware knows nothing of it: there, modules are ``tepal`` and what begins with it, and here they get their names."""

import re
from importlib import resources

from amaranth.back import rtlil
from amaranth.lib import wiring
from tepal.hdl.plan.schedule import Schedule

from .names import require_name
from .primitives import VerilogExport
from .streamed import top_of

__all__ = ["PRIMITIVES", "TOP", "Export", "export_component", "export_verilog", "merge_equal_modules", "source"]

TOP = "tepal"
"""What a design is called that nobody puts beside another."""

PRIMITIVES = "primitives.v"
"""Verilog of the memories, which the accelerator's modules are instances of."""


def source(name: str) -> str:
    """Text of a file beside this one."""
    return resources.files("tepal.hdl").joinpath(name).read_text(encoding="utf-8")


class Export:
    """What :func:`export_verilog` makes: ``name``, of the top module; ``verilog``, the text without the memories' and
    the tap's modules; ``roms``, file name to (width in bits, words)."""

    def __init__(self, name: str, verilog: str, roms: dict[str, tuple[int, list[int]]]):
        self.name, self.verilog, self.roms = name, verilog, roms

    def files(self) -> dict[str, str]:
        """File name to text, everything that a simulator or synthesis tool needs."""
        taps = ["tap.v"] + ["weight_tap.v"] * (f"{self.name}_weight_tap" in self.verilog)
        own = (source(name).replace(f"{TOP}_", f"{self.name}_") for name in (PRIMITIVES, *taps))
        files = {f"{self.name}.v": "\n".join([self.verilog.strip() + "\n", *own]),
                 f"{self.name}.vlt": _waivers(self.name)}
        for name, (width, words) in sorted(self.roms.items()):
            digits = -(-width // 4)
            files[name] = "".join(f"{word:0{digits}x}\n" for word in words)
        return files


def merge_equal_modules(text: str) -> str:
    """RTLIL with each set of equal modules made one.

    Amaranth writes a module per instance; an array of a hundred elements is better read as a hundred
    instances of one.  Instances are renamed bottom-up until nothing changes."""
    text = _number_ports(text)
    while True:
        seen: dict[str, str] = {}
        same: dict[str, str] = {}
        kept = []
        for match in _MODULE.finditer(text):
            name = match[1]
            body = match[0].replace(f"module {name}\n", "module\n", 1)
            if body in seen and name != f"\\\\{TOP}":
                same[name] = seen[body]
            else:
                seen[body] = name
                kept.append(match[0])
        if not same:
            return text
        text = re.sub(r"^(  cell )(\S+)( )", lambda m, same=same: m[1] + same.get(m[2], m[2]) + m[3], "".join(kept),
                      flags=re.M)


_MODULE = re.compile(r"^(?:attribute [^\n]*\n)*module (\S+)\n.*?^end\n", re.M | re.S)
_CELL = re.compile(r"^  cell (\S+) .*?^  end\n", re.M | re.S)
_PORT = re.compile(r"\\port\$\d+\$\d+")


def _number_ports(text: str) -> str:
    """RTLIL with each module's ports that have no name numbered from zero.

    Amaranth counts them throughout the design, where a part of a signal crosses a module's border."""
    ports = {}
    for match in _MODULE.finditer(text):
        names = re.findall(r"^  wire [^\n]*put \d+ [^\n]*?(\\port\$\d+\$\d+)$", match[0], re.M)
        ports[match[1]] = {name: f"\\port${number}" for number, name in enumerate(names)}

    def renamed(part: str, names: dict[str, str]) -> str:
        return _PORT.sub(lambda m: names.get(m[0], m[0]), part)

    def module(match: re.Match) -> str:
        own, parts, end = ports[match[1]], [], 0
        for cell in _CELL.finditer(match[0]):
            # Names on the left are the other module's, those on the right this one's.
            inner = ports.get(cell[1], {})
            parts += [renamed(match[0][end:cell.start()], own),
                      re.sub(r"^(    connect \S+)([^\n]*)$",
                             lambda m, inner=inner: renamed(m[1], inner) + renamed(m[2], own), cell[0], flags=re.M)]
            end = cell.end()
        return "".join([*parts, renamed(match[0][end:], own)])

    return _MODULE.sub(module, text)


def _named(text: str, name: str) -> str:
    """RTLIL whose modules and ROM files are called ``name`` and what it gives them, without the dots that Verilog would
    have to escape."""
    text = re.sub(rf"^(module |  cell )\\{TOP}([._]\S+|)(?=[ \n])",
                  lambda m: f"{m[1]}\\{name}{m[2].replace('.', '_')}", text, flags=re.M)
    return re.sub(r'^(    parameter \\FILE ")', rf"\g<1>{name}_", text, flags=re.M)


def _hand_down_folder(text: str) -> str:
    """RTLIL in which every cell that is a ROM or has one inside is given the parameter ``ROM_DIR``.

    RTLIL knows no parameter of the module around a cell, so its value is a word in place of that:
    :func:`_declare_folder` puts the parameter there."""
    cells = {match[1]: set(_CELL.findall(match[0])) for match in _MODULE.finditer(text)}
    having = {f"\\{TOP}_rom"}
    while more := {module for module, inside in cells.items() if inside & having} - having:
        having |= more
    return re.sub(r"^  cell (\S+) [^\n]*\n",
                  lambda m: m[0] + '    parameter \\ROM_DIR "ROM_DIR"\n' * (m[1] in having), text, flags=re.M)


def _declare_folder(verilog: str, name: str) -> str:
    """Verilog whose modules have the parameter ``ROM_DIR`` that they hand down; ``name`` is the top module's."""
    def module(match: re.Match) -> str:
        body = match[3].replace('.ROM_DIR("ROM_DIR")', ".ROM_DIR(ROM_DIR)")
        # yosys looks for files as soon as it sees a module, before the one above has handed anything down.
        default = "" if match[2] == name else "?"
        return match[1] + f'  parameter ROM_DIR = "{default}";\n' * (body != match[3]) + body

    return re.sub(r"^(module ([^ (]*)[^;]*;\n)(.*?^endmodule$)", module, verilog, flags=re.M | re.S)


def _waivers(name: str) -> str:
    """Waivers for the file ``name``.v alone, in whatever folder: not for another whose name ends the same way."""
    text = re.sub(rf'^(.*-file ")({TOP}\.v"\n)', r"\g<0>\1*/\2", source("waivers.vlt"), flags=re.M)
    return text.replace(f"{TOP}.v", f"{name}.v")


def export_verilog(schedule: Schedule, to_verilog, name: str = TOP) -> Export:
    """Make the Verilog of ``schedule``'s accelerator, with the reader of its weights where they come from outside; see
    :func:`export_component`."""
    return export_component(top_of(schedule), to_verilog, name)


def export_component(component: wiring.Component, to_verilog, name: str = TOP) -> Export:
    """Make the Verilog of ``component``, an accelerator or something around one.

    Parameters
    ----------
    component
        Its ports become the top module's, which has a parameter ``ROM_DIR`` too: the folder of the ``.hex`` files, ""
        for where the tool runs that reads them.
    to_verilog
        Turns RTLIL text into Verilog text (:func:`tepal.boards.flow.yosys.to_verilog`).
    name
        Of the top module and file; every other module and file is called this, an underscore and a word.

    Raises
    ------
    ConfigError
        ``name`` is none for a module.
    """
    require_name(name)
    platform = VerilogExport()
    text = rtlil.convert(component, name=TOP, platform=platform, emit_src=False)
    text = _named(_hand_down_folder(merge_equal_modules(text)), name)
    return Export(name, _declare_folder(to_verilog(text), name),
                  {f"{name}_{file}": contents for file, contents in platform.roms.items()})

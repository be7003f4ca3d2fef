"""Verilog of an accelerator: one file, and one ``.hex`` file per ROM."""

import re
from importlib import resources

from amaranth.back import rtlil
from amaranth.lib import wiring

from .accelerator import Accelerator
from .primitives import VerilogExport
from .schedule import Schedule

__all__ = ["PRIMITIVES", "TOP", "Export", "export_component", "export_verilog", "merge_equal_modules", "source"]

TOP = "tepal"

PRIMITIVES = "primitives.v"
"""Verilog of the memories, which the accelerator's modules are instances of."""


def source(name: str) -> str:
    """Text of a file beside this one."""
    return resources.files("tepal.hdl").joinpath(name).read_text(encoding="utf-8")


class Export:
    """What :func:`export_verilog` makes: ``verilog``, the text without the memories' and the tap's modules; ``roms``,
    file name to (width in bits, words)."""

    def __init__(self, verilog: str, roms: dict[str, tuple[int, list[int]]]):
        self.verilog, self.roms = verilog, roms

    def files(self) -> dict[str, str]:
        """File name to text, everything that a simulator or synthesis tool needs."""
        files = {f"{TOP}.v": "\n".join([self.verilog.strip() + "\n", source(PRIMITIVES), source("tap.v")]),
                 f"{TOP}.vlt": source("waivers.vlt")}
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


def plain_module_names(text: str) -> str:
    """RTLIL with dots in module names made underscores, so that Verilog need not escape them."""
    return re.sub(r"^(module |  cell )(\\tepal\.\S+)", lambda m: m[1] + m[2].replace(".", "_"), text, flags=re.M)


def export_verilog(schedule: Schedule, to_verilog) -> Export:
    """Make the Verilog of ``schedule``'s accelerator; see :func:`export_component`."""
    return export_component(Accelerator(schedule), to_verilog)


def export_component(component: wiring.Component, to_verilog) -> Export:
    """Make the Verilog of ``component``, an accelerator or something around one.

    ``to_verilog`` turns RTLIL text into Verilog text (:func:`tepal.boards.yosys.to_verilog`)."""
    platform = VerilogExport()
    text = rtlil.convert(component, name=TOP, platform=platform, emit_src=False)
    return Export(to_verilog(plain_module_names(merge_equal_modules(text))), platform.roms)

"""What is done to an ECP5's netlist between synthesis and place and route.

yosys leaves the registers behind memories outside, though each block has one of its own that is faster by some
4 ns; and nextpnr, left alone, scatters a systolic array's multipliers, which it then can't move much."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tepal.hdl import EngineConfig

__all__ = ["MultiplierSites", "absorb_output_registers", "place_multipliers"]


@dataclass(frozen=True)
class MultiplierSites:
    """Where an ECP5 has its MULT18X18D: in rows at ``y``, four each behind every ``x``, in nextpnr's coordinates.

    Read off its placements of as many multipliers as there are."""

    y: Sequence[int]
    x: Sequence[int]

    def row(self, y: int) -> list[str]:
        """nextpnr's names of the places in a row, from left to right."""
        return [f"X{x + number}/Y{y}/MULT18_{number}" for x in self.x for number in (0, 1, 4, 5)]


def place_multipliers(module: dict, config: EngineConfig, sites: MultiplierSites) -> int:
    """Fix the multipliers of the systolic array where its operands have short ways: its columns from left to right,
    its rows over the part's rows of multipliers.  All else finds its place around them.

    ``module`` is a module of a netlist of yosys, and changed.  Returns how many were placed: none where the array
    does not fit in that way."""
    lines, columns = config.rows // config.packing, config.columns
    per_row = -(-lines // len(sites.y))
    rows = [sites.row(y) for y in sites.y]
    if per_row * columns > len(rows[0]):
        return 0
    placed = 0
    for name, cell in module["cells"].items():
        found = re.search(r"\.array\.multiplier_(\d+)\.", name)
        if found and cell["type"] == "MULT18X18D":
            line, column = divmod(int(found[1]), columns)
            place = column * per_row + line % per_row
            cell["attributes"]["BEL"] = rows[line // per_row][place * len(rows[0]) // (per_row * columns)]
            placed += 1
    return placed


_OUTPUTS = [f"DO{port}{bit}" for port in "AB" for bit in range(18)]


def absorb_output_registers(module: dict) -> int:
    """Take the registers behind memory blocks into them, where every bit that is read goes to a register alone.

    ``module`` is a module of a netlist of yosys, and changed.  Returns how many blocks have one now."""
    cells, readers = module["cells"], Counter()
    registers = {}
    for name, cell in cells.items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] == "input":
                readers.update(bits)
        if cell["type"] == "TRELLIS_FF" and _is_plain(cell):
            registers[cell["connections"]["DI"][0]] = name
    for port in module["ports"].values():
        readers.update(port["bits"])
    absorbed = 0
    for cell in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        connections = cell["connections"]
        outputs = {port: connections[port][0] for port in _OUTPUTS if readers[connections.get(port, ["x"])[0]]}
        # At full width, both halves of the outputs are the second port's.
        wide = int(cell["parameters"]["DATA_WIDTH_B"], 2) == 36
        if not outputs or not all(
                readers[bit] == 1 and bit in registers
                and cells[registers[bit]]["connections"]["CLK"] == connections["CLKB" if wide else f"CLK{port[2]}"]
                for port, bit in outputs.items()):
            continue
        for port, bit in outputs.items():
            connections[port] = cells.pop(registers[bit])["connections"]["Q"]
        connections |= {"OCEA": ["1"], "OCEB": ["1"]}
        # nextpnr knows the timing of blocks whose ports are alike in this.
        cell["parameters"] |= {"REGMODE_A": "OUTREG", "REGMODE_B": "OUTREG"}
        absorbed += 1
    return absorbed


def _is_plain(register: dict) -> bool:
    """Whether a register takes its input at each rising edge, and is never set or reset."""
    connections, parameters = register["connections"], register["parameters"]
    return (parameters["CEMUX"].strip() == "1" and connections["LSR"] == ["0"] and parameters["CLKMUX"] == "CLK"
            and parameters["REGSET"] == "RESET")

# SPDX-License-Identifier: Apache-2.0
"""What is done to an ECP5's netlist between synthesis and place and route.

yosys leaves the registers behind memories outside, though each block has one of its own that is faster by some
4 ns, and connects the carry out of every adder, for which nextpnr lengthens it; and nextpnr, left alone, scatters a
systolic array's multipliers and memories, which it then can't move much."""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tepal.hdl import EngineConfig
from tepal.hdl.accelerator import MemoryNames
from tepal.hdl.units.descriptor_table import DescriptorTable
from tepal.hdl.units.drain import Drain
from tepal.hdl.units.elementwise import ElementwiseUnit
from tepal.hdl.units.instance_name import pattern
from tepal.hdl.units.lane_requantisers import LaneRequantisers
from tepal.hdl.units.multiplier import DOT, MULTIPLIER
from tepal.hdl.units.systolic import SystolicArray
from tepal.hdl.units.tile_buffer import TileBuffer

__all__ = ["UNCONNECTED", "Sites", "absorb_output_registers", "drop_unread_carries", "place_memories",
           "place_multipliers"]


@dataclass(frozen=True)
class Sites:
    """Where an ECP5 has its MULT18X18D and DP16KD, in nextpnr's coordinates: the former in rows at
    ``multipliers``, the latter in rows at ``memories``, four of either behind every one of ``columns``.

    Read off nextpnr's placements of as many as there are."""

    multipliers: Sequence[int]
    memories: Sequence[int]
    columns: Sequence[int]

    def multiplier_row(self, y: int) -> list[str]:
        """nextpnr's names of the places of multipliers in a row, from left to right."""
        return [f"X{x + number}/Y{y}/MULT18_{number}" for x in self.columns for number in (0, 1, 4, 5)]

    def multiplier_places(self) -> dict[str, tuple[int, int]]:
        """(x, y) of each place of a multiplier, by nextpnr's name."""
        return {name: (int(name[1:name.index("/")]), y) for y in self.multipliers for name in self.multiplier_row(y)}

    def memory_places(self) -> dict[str, tuple[int, int]]:
        """(x, y) of each place of a memory block, by nextpnr's name."""
        return {f"X{x + 2 * number}/Y{y}/EBR{number}": (x + 2 * number, y)
                for y in self.memories for x in self.columns for number in range(4)}


_PIECE = re.compile(r"\.(?:beat|slice)_(\d+)\.")
"""Of a :class:`~tepal.hdl.memories.streamed.StreamedRom` or a
:class:`~tepal.hdl.memories.streamed.ScatteredRam`."""


def place_multipliers(module: dict, config: EngineConfig, sites: Sites) -> int:
    """Fix the multipliers of the systolic array where its operands have short ways: its columns from left to right,
    its rows over the part's rows of multipliers.  Those of requantisers take what is left: array's and lanes' from left
    to right too, as near as can be to the row where the sums leave the array.

    ``module`` is a module of a netlist of yosys, and changed.  Returns how many were placed: none where the array
    does not fit in that way."""
    # Of a line, and of its operands, each column has one.
    lines = config.rows // config.packing * config.operands
    order = [column for column in range(config.columns) if not config.in_logic(column)]
    columns = len(order)
    per_row = -(-lines // len(sites.multipliers))
    rows = [sites.multiplier_row(y) for y in sites.multipliers]
    if per_row * columns > len(rows[0]):
        return 0
    within = (DOT, MULTIPLIER) if config.operands > 1 else (MULTIPLIER,)
    placed, multiplier = 0, pattern(SystolicArray.NAME, *within)
    for name, cell in module["cells"].items():
        found = multiplier.search(name)
        if found and cell["type"] == "MULT18X18D":
            element, operand = int(found[1]), int(found[2]) if config.operands > 1 else 0
            line, column = divmod(element, config.columns)
            line, column = line * config.operands + operand, order.index(column)
            place = column * per_row + line % per_row
            cell["attributes"]["BEL"] = rows[line // per_row][place * len(rows[0]) // (per_row * columns)]
            placed += 1
    return placed + _place_requantisers(module, config, sites)


def _place_requantisers(module: dict, config: EngineConfig, sites: Sites) -> int:
    """Fix the multipliers of requantisers in what places the array leaves; how many were placed."""
    cells = {name: cell for name, cell in module["cells"].items() if cell["type"] == "MULT18X18D"}
    taken = {cell["attributes"].get("BEL") for cell in cells.values()}
    free = {name: place for name, place in sites.multiplier_places().items() if name not in taken}
    left, right, placed = sites.columns[0], sites.columns[-1] + 6, 0
    for names, count in (((Drain.NAME, Drain.REQUANTISER), config.requantisers),
                         ((LaneRequantisers.REQUANTISER,), config.lanes)):
        found = {int(match[1]): cell for name, cell in cells.items() if (match := pattern(*names).search(name))}
        for number in sorted(found)[:len(free)]:
            x = left + (right - left) * (2 * number + 1) / (2 * count)
            place = min(free, key=lambda place: abs(free[place][0] - x) + sites.multipliers[-1] - free[place][1])
            found[number]["attributes"]["BEL"] = place
            del free[place]
            placed += 1
    return placed


def place_memories(module: dict, config: EngineConfig, sites: Sites) -> int:
    """Fix the memory blocks of the engine: what belongs to a lane, or to the columns that make its results, in a strip
    from top to bottom; what comes before the array on its left.  All logic finds its place around them, and so do
    tables of descriptors, which are neither.

    ``module`` is a module of a netlist of yosys, and changed.  Returns how many were placed: no more than the part
    has, and what is left over is for nextpnr to complain of."""
    left, right = sites.columns[0], sites.columns[-1] + 6
    last, behind = sites.memories[-1], sites.memories[max(0, len(sites.memories) - 2)]
    per_row = -(-config.rows // len(sites.multipliers))
    wishes = {
        # A tile buffer's row begins a row of the array; memories lie 12 below multipliers.
        (TileBuffer.NAME, TileBuffer.BANK):
            lambda numbers, _: (left, sites.multipliers[int(numbers[0]) // per_row] + 12),
        # The rest is split by bits; weights come in at the top.
        (MemoryNames.MATRIX_WEIGHTS,): lambda _, across: (across, sites.memories[0]),
        (MemoryNames.BANK,): lambda _, across: (across, last),
        (MemoryNames.DEPTHWISE_WEIGHTS,): lambda _, across: (across, behind),
        (LaneRequantisers.PARAMETERS,): lambda _, across: (across, behind),
        # What comes from outside is far from its loader anyhow, so that lanes' tables may lie in their strips too.
        **({(Drain.NAME, ElementwiseUnit.NAME, ElementwiseUnit.TABLE):
            lambda numbers, _: (left + (right - left) * (2 * int(numbers[1]) + 1) / (2 * config.requantisers), behind),
            (Drain.NAME, ElementwiseUnit.NAME, ElementwiseUnit.SKIP): lambda _, across: (across, behind)}
           if config.weight_words is not None else {}),
        # What is not split by lanes or columns lies together: one word of it is read, or one address goes to all.
        (Drain.NAME,): lambda _, across: ((left + right) / 2, behind),
        (MemoryNames.INPUT,):
            lambda _, across: (left + (right - left) / 3, sites.memories[len(sites.memories) // 3]),
    }
    free = sites.memory_places()
    blocks = [name for name, cell in module["cells"].items()
              if cell["type"] == "DP16KD" and f"{DescriptorTable.SUFFIX}." not in name]
    placed = 0
    for instances, wish in wishes.items():
        memories = defaultdict(list)
        for name in blocks:
            # The first wish that is a block's own holds.
            if "BEL" not in module["cells"][name]["attributes"] and (found := pattern(*instances).search(name)):
                # A word's pieces lie one beside the other, as its blocks do.
                memory, _, index = name.rpartition(".")
                piece = _PIECE.search(name)
                memories[found.groups(), "" if piece else memory].append(
                    (int(piece[1]) if piece else 0, int(index), name))
        for (numbers, _), found in sorted(memories.items()):
            for index, (_, _, name) in enumerate(sorted(found)):
                if not free:
                    return placed
                x, y = wish(numbers, left + (right - left) * (2 * index + 1) / (2 * len(found)))
                place = min(free, key=lambda place: abs(free[place][0] - x) + abs(free[place][1] - y))
                module["cells"][name]["attributes"]["BEL"] = place
                del free[place]
                placed += 1
    return placed


UNCONNECTED = "x"
"""What a port is connected to that is connected to nothing."""

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


def drop_unread_carries(module: dict) -> int:
    """Disconnect the carries out of chains that nobody reads: nextpnr lengthens a chain by a cell for one that goes
    anywhere.

    ``module`` is a module of a netlist of yosys, and changed.  Returns how many were dropped."""
    cells = module["cells"].values()
    read = {bit for port in module["ports"].values() for bit in port["bits"]}
    read |= {bit for cell in cells for port, bits in cell["connections"].items()
             if cell["port_directions"][port] == "input" for bit in bits}
    unread = [cell for cell in cells if cell["type"] == "CCU2C" and cell["connections"]["COUT"][0] not in read]
    for cell in unread:
        cell["connections"]["COUT"] = [UNCONNECTED]
    return len(unread)


def _is_plain(register: dict) -> bool:
    """Whether a register takes its input at each rising edge, and is never set or reset."""
    connections, parameters = register["connections"], register["parameters"]
    return (parameters["CEMUX"].strip() == "1" and connections["LSR"] == ["0"] and parameters["CLKMUX"] == "CLK"
            and parameters["REGSET"] == "RESET")

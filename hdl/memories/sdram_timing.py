# SPDX-License-Identifier: Apache-2.0
"""SDR SDRAM chips: how their words are arranged, and which times must lie between commands to them.

Sources are the data sheets: IS42S16160G (ISSI, "IS42/45S83200G, IS42/45S16160G", "AC electrical characteristics"),
MT48LC16M16A2 (Micron, "256Mb: x4, x8, x16 SDRAM", "Electrical Specifications - AC Operating Conditions"), AS4C16M16SA
(Alliance Memory, "256M - (16M x 16 bit) Synchronous DRAM", table 16).  Of each the slowest grade of its maker's that
boards carry is taken here, so that every faster one is served too."""

from dataclasses import dataclass, fields, replace

from tepal.hdl.config import ConfigError

__all__ = ["AS4C16M16SA", "IS42S16160G", "MT48LC16M16A2", "ULX3S_CHIPS", "SdramChip", "SdramTiming", "strictest"]


@dataclass(frozen=True)
class SdramChip:
    """A chip of 16 bits a word.  Times are in ns, the least that are allowed if nothing else is said.

    ``rows``, ``columns`` and ``banks`` are powers of two.  ``clock_2`` and ``clock_3``: clock cycle at a CAS latency of
    2 and of 3.  ``activate_to_column``: tRCD.  ``precharge``: tRP.  ``active``: tRAS.  ``row_cycle``: tRC.
    ``refresh_cycle``: tRFC.  ``banks_apart``: tRRD.  ``write_recovery``: tWR (tDPL), from the last word written to
    PRECHARGE.  ``mode_cycle``: tMRD, at least two cycles too.  ``retention``: in which every row must be refreshed, at
    most.  ``pause``: after power-up, without a command.  ``first_refreshes``: how many there must be before the memory
    is used."""

    name: str
    clock_2: float
    clock_3: float
    activate_to_column: float
    precharge: float
    active: float
    row_cycle: float
    refresh_cycle: float
    banks_apart: float
    write_recovery: float
    mode_cycle: float
    retention: float = 64e6
    pause: float = 200e3
    first_refreshes: int = 8
    rows: int = 8192
    columns: int = 512
    banks: int = 4


IS42S16160G = SdramChip("IS42S16160G-7", 10, 7, 15, 15, 42, 60, 60, 14, 14, 14)
"""Grades -5, -6 and -7; where two of them ask for more than the third, the longer time."""

MT48LC16M16A2 = SdramChip("MT48LC16M16A2-75", 10, 7.5, 20, 20, 44, 66, 66, 15, 15, 15, first_refreshes=2)
"""tMRD is given as two cycles, tWR for a PRECHARGE of its own; the data sheet asks for a pause of 100 µs."""

AS4C16M16SA = SdramChip("AS4C16M16SA-7", 10, 7, 21, 21, 42, 63, 63, 14, 14, 14, first_refreshes=2)

ULX3S_CHIPS = IS42S16160G, MT48LC16M16A2, AS4C16M16SA
"""Those that boards of the name ULX3S carry."""

_LEAST = "retention",
_SAME = "rows", "columns", "banks"


def strictest(*chips: SdramChip) -> SdramChip:
    """A chip that whatever serves it serves all ``chips``, which are arranged alike.

    Raises
    ------
    ConfigError
        They are not.
    """
    first, values = chips[0], {}
    for field in fields(SdramChip):
        asked = [getattr(chip, field.name) for chip in chips]
        if field.name in _SAME and len(set(asked)) > 1:
            raise ConfigError(f"{' and '.join(chip.name for chip in chips)} differ in their {field.name}: one "
                              "controller can't serve both")
        values[field.name] = min(asked) if field.name in _LEAST else max(asked)
    return replace(first, **(values | {"name": " or ".join(chip.name for chip in chips)}))


@dataclass(frozen=True)
class SdramTiming:
    """A chip's times in cycles of a clock, and its arrangement; :meth:`of` makes it.

    ``refresh_interval`` is the most that may lie between one REFRESH and the next: retention divided by rows, although
    the data sheets would let some come later if others come sooner.  The rest is as in :class:`SdramChip`."""

    rows: int
    columns: int
    banks: int
    cas_latency: int
    activate_to_column: int
    precharge: int
    active: int
    row_cycle: int
    refresh_cycle: int
    banks_apart: int
    write_recovery: int
    mode_cycle: int
    refresh_interval: int
    pause: int
    first_refreshes: int

    @classmethod
    def of(cls, chip: SdramChip, frequency: int, cas_latency: int = 3) -> "SdramTiming":
        """For a clock of ``frequency`` Hz.  A CAS latency of 3 costs a linear access nothing and is allowed up to 133
        MHz by each of :data:`ULX3S_CHIPS`, one of 2 up to 100 MHz.

        Raises
        ------
        ConfigError
            The chip does not run at this clock with this latency.
        """
        shortest = {2: chip.clock_2, 3: chip.clock_3}.get(cas_latency)
        if shortest is None:
            raise ConfigError(f"a CAS latency of {cas_latency} is none of an SDRAM's: take 2 or 3")
        if _picoseconds(shortest) * frequency > 10 ** 12:
            raise ConfigError(f"{chip.name} runs at {1e3 / shortest:g} MHz at most with a CAS latency of "
                              f"{cas_latency}, not at {frequency / 1e6:g} MHz")

        def cycles(name: str) -> int:
            return -(-_picoseconds(getattr(chip, name)) * frequency // 10 ** 12)

        return cls(chip.rows, chip.columns, chip.banks, cas_latency, cycles("activate_to_column"),
                   cycles("precharge"), cycles("active"), cycles("row_cycle"), cycles("refresh_cycle"),
                   cycles("banks_apart"), cycles("write_recovery"), max(2, cycles("mode_cycle")),
                   _picoseconds(chip.retention) * frequency // 10 ** 12 // chip.rows, cycles("pause"),
                   chip.first_refreshes)

    @classmethod
    def between(cls, chip: SdramChip, slowest: int, fastest: int, cas_latency: int = 3) -> "SdramTiming":
        """For any clock from ``slowest`` to ``fastest`` Hz; raises what :meth:`of` does."""
        return replace(cls.of(chip, fastest, cas_latency),
                       refresh_interval=cls.of(chip, slowest, cas_latency).refresh_interval)

    @property
    def mode(self) -> int:
        """The mode register: bursts of four words, one after the other, for reads and writes."""
        return self.cas_latency << 4 | 2


def _picoseconds(nanoseconds: float) -> int:
    return round(1000 * nanoseconds)

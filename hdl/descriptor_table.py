"""Tables of descriptors: each field is as wide as its largest value, decided before synthesis."""

from amaranth import *
from amaranth.lib import data

__all__ = ["DescriptorTable"]


class DescriptorTable:
    """The descriptors of one unit: a layout just wide enough, and their values."""

    def __init__(self, rows: list[dict[str, int]]):
        self.rows = rows
        fields = {}
        for name in rows[0]:
            values = [row[name] for row in self.rows]
            low, high = min(values), max(values)
            width = max(high.bit_length(), (~low).bit_length() if low < 0 else 0, 1)
            fields[name] = signed(width + 1) if low < 0 else unsigned(width)
        self.layout = data.StructLayout(fields)

    def __len__(self):
        return len(self.rows)

    def follow(self, m: Module, advance, *, name: str, before: bool = False):
        """(current descriptor, the one that follows, number of the current one): the next one follows ``advance``,
        round and round.  At first it is the first one's turn; with ``before``, only after an ``advance``.

        The table is read a cycle ahead, so ``advance`` may come every second cycle at most."""
        count = len(self.rows)
        first = -1 % count if before else 0
        number = Signal(range(max(2, count)), name=f"{name}_number", init=first)
        ahead = Signal.like(number, name=f"{name}_ahead", init=(first + 1) % count)
        current = Signal(self.layout, name=name, init=self.rows[first])
        upcoming = Signal(self.layout, name=f"{name}_upcoming", init=self.rows[(first + 1) % count])
        table = Array([self.layout.const(row) for row in self.rows])
        m.d.sync += upcoming.eq(table[ahead])
        with m.If(advance):
            m.d.sync += [current.eq(upcoming), number.eq(ahead),
                         ahead.eq(Mux(ahead == count - 1, 0, ahead + 1))]
        return current, upcoming, number

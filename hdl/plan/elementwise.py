# SPDX-License-Identifier: Apache-2.0
"""Layers that make each result of the values in its place alone, as tables of a byte.

A function of a single value composes with whatever follows: a table of a table is a table.  So such a layer needs no
map of its own where none but elementwise layers read it; they read the map before it, and their tables do its part.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from tepal.quant import Layer, Network, NetworkError
from tepal.quant.identity import fingerprint
from tepal.quant.layer import IMAGE, shortened
from tepal.quant.lookup import CODES, Lookup
from tepal.quant.ops.add import Add

from .passes import Elementwise
from .sum_tables import find_sum_tables

__all__ = ["ELEMENTWISE", "Operand", "Operands", "elementwise"]


def _add(layer: Add, *codes: np.ndarray) -> np.ndarray:
    if (layer.requantise.factor != layer.requantise.factor[0]).any():
        raise NetworkError(f"layer {layer.index} ({shortened(layer.name)}): the engine adds all channels of two maps "
                           "by one rule: give each map a single scale")
    total = sum(table[code + 128] for table, code in zip(layer.tables, codes, strict=True))
    return layer.requantise.select(slice(0, 1))(np.asarray(total)[..., None])[..., 0].astype(int)


def _lookup(layer: Lookup, *codes: np.ndarray) -> np.ndarray:
    (code,) = codes
    return layer(np.asarray(code)).astype(int)


ELEMENTWISE: dict[type[Layer], Callable[..., np.ndarray]] = {Add: _add, Lookup: _lookup}
"""Kind of layer to what makes its results, of the layer and integer arrays of its operands' values."""


@dataclass(frozen=True, eq=False)
class Operand:
    """A function of the values of a map: that of the layer ``base``, or of the image.  ``table`` integers (256,) are of
    the values from -128 on; ``layers`` are those that it is made of."""

    base: int
    table: np.ndarray
    layers: tuple[int, ...] = ()


class Operands:
    """Which maps of ``network`` exist, and what its elementwise layers make of them.

    Attributes
    ----------
    kept
        Numbers of the layers that have a map.
    of
        Elementwise layer that has a map to its operands, of one base each.
    users
        The image and each layer that has a map to those that read it and have one.
    """

    def __init__(self, network: Network):
        values = {IMAGE: Operand(IMAGE, CODES)}
        self.kept: list[int] = []
        self.of: dict[int, tuple[Operand, ...]] = {}
        self.users: dict[int, list[int]] = {IMAGE: []}
        for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
            operands = tuple(values[source] for source in sources)
            if rule := ELEMENTWISE.get(type(layer)):
                if len({operand.base for operand in operands}) == 1:
                    # A single value decides, though it may be read twice.
                    operands = (Operand(operands[0].base, rule(layer, *(each.table for each in operands)),
                                        (*_layers(operands), number)),)
                    if number not in network.output_layers and all(
                            type(network.layers[reader]) in ELEMENTWISE for reader in network.readers[number]):
                        values[number] = operands[0]
                        continue
                self.of[number] = operands
            for base in {operand.base for operand in operands}:
                self.users[base].append(number)
            self.kept.append(number)
            self.users[number] = []
            values[number] = Operand(number, CODES)


def _layers(operands: Iterable[Operand]) -> tuple[int, ...]:
    return tuple(sorted({layer for operand in operands for layer in operand.layers}))


def elementwise(network: Network, number: int, operands: tuple[Operand, ...], first: int) -> Elementwise:
    """Layer ``number`` as tables, where the value of the map ``first`` comes first; the ``other`` is to be filled in.

    Raises
    ------
    NetworkError
        There are no tables that give its sums exactly.
    """
    if len(operands) == 1:
        tables = np.stack([operands[0].table, np.zeros(len(CODES), int)])
        return Elementwise(operands[0].layers, tables, 0, -128, 127)
    layer = network.layers[number]
    assert isinstance(layer, Add)
    found = _sum_tables(layer, operands, swapped=operands[1].base == first)
    if found is None:
        raise NetworkError(f"layer {layer.index} ({shortened(layer.name)}): no tables add its maps exactly; quantise "
                           "the network again with other scales")
    return Elementwise((*_layers(operands), number), *found, layer.requantise.minimum, layer.requantise.maximum)


def _sum_tables(layer: Add, operands: tuple[Operand, ...], *, swapped: bool) -> tuple[np.ndarray, int] | None:
    """What :func:`~.sum_tables.find_sum_tables` finds for ``layer``; the second operand comes first if ``swapped``.

    It is kept, by what it depends on: smaller versions of a network add by the same rules."""
    one, two = operands
    key = fingerprint(layer.tables, layer.requantise.select(slice(0, 1)), one.table, two.table, swapped)
    if key not in _found:
        results = ELEMENTWISE[Add](layer, one.table[:, None], two.table[None, :])
        guess = np.stack([table[operand.table + 128] * layer.requantise.factor[0]
                          for table, operand in zip(layer.tables, operands, strict=True)])
        guess[0] += layer.requantise.zero_point
        if swapped:
            results, guess = results.T, guess[::-1]
        if len(_found) >= _MOST_FOUND:
            _found.pop(next(iter(_found)))
        _found[key] = find_sum_tables(results, guess, layer.requantise.minimum, layer.requantise.maximum)
    return _found[key]


_found: dict[bytes, tuple[np.ndarray, int] | None] = {}
"""Oldest first."""

_MOST_FOUND = 256

# SPDX-License-Identifier: Apache-2.0
"""Widths that several units have in common."""

from dataclasses import dataclass

__all__ = ["Widths"]


@dataclass(frozen=True)
class Widths:
    """Bits of what units hand to each other, as few as a network needs; the plan makes them
    (:func:`tepal.hdl.plan.descriptors.unit_widths`).

    Parameters
    ----------
    coordinate
        A signed row or column of a feature map, or of the padding around it; also a map's height or width.
    address
        An address of a bank or of the input memory, or a channel group of the latter.
    column
        What a column adds to an address.
    bank
        An address of a bank.
    target
        An address of a bank or of the output memory.
    tile_word
        A word of a pixel in the tile buffer.
    weight
        An address of the depthwise weights.
    """

    coordinate: int
    address: int
    column: int
    bank: int
    target: int
    tile_word: int
    weight: int

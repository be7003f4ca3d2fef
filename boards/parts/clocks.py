# SPDX-License-Identifier: Apache-2.0
"""What the clocks of all families have in common."""

from fractions import Fraction

__all__ = ["MHZ", "within"]

MHZ = 1_000_000


def within(value: Fraction | int, limits: tuple[int, int]) -> bool:
    """Whether a frequency keeps a data sheet's limits."""
    return limits[0] <= value <= limits[1]

# SPDX-License-Identifier: Apache-2.0
"""What a network's sums need on any engine: accumulators, and requantisers that are proved equal to the exact rules."""

from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from tepal.hdl.units import multiplier
from tepal.hdl.units.affine import Affine, Sums, find_affines
from tepal.hdl.units.depthwise import ReductionKind
from tepal.hdl.units.elementwise import ElementwiseFormat
from tepal.hdl.units.requantiser import RequantiserFormat
from tepal.hdl.units.serial_requantiser import SerialFormat
from tepal.quant import Network
from tepal.quant.identity import fingerprint

from .lower import lower
from .passes import Elementwise, Pass, sum_range

__all__ = ["Formats", "SumFormats"]


def _signed_bits(low: int, high: int) -> int:
    return max(int(high).bit_length(), int(~low).bit_length() if low < 0 else 0) + 1


def _weight_bits(weights: Iterable[np.ndarray]) -> int:
    """Bits of a weight: 8, or 9 where uint8 ones have a zero point."""
    return max([8, *(_signed_bits(each.min(), max(0, each.max())) for each in weights)])


def _byte_offsets(weights: Iterable[np.ndarray], bits: int) -> tuple[int, ...] | None:
    """What makes bytes of the ``weights`` of each pass, and of the zeros beside them, where it is added; None where
    they have no more than 8 ``bits``, or can't be made bytes."""
    ranges = [(min(0, int(each.min())), max(0, int(each.max()))) for each in weights]
    if bits <= 8 or any(high - low > 255 for low, high in ranges):
        return None
    return tuple(-low for low, _ in ranges)


def _distinct(tables: Iterable[np.ndarray]) -> tuple[np.ndarray, ...]:
    return tuple({table.tobytes(): table for table in tables}.values())


class SumFormats:
    """The depthwise engine's sums of a network, or the array's.

    Parameters
    ----------
    sums
        For each pass None, or the rule of its requantisers, the constant to add before, and the range of its sums.
    """

    def __init__(self, sums: list):
        self.sums = sums
        self._formats: dict[int, tuple] = {}

    @cached_property
    def accumulator(self) -> int:
        """Bits of a sum."""
        return max([16] + [_signed_bits(low.min(), high.max()) for _, _, (low, high) in filter(None, self.sums)])

    def affines(self, cycles: int) -> tuple[Any, ...]:
        """Each pass's :class:`~tepal.hdl.units.affine.Affine`, for requantisers of ``cycles`` a value; or None.

        Raises ArithmeticError if a channel has no exact one; so does :meth:`format`."""
        return self._fitted(cycles)[0]

    def format(self, cycles: int, multiplier: int) -> RequantiserFormat | SerialFormat:
        """The format that they share.  Pipelines have hardware multipliers of so many bits; none with 0."""
        fmt = self._fitted(cycles)[1]
        return replace(fmt, hard=multiplier) if isinstance(fmt, RequantiserFormat) else fmt

    def _fitted(self, cycles: int):
        if cycles not in self._formats:
            affines = self._fit(one_shift=cycles > 1)
            given = [affine for affine in affines if affine]
            self._formats[cycles] = affines, (SerialFormat.of(given, self.accumulator, cycles) if cycles > 1
                                              else RequantiserFormat.of(given, self.accumulator))
        return self._formats[cycles]

    def _fit(self, *, one_shift: bool) -> tuple[Affine | None, ...]:
        """Each pass's: what was found before, and all others in one search."""
        keys: dict[int, bytes] = {}
        wanted: dict[bytes, Sums] = {}
        for number, sums in enumerate(self.sums):
            if sums is None:
                continue
            rule, constant, (low, high) = sums
            # Rows that share a multiplier have other sums, and constants that make up for it: the same rule.
            keys[number], other = (fingerprint(rule, low + constant, high + constant, each)
                                   for each in (one_shift, not one_shift))
            if keys[number] not in _affines:
                exact = _affines[other].exact.moved(constant) if other in _affines else None
                wanted.setdefault(keys[number], Sums(rule, constant, low, high, exact, f"pass {number}"))
        found = {key: _affines[key] for key in keys.values() if key in _affines}
        found |= zip(wanted, find_affines([*wanted.values()], one_shift=one_shift), strict=True)
        _remember(found)
        return tuple(sums and found[keys[number]].moved(sums[1]) for number, sums in enumerate(self.sums))


def _remember(found: dict[bytes, Affine]) -> None:
    _affines.update(found)
    while len(_affines) > _MOST_AFFINES:
        _affines.pop(next(iter(_affines)))


_affines: dict[bytes, Affine] = {}
"""What was found, oldest first: forms of a network without some channels have many passes in common."""

_MOST_AFFINES = 256


class Formats:
    """A network as passes, and the formats of their sums and requantisers, each found when it is first asked for.

    Schedules of one network on several engines share one: finding the requantisers takes far longer than
    scheduling does.

    Attributes
    ----------
    layout, passes
        From :func:`~tepal.hdl.plan.lower.lower`.
    depthwise : SumFormats
        Of the depthwise engine's sums.

    Raises
    ------
    NetworkError
        A layer that the engine can't run.
    """

    def __init__(self, network: Network):
        self.network = network
        self.layout, self.passes = lower(network)
        self.depthwise = SumFormats([self._reduced(work) for work in self.passes])
        self._matrix: dict[int, SumFormats] = {}

    @property
    def reduction_kinds(self) -> tuple[ReductionKind, ...]:
        """What the depthwise engine makes of products in one pass or another, in the order of their numbers."""
        used = {work.reduction.kind for work in self.passes if work.reduction}
        return tuple(kind for kind in ReductionKind if kind in used) or (ReductionKind.SUM,)

    @cached_property
    def depthwise_weight_bits(self) -> int:
        """Bits of a weight in the depthwise engine."""
        return _weight_bits(work.reduction.weights for work in self.passes if work.reduction)

    @cached_property
    def matrix_weight_bits(self) -> int:
        """Bits of a weight in the array."""
        return _weight_bits(work.matrix.weights for work in self.passes)

    @cached_property
    def matrix_offsets(self) -> tuple[int, ...] | None:
        """For each pass, what makes bytes, 0 to 255, of its weights in the array where it is added; None where they are
        bytes anyhow, or where some pass has weights too far apart."""
        return _byte_offsets([work.matrix.weights for work in self.passes], self.matrix_weight_bits)

    @cached_property
    def depthwise_offsets(self) -> tuple[int, ...] | None:
        """The same of weights in the depthwise engine; of a pass without any it says nothing."""
        return _byte_offsets([work.reduction.weights if work.reduction else np.zeros(1, np.int16)
                              for work in self.passes], self.depthwise_weight_bits)

    @property
    def elementwise_shift(self) -> int:
        """Bits that the elementwise unit drops, in all passes."""
        return max((work.elementwise.shift for work in self.passes if work.elementwise), default=0)

    def elementwise_of(self, own: Elementwise | None) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        """Both tables that the results of a pass go through, and their clamp; they stay as they are where it has
        none."""
        if own is None:
            return np.arange(-128, 128) << self.elementwise_shift, np.zeros(256, np.int64), (-128, 127)
        first, second = own.tables << self.elementwise_shift - own.shift
        return first, second, (own.minimum, own.maximum)

    def elementwise(self, skip_words: int) -> ElementwiseFormat | None:
        """The format of the elementwise unit, with so many words of skip memory; None if no pass needs one."""
        if not any(work.elementwise for work in self.passes):
            return None
        firsts, seconds, modes = zip(*(self.elementwise_of(work.elementwise) for work in self.passes), strict=True)
        adds = any(work.other is not None for work in self.passes)
        return ElementwiseFormat(tuple(map(_distinct, (firsts, seconds)[:1 + adds])), self.elementwise_shift,
                                 tuple(sorted(set(modes))), skip_words)

    def matrix(self, packing: int) -> SumFormats:
        """Of the array's sums, where so many rows share a multiplier."""
        offset = multiplier.offset(packing)
        if offset not in self._matrix:
            self._matrix[offset] = SumFormats([
                (matrix.requantise, matrix.constant - offset * matrix.weights.sum(axis=1, dtype=np.int64),
                 sum_range(matrix.weights, 1, offset)) for matrix in (work.matrix for work in self.passes)])
        return self._matrix[offset]

    @staticmethod
    def _reduced(work: Pass):
        reduction = work.reduction
        return reduction and (reduction.requantise, reduction.constant, reduction.range)

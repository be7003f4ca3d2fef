# SPDX-License-Identifier: Apache-2.0
"""Any function of one int8 value, as a table of its 256 results: activations that are no clamp, and changes of scale
and zero point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .layer import FloatLayer, Layer, Meaning, Place, frozen

if TYPE_CHECKING:
    from typing import Self

__all__ = ["CODES", "FloatLookup", "Lookup"]

CODES = np.arange(-128, 128)
"""All int8 values, in the order of a table."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Lookup(Layer):
    """Each value replaced by another one.

    ``table`` int8 (256,) holds the results of the values from -128 on; ``result_zero_point`` is the result's.
    ``function`` is what people call it."""

    table: np.ndarray
    result_zero_point: int
    function: str

    def __post_init__(self):
        object.__setattr__(self, "table", frozen(self.table, np.int8))

    @property
    def kernel(self) -> tuple[int, int]:
        return 1, 1

    @property
    def output_zero_point(self) -> int:
        return self.result_zero_point

    def accumulate(self, *maps: np.ndarray) -> np.ndarray:
        (x,) = maps
        return self.table[x.astype(np.intp) + 128].astype(np.int64)

    def __call__(self, *maps: np.ndarray) -> np.ndarray:
        (x,) = maps
        return self.table[x.astype(np.intp) + 128]

    def sum_range(self, *constants: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        (constant,) = constants
        single = self.table[np.nan_to_num(constant).astype(np.intp) + 128]
        low, high = (np.where(np.isnan(constant), end, single).astype(np.int64)
                     for end in (self.table.min(), self.table.max()))
        return low, high

    def constants(self, *constants: np.ndarray) -> np.ndarray:
        low, high = self.sum_range(*constants)
        return np.where(low == high, low.astype(float), np.nan)

    def rebuilt(self, inputs: Sequence[np.ndarray], keep: np.ndarray, *constants: np.ndarray) -> Self:
        return replace(self, **self.kept_shapes(inputs[0], keep))

    def resized(self, place: Place) -> Self:
        return replace(self, input_shape=place.input_shape, output_shape=place.output_shape)


@dataclass(frozen=True, eq=False, kw_only=True)
class FloatLookup(FloatLayer):
    """``compute`` of each value, an array in float32 to one of the same shape; ``function`` is what people call it."""

    compute: Callable[[np.ndarray], np.ndarray]
    function: str

    @property
    def kernel(self) -> tuple[int, int]:
        return 1, 1

    def sums(self, *maps: np.ndarray) -> np.ndarray:
        (x,) = maps
        return self.compute(x)

    def quantised(self, number: int, result: Meaning, *sources: Meaning) -> Lookup:
        ((scale, zero_point),) = sources
        real = self.activate(self.compute(np.float32(scale) * (CODES - zero_point).astype(np.float32)))
        codes = np.clip(np.rint(real / np.float32(result[0])) + result[1], -128, 127)
        return Lookup(**self.geometry(number), input_zero_point=zero_point, output_scale=result[0], table=codes,
                      result_zero_point=result[1], function=self.function)

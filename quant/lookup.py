# SPDX-License-Identifier: Apache-2.0
"""Any function of one int8 value, as a table of its 256 results: activations that are no clamp, and changes of scale
and zero point."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import erf, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from .answers import write_table
from .errors import NetworkError
from .layer import FloatLayer, Layer, Meaning, Place, frozen, shortened

if TYPE_CHECKING:
    from typing import Self

__all__ = ["CODES", "FUNCTIONS", "FloatLookup", "Lookup", "quantised_codes"]

CODES = np.arange(-128, 128)
"""All int8 values, in the order of a table."""



_ERF_PLACES = np.linspace(0, 6, 1 << 15)
_ERF = np.array([erf(place) for place in _ERF_PLACES])
"""Values of the error function, which NumPy doesn't have: straight lines between them are right to 5e-9."""


def _erf(x: np.ndarray) -> np.ndarray:
    return np.copysign(np.interp(np.abs(x), _ERF_PLACES, _ERF), x).astype(x.dtype)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _hard_sigmoid(x: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    return np.clip(alpha * x + beta, 0, 1)


def _elu(x: np.ndarray, alpha: float) -> np.ndarray:
    return np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x)


def _gelu(x: np.ndarray, approximate: bytes) -> np.ndarray:
    if approximate == b"tanh":
        return x / 2 * (1 + np.tanh(sqrt(0.6366197723675814) * (x + 0.044715 * x ** 3)))
    return x / 2 * (1 + _erf(x / sqrt(2)))


FUNCTIONS: dict[str, tuple[Callable[..., np.ndarray], dict[str, Any]]] = {
    "Abs": (np.abs, {}),
    "Ceil": (np.ceil, {}),
    "Celu": (lambda x, alpha: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0) / alpha), x), {"alpha": 1.0}),
    "Elu": (_elu, {"alpha": 1.0}),
    "Erf": (_erf, {}),
    "Exp": (np.exp, {}),
    "Floor": (np.floor, {}),
    "Gelu": (_gelu, {"approximate": b"none"}),
    "HardSigmoid": (_hard_sigmoid, {"alpha": 0.2, "beta": 0.5}),
    "HardSwish": (lambda x: x * _hard_sigmoid(x, 1 / 6, 0.5), {}),
    "LeakyRelu": (lambda x, alpha: np.where(x < 0, alpha * x, x), {"alpha": 0.01}),
    "Log": (np.log, {}),
    "Mish": (lambda x: x * np.tanh(np.logaddexp(0, x)), {}),
    "Neg": (np.negative, {}),
    "Reciprocal": (np.reciprocal, {}),
    "Round": (np.rint, {}),
    "Selu": (lambda x, alpha, gamma: gamma * _elu(x, alpha), {"alpha": 1.67326319217681884765625,
                                                              "gamma": 1.05070102214813232421875}),
    "Sigmoid": (_sigmoid, {}),
    "Sign": (np.sign, {}),
    "Softplus": (lambda x: np.logaddexp(0, x), {}),
    "Softsign": (lambda x: x / (1 + np.abs(x)), {}),
    "Sqrt": (np.sqrt, {}),
    "Tanh": (np.tanh, {}),
    "ThresholdedRelu": (lambda x, alpha: np.where(x > alpha, x, 0), {"alpha": 1.0}),
}
"""Functions of one real number by their names in ONNX (https://onnx.ai/onnx/operators), as NumPy computes them on
arrays in their own type, and their parameters with the values that these have unless given."""


def quantised_codes(real: np.ndarray, meaning: Meaning) -> np.ndarray:
    """Integers of this ``meaning`` nearest to ``real``, float32 in and out, half to even, as ONNX's QuantizeLinear."""
    return np.clip(np.rint(real / np.float32(meaning[0])) + meaning[1], -128, 127)


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

    def sum_steps(self, *input_scales: float) -> np.ndarray:
        return np.full(self.output_shape[2], self.output_scale)

    def write_onnx(self, graph, values: Sequence[str], input_scales: Sequence[float], result: str, output: str) -> str:
        real = np.float32(self.output_scale) * (self.table.astype(np.float32) - self.result_zero_point)
        return write_table(graph, values[0], (input_scales[0], self.input_zero_point), real, self.function, output,
                           result)


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
        # What isn't finite the quantiser looks for.
        with np.errstate(all="ignore"):
            return self.compute(x).astype(np.float32, copy=False)

    def quantised(self, number: int, result: Meaning, *sources: Meaning) -> Lookup:
        ((scale, zero_point),) = sources
        with np.errstate(all="ignore"):
            real = self.activate(self.compute(np.float32(scale) * (CODES - zero_point).astype(np.float32)))
            codes = quantised_codes(real.astype(np.float32), result)
        if np.isnan(codes).any():
            raise NetworkError(f"layer {self.index} ({shortened(self.name)}, {self.function}) gives NaN for "
                               f"{scale * (CODES[np.isnan(codes)][0] - zero_point):g}, which its input can be")
        return Lookup(**self.geometry(number), input_zero_point=zero_point, output_scale=result[0], table=codes,
                      result_zero_point=result[1], function=self.function)

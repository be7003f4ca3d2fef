# SPDX-License-Identifier: Apache-2.0
"""LOG_SOFTMAX of TensorFlow Lite in integers: at the end of a model, and off the chip.

The fixed-point rule is that of ``reference/integer_ops/log_softmax.h`` and, for the logarithm, of
``log_x_for_x_greater_than_or_equal_to_1_impl`` in ``reference/softmax.h``'s ``common.h``.  Qi.f below has i integer and
f fraction bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tepal.quant.arithmetic import (
    Rounding,
    high_multiply,
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_shift_right,
)
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import IntegerGraph, TfliteGraph
from tepal.quant.layer import Closing

from .registry import tflite
from .softmax import LogSoftmax, exponential, reciprocal

__all__ = ["IntegerLogSoftmax"]

_MOST, _LEAST = (1 << 31) - 1, -(1 << 31)

_LOG_2, _ROOT_HALF, _FOURTH_ROOT_HALF = 1488522236, 1518500250, 1805811301
"""log(2), sqrt(1/2) and its square root in Q0.31."""

_ALPHA_N, _ALPHA_D, _ALPHA_I, _ALPHA_F = 117049297, 127690142, 1057819769, 638450708
"""Of the rational approximation of the logarithm, in Q0.31."""


@dataclass(frozen=True)
class IntegerLogSoftmax(Closing):
    """int8 logarithms of the probabilities, of the scale 1/16 and the zero point 127, of int8 logits of the scale
    ``input_scale``."""

    name = "LOG_SOFTMAX"

    input_scale: float

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        multiplier, shift = (int(number) for number in quantize_multiplier(
            min(self.input_scale * 2.0**26, float(_MOST))))
        reverse, reverse_shift = (int(number) for number in quantize_multiplier(2.0**(31 - shift) / multiplier))
        difference = logits.astype(np.int64)
        difference -= difference.max(axis=-1, keepdims=True)
        least = -((31 << 26) >> max(shift, 0))
        fine = multiply_by_quantized_multiplier(difference, multiplier, shift, Rounding.DOUBLE)
        powers = np.where(difference >= least, rounding_shift_right(exponential(np.maximum(fine, _LEAST)), 12), 0)
        logarithm = _log(powers.sum(axis=-1, keepdims=True))
        lowest = np.maximum(least - 1, multiply_by_quantized_multiplier(
            logarithm + _LEAST, reverse, reverse_shift, Rounding.DOUBLE))
        result = rounding_shift_right(fine - logarithm, 31 - 5 - 4) + 127
        return np.where(difference > lowest, np.clip(result, -128, 127), -128).astype(np.int8)


def _log(x: np.ndarray) -> np.ndarray:
    """log(x) in Q5.26 of ``x >= 1`` in Q12.19."""
    def saturated(values: np.ndarray) -> np.ndarray:
        return np.clip(values, _LEAST, _MOST)

    def zeros(values: np.ndarray) -> np.ndarray:
        """Before the first one of 32 bits."""
        return 32 - np.frexp(values.astype(np.float64))[1].astype(np.int64)

    quarter = rounding_shift_right(np.int64(1 << 29), 6)
    first = zeros(x)
    first_rest = saturated(high_multiply(saturated(x << (first - 1)), _ROOT_HALF) << 1)
    first_power = saturated(saturated((12 - first) << 25) + quarter)
    second_x = high_multiply(x, _ROOT_HALF)
    second = zeros(second_x) - 1
    second_rest = saturated(x << second)
    second_power = saturated(saturated((12 - second) << 25) - quarter)
    rest, power = np.minimum(first_rest, second_rest), np.maximum(first_power, second_power)
    total = rest + _FOURTH_ROOT_HALF
    half = (total + np.where(total >= 0, 1, -1)) // 2
    offset = 2 * (rest - _FOURTH_ROOT_HALF)
    square = high_multiply(offset, offset)
    numerator = high_multiply(offset, rest) + high_multiply(high_multiply(offset, square), _ALPHA_N)
    denominator = high_multiply(half, _ALPHA_I + offset + high_multiply(_ALPHA_D, square)) \
        + high_multiply(_ALPHA_F, offset)
    fraction = high_multiply(rounding_shift_right(numerator, 6), reciprocal(denominator))
    return saturated((high_multiply(power, _LOG_2) + fraction) << 1)


@tflite("LOG_SOFTMAX", limits="along the last dimension, at the end; stays off the chip")
def _log_softmax(graph: TfliteGraph, operator: Operator) -> None:
    value, result = graph.computable(operator), operator.output
    graph.check_activation(operator, result)
    graph.check_shape(operator, value.shape)
    closing: Closing = LogSoftmax(operator.index, result.index)
    if isinstance(graph, IntegerGraph):
        if result.meaning != (1 / 16, 127):
            raise operator.error(f"must have the output scale 1/16 and the zero point {127 + result.offset}")
        closing = IntegerLogSoftmax(operator.index, result.index, float(operator.input(0).scale))
    graph.close(operator, value, closing)

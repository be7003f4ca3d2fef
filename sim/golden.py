"""The golden model: a network's exact bytes, in vectorised NumPy.

All results are integers.  Sums of products go through floating-point matrix products, which are exact as
long as every partial sum fits the significand (see :func:`_exact`).
"""

from math import frexp, prod
from typing import Literal, overload

import numpy as np
from tepal.quant.arithmetic import high_multiply, quantize_multiplier, rounding_shift_right
from tepal.quant.network import AveragePool, Convolution, Depthwise, Layer, Network, NetworkError, Softmax
from tepal.quant.sums import chunk_frames, window_sums

__all__ = ["accumulate", "run", "softmax"]

@overload
def run(network: Network, images: np.ndarray, *, layers: Literal[False] = False) -> np.ndarray: ...
@overload
def run(network: Network, images: np.ndarray, *, layers: Literal[True]) -> list[np.ndarray]: ...
def run(network: Network, images: np.ndarray, *, layers: bool = False) -> np.ndarray | list[np.ndarray]:
    """int8 logits of ``images``.

    Parameters
    ----------
    network
        What to compute.
    images
        int8 (frames, height, width, channels) in the network's input scale and zero point.
    layers
        Return the output of every layer instead.

    Returns
    -------
    int8 (frames, ``network.outputs``), before the softmax that the network may end in; or, with
    ``layers``, one int8 (frames, height, width, channels) for each of ``network.layers``.

    Raises
    ------
    NetworkError
        ``images`` has another shape or type.
    """
    images = np.asarray(images)
    if images.dtype != np.int8 or images.shape[1:] != network.input_shape:
        raise NetworkError(f"{network.name} takes int8 images of the shape (frames, "
                           f"{', '.join(map(str, network.input_shape))}), not {images.dtype} {images.shape}")
    frames = chunk_frames(network.layers)
    results = [np.empty((len(images), *layer.output_shape), np.int8)
               for layer in (network.layers if layers else network.layers[-1:])]
    for start in range(0, len(images), frames):
        chunk = slice(start, start + frames)
        x = images[chunk]
        for number, layer in enumerate(network.layers):
            x = layer.requantise(accumulate(layer, x))  # pyright: ignore[reportAttributeAccessIssue]
            if layers:
                results[number][chunk] = x
        if not layers:
            results[0][chunk] = x
    return results if layers else results[0].reshape(len(images), network.outputs)


def accumulate(layer: Layer, x: np.ndarray) -> np.ndarray:
    """int64 accumulators, bias included, before requantisation.

    ``x`` int8 (frames, height, width, channels); the result (frames, *layer.output_shape)."""
    zero_point = layer.input_zero_point
    match layer:
        case Convolution(weights=weights, bias=bias):
            taps, offset = prod(weights.shape[1:]), bias - zero_point * weights.sum(axis=(1, 2, 3), dtype=np.int64)
        case Depthwise(weights=weights, bias=bias):
            taps, offset = prod(layer.kernel), bias - zero_point * weights.sum(axis=(0, 1), dtype=np.int64)
        case AveragePool(bias=offset):
            weights, taps = None, prod(layer.kernel)
        case _:
            raise TypeError(f"no golden model of {type(layer).__name__}")
    return window_sums(layer, _exact(x, taps), weights, zero_point).astype(np.int64) + offset


def _exact(x: np.ndarray, terms: int) -> np.ndarray:
    """``x`` in a floating-point type that holds any sum of ``terms`` int8 products exactly.

    A product is at most 2**14, so float32 with its 24 bits is enough up to 1024 terms, whatever the order
    of summation; float64 up to 2**39."""
    return x.astype(np.float32 if terms <= 1024 else np.float64)


def softmax(parameters: Softmax, logits: np.ndarray) -> np.ndarray:
    """int8 probabilities (scale 1/256, zero point -128) of int8 ``logits`` (frames, outputs).

    The fixed-point algorithm of TensorFlow Lite's ``reference/softmax.h`` on gemmlowp's
    ``fixedpoint.h``; Qi.f below has i integer and f fraction bits."""
    # PreprocessSoftmaxScaling and CalculateInputRadius for Q5.26 differences.
    real = min(parameters.beta * parameters.input_scale * 2.0**26, 2.0**31 - 1)
    multiplier, shift = (int(number) for number in quantize_multiplier(real))
    radius = (31 << 26) >> shift
    difference = logits.astype(np.int64)
    difference -= difference.max(axis=-1, keepdims=True)
    exponential = _exp(high_multiply(np.maximum(difference, -radius) << shift, multiplier))
    exponential = np.where(difference < -radius, 0, exponential)
    total = rounding_shift_right(exponential, 12).sum(axis=-1, keepdims=True)
    headroom = 32 - np.vectorize(lambda value: frexp(value)[1], otypes=[np.int64])(total)
    scale = _reciprocal((total << headroom) - (1 << 31))
    probability = rounding_shift_right(high_multiply(scale, exponential), 12 - headroom + 31 - 8)
    return np.clip(probability - 128, -128, 127).astype(np.int8)


def _exp(x: np.ndarray) -> np.ndarray:
    """exp(x) in Q0.31 of ``x <= 0`` in Q5.26 (exp_on_negative_values)."""
    quarter = 1 << 24
    remainder = (x & (quarter - 1)) - quarter
    # Taylor series around -1/8 on the remainder, in Q0.31.
    a = (remainder << 5) + (1 << 28)
    a2 = high_multiply(a, a)
    a3, a4 = high_multiply(a2, a), high_multiply(a2, a2)
    series = rounding_shift_right(high_multiply(rounding_shift_right(a4, 2) + a3, 715827883) + a2, 1)
    result = 1895147668 + high_multiply(1895147668, a + series)
    # Times exp(-1/4), exp(-1/2), … exp(-16), where that bit of the quarters is set.
    factors = (1672461947, 1302514674, 790015084, 290630308, 39332535, 720401, 242)
    for bit, factor in enumerate(factors, start=24):
        result = np.where((remainder - x) >> bit & 1, high_multiply(result, factor), result)
    return np.where(x == 0, (1 << 31) - 1, result)


def _reciprocal(x: np.ndarray) -> np.ndarray:
    """1 / (1 + x) in Q0.31 of ``0 <= x < 1`` in Q0.31, by three Newton-Raphson steps in Q2.29."""
    half = (x + (1 << 31)) >> 1
    y = 1515870810 + high_multiply(half, -1010580540)
    for _ in range(3):
        y = y + (high_multiply(y, (1 << 29) - high_multiply(half, y)) << 2)
    return np.minimum(y << 1, (1 << 31) - 1)

# SPDX-License-Identifier: Apache-2.0
"""Post-training quantisation: a :class:`~tepal.quant.FloatNetwork` and some images to a :class:`~tepal.quant.Network`.

Weights become int8, symmetric, with a scale for each output channel; activations int8, asymmetric, with one scale for
a tensor; biases int32.  Before that, channels may be equalised, and after it biases corrected:

* Cross-layer equalisation: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
  2019 (arXiv:1906.04721), section 4.1.  There, ranges of weights are evened out, because weights share one scale for a
  tensor.  Here every output channel has its own, and what shares a scale are the activations between two layers: their
  ranges are evened out instead, against the weights that read them, as Xiao et al. do ("SmoothQuant", 2022,
  arXiv:2211.10438, equation 4, with equal shares).
* Bias correction: the same paper of Nagel et al., section 4.2, in its empirical form (appendix D).
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import inf, isfinite

import numpy as np
from tepal.quant.errors import NetworkError
from tepal.quant.float_network import FloatNetwork
from tepal.quant.layer import IMAGE, FloatLayer, Meaning
from tepal.quant.network import Network

__all__ = ["Calibration", "Method", "Quantisation", "fake_quantise", "quantize"]

BINS = 2048
"""Bins of each tensor's histogram."""

SMALLEST = 1e-30
"""A tensor whose values differ by less is constant."""

CORRECTION_BYTES = 1 << 30
"""Memory for the activations that bias correction keeps; it takes as many of the images as fit."""

Progress = Callable[[str, int, int], None]
"""``progress(what, done, total)``."""


class Method(Enum):
    """How a tensor's range follows from the values that calibration saw."""

    MINMAX = "minmax"
    """All of them."""
    PERCENTILE = "percentile"
    """All but a small share at each end."""
    MSE = "mse"
    """Those whose clipping and rounding together make the smallest mean square error."""


@dataclass(frozen=True)
class Calibration:
    """How to quantise.

    Parameters
    ----------
    method
        See :class:`Method`.
    percentile
        For ``PERCENTILE``: percent of the values to keep at each end, above 50 and at most 100.
    equalise, correct_bias
        Apply cross-layer equalisation; bias correction.

    Raises
    ------
    NetworkError
        ``percentile`` is out of range.
    """

    method: Method = Method.MSE
    percentile: float = 99.99
    equalise: bool = True
    correct_bias: bool = True

    def __post_init__(self):
        if not 50 < self.percentile <= 100:
            raise NetworkError(f"the percentile must be above 50 and at most 100, not {self.percentile}")


@dataclass(frozen=True, eq=False)
class Quantisation:
    """What :func:`quantize` made: the integer ``network``, and the ``reference`` whose layers its layers approximate
    (the float network after equalisation, which computes the same function)."""

    network: Network
    reference: FloatNetwork


def quantize(network: FloatNetwork, images: np.ndarray, calibration: Calibration = Calibration(), *,
             progress: Progress = lambda what, done, total: None) -> Quantisation:
    """Quantise ``network``.

    Parameters
    ----------
    images
        Representative inputs, some hundred are plenty: numbers in the shape that the model file takes, (frames,
        channels, height, width) or (frames, height, width, channels).
    calibration
        How.
    progress
        Called now and then.

    Raises
    ------
    NetworkError
        The images have another shape, hold NaN or are all one constant; or a layer's sums overflow 32 bits.
    """
    images = network.images(images, "the calibration images")
    if images.min() == images.max():
        raise NetworkError(f"the calibration images are all {images.flat[0]:g}: give some that the network will meet")
    if calibration.equalise:
        network = _equalise(network, images, progress)
    # The input keeps its whole range, so that a host can map pixels to it without loss.
    histograms = _histograms(network, images, progress)
    meanings = {IMAGE: _scale(*histograms[IMAGE].range(Calibration(Method.MINMAX)))}
    for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        measured = _scale(*histograms[number].range(calibration))
        meanings[number] = layer.result_meaning(measured, *(meanings[source] for source in sources))
    corrected = _correct_bias(network, images, meanings, progress) if calibration.correct_bias else network
    layers = tuple(layer.quantised(number, meanings[number], *(meanings[source] for source in sources))
                   for number, (layer, sources) in enumerate(zip(corrected.layers, network.sources, strict=True)))
    integer = Network(network.name, layers, *meanings[IMAGE], preprocessing=network.preprocessing,
                      outputs=network.outputs).answering(network.answers)
    return Quantisation(integer, network)


# ---- ranges ----

def _scale(low: float, high: float) -> Meaning:
    """Scale and zero point of the int8 tensor that covers ``low`` … ``high`` and has an exact zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    # A tensor of zeros can have any scale.
    scale = float(np.float32((high - low) / 255)) or 1.0
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def fake_quantise(x: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Real values that the int8 codes of ``x`` stand for, in the type of ``x``."""
    code = np.clip(np.rint(x / scale) + zero_point, -128, 127)
    return ((code - zero_point) * scale).astype(x.dtype, copy=False)


@dataclass(eq=False)
class _Histogram:
    """How one tensor's values are distributed, zeros left out: after ReLU they are many, and every scale holds
    them exactly."""

    low: float
    high: float
    counts: np.ndarray

    @property
    def edges(self) -> np.ndarray:
        return np.linspace(self.low, self.high, BINS + 1)

    def add(self, x: np.ndarray) -> None:
        # By hand: numpy.histogram refuses ranges that are narrow beside their distance from zero.
        width = self.high - self.low
        if width > SMALLEST:
            place = (x[x != 0].astype(np.float64) - self.low) * (BINS / width)
            self.counts += np.bincount(np.minimum(place.astype(np.int64), BINS - 1), minlength=BINS)

    def range(self, calibration: Calibration) -> tuple[float, float]:
        """The range to represent."""
        total = self.counts.sum()
        if calibration.method is Method.MINMAX or not total:
            return self.low, self.high
        if calibration.method is Method.PERCENTILE:
            share = np.concatenate([[0], np.cumsum(self.counts)]) / total
            tail = 1 - calibration.percentile / 100
            return float(np.interp(tail, share, self.edges)), float(np.interp(1 - tail, share, self.edges))
        return self._least_squares()

    def _least_squares(self) -> tuple[float, float]:
        """One end after the other is drawn in as far as it pays, twice."""
        edges = self.edges
        values = (edges[1:] + edges[:-1]) / 2
        factors = np.linspace(1, 0.02, 99)

        def error(low, high):
            scale, zero_point = _scale(low, high)
            return np.dot(self.counts, (fake_quantise(values, scale, zero_point) - values) ** 2)

        low, high = min(self.low, 0.0), max(self.high, 0.0)
        for _ in range(2):
            high = min((high * factor for factor in factors), key=lambda end: error(low, end))
            low = min((low * factor for factor in factors), key=lambda end: error(end, high))
        return low, high


def _histograms(network: FloatNetwork, images: np.ndarray, progress: Progress) -> dict[int, _Histogram]:
    """Histograms of the image and of each layer's output, by the layer's number.  The network runs twice: for the ends,
    then for the bins."""
    histograms = {number: _Histogram(inf, -inf, np.zeros(BINS, np.int64))
                  for number in (IMAGE, *range(len(network.layers)))}

    def widen(number, x):
        histogram = histograms[number]
        histogram.low, histogram.high = min(histogram.low, float(x.min())), max(histogram.high, float(x.max()))

    for what, visit in (("Ranges", widen), ("Histograms", lambda number, x: histograms[number].add(x))):
        for chunk in network.chunks(len(images)):
            visit(IMAGE, images[chunk])
            network.trace(images[chunk], visit)
            progress(what, chunk.stop, len(images))
    for number, layer in enumerate(network.layers):
        histogram = histograms[number]
        if not (isfinite(histogram.low) and isfinite(histogram.high)):
            raise NetworkError(f"layer {layer.index} ({layer.name}) gives NaN or infinite values on the calibration "
                               "images: the weights or the images are out of range")
    return histograms


# ---- the two corrections ----

def _equalise(network: FloatNetwork, images: np.ndarray, progress: Progress) -> FloatNetwork:
    """The same function with the channels between two layers scaled towards equal ranges.

    A channel divided by ``s`` before a layer that multiplies it by ``s`` changes nothing if the activation between the
    two is linear or ReLU.  An upper bound such as ReLU6's would move with the channel: such a layer is left alone,
    unless no image comes near the bound; then the bound goes."""
    peaks = [np.zeros(layer.output_shape[2]) for layer in network.layers]

    def look(number, x):
        np.maximum(peaks[number], np.abs(x).max(axis=(0, 1, 2)), out=peaks[number])

    for chunk in network.chunks(len(images)):
        network.trace(images[chunk], look)
        progress("Equalising", chunk.stop, len(images))
    layers = list(network.layers)
    for number, peak in enumerate(peaks):
        # What others read, or the host, stays as it is.
        if len(network.readers[number]) != 1 or number in network.output_layers:
            continue
        reader = network.readers[number][0]
        before, after = layers[number], layers[reader]
        if not (before.takes_factors and after.takes_factors):
            continue
        if before.minimum not in (0, -inf) or (before.maximum < inf and peak.max() >= before.maximum):
            continue
        factor = _factors(peak, after)
        layers[number], layers[reader] = before.divided(factor), after.multiplied(factor)
    return network.with_layers(layers)


def _factors(peak: np.ndarray, after: FloatLayer) -> np.ndarray:
    """By what to divide each channel, whose largest magnitude is ``peak``, before ``after``."""
    wanted = after.balance(peak)
    alive = wanted > 0
    if not alive.any():
        return np.ones_like(wanted)
    factor = np.where(alive, wanted / wanted[alive].max(), 1)
    # A channel that all but vanishes is left small: blown up, it would only show noise.
    return np.maximum(factor, 2.0**-12)


def _correct_bias(network: FloatNetwork, images: np.ndarray, meanings: dict[int, Meaning],
                  progress: Progress) -> FloatNetwork:
    """Biases moved so that each channel's mean before the activation is the float network's.

    Layer by layer, on inputs that the quantised layers before have made."""
    largest = max(int(np.prod(shape)) for layer in network.layers for shape in layer.input_shapes)
    images = images[:max(1, CORRECTION_BYTES // (16 * largest))]
    exact, rounded = {IMAGE: images}, {IMAGE: fake_quantise(images, *meanings[IMAGE])}
    layers = []
    for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        chunks = list(network.chunks(len(images)))
        coarse = layer.rounded(meanings[number], *(meanings[source] for source in sources))
        wanted = np.concatenate([layer.sums(*(exact[source][chunk] for source in sources)) for chunk in chunks])
        got = np.concatenate([coarse.sums(*(rounded[source][chunk] for source in sources)) for chunk in chunks])
        error = wanted.mean(axis=(0, 1, 2), dtype=np.float64) - got.mean(axis=(0, 1, 2), dtype=np.float64)
        if (corrected := layer.corrected(error)) is not None:
            got += error.astype(np.float32)
            layer = corrected
        layers.append(layer)
        exact[number], rounded[number] = layer.activate(wanted), fake_quantise(layer.activate(got), *meanings[number])
        for source in {*sources, number}:
            if network.last_reader.get(source, number) == number:
                del exact[source], rounded[source]
        progress("Correcting biases", number + 1, len(network.layers))
    return network.with_layers(layers)

# SPDX-License-Identifier: Apache-2.0
"""What quantisation cost: the float network against the golden model of the integer one."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from tepal.quant import FloatNetwork, Network, Quantisation
from tepal.quant.layer import IMAGE
from tepal.quant.quantiser.quantise import fake_quantise
from tepal.scheduler import Threads, Workers

from . import golden

__all__ = ["LayerLoss", "QuantisationReport", "accuracy", "measure_losses"]

CHUNK = 250
"""Images that are classified at once."""

SENSITIVITY_MACS = 2_000_000_000
"""Bounds the frames that the sensitivity of layers is measured on: one run takes so many multiply-adds."""


@dataclass(frozen=True)
class LayerLoss:
    """What quantisation did to one layer.

    ``kind`` is its class; ``low`` and ``high`` the float range of its output on the images; ``scale`` and
    ``zero_point`` what it got; ``sqnr`` the signal-to-quantisation-noise ratio of its int8 output (dB, all layers
    before it quantised too); ``saturated`` the share of values beyond the int8 range; ``alone`` the ratio of the logits
    (dB) with this layer alone quantised: the layer with the lowest one costs most."""

    name: str
    kind: str
    low: float
    high: float
    scale: float
    zero_point: int
    sqnr: float
    saturated: float
    alone: float


@dataclass(frozen=True)
class QuantisationReport:
    """``logit_error``: mean absolute difference of the logits; ``agreement``: share of equal classes."""

    layers: list[LayerLoss] = field(repr=False)
    logit_error: float
    agreement: float

    @property
    def costliest(self) -> LayerLoss:
        """The layer whose quantisation alone disturbs the logits most."""
        return min(self.layers, key=lambda layer: layer.alone)


def decibels(signal: float, noise: float) -> float:
    """Ratio of two powers; 200 at most, for want of noise or of signal."""
    return 200.0 if noise <= signal * 1e-20 else 10 * float(np.log10(max(signal, 1e-300) / noise))


def real(layer, codes: np.ndarray) -> np.ndarray:
    """What int8 outputs of ``layer`` stand for."""
    return np.float32(layer.output_scale) * (codes.astype(np.float32) - layer.output_zero_point)


def _side_by_side(outputs: list[np.ndarray]) -> np.ndarray:
    """(frames, values) of all outputs, one behind the other."""
    return np.concatenate([output.reshape(len(output), -1) for output in outputs], axis=1)


def measure_losses(quantisation: Quantisation, images: np.ndarray, *,
                   progress: Callable[[str, int, int], None] = lambda what, done, total: None) -> QuantisationReport:
    """Run both networks on ``images`` (float, in the model file's own order of dimensions)."""
    network, reference = quantisation.network, quantisation.reference
    images = reference.images(images)
    count = len(network.layers)
    signal, noise, beyond, values = (np.zeros(count) for _ in range(4))
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    error, agreeing = 0.0, 0
    for chunk in reference.chunks(len(images)):
        codes = golden.run(network, network.quantise_input(images[chunk]), layers=True)

        def look(number, exact, codes=codes):
            layer = network.layers[number]
            approximate = real(layer, codes[number])
            signal[number] += np.sum(exact.astype(np.float64) ** 2)
            noise[number] += np.sum((exact.astype(np.float64) - approximate) ** 2)
            ends = layer.output_scale * (np.array([-128.5, 127.5]) - layer.output_zero_point)
            beyond[number] += np.count_nonzero((exact < ends[0]) | (exact > ends[1]))
            values[number] += exact.size
            low[number], high[number] = min(low[number], exact.min()), max(high[number], exact.max())

        exact = _side_by_side(reference.trace(images[chunk], look))
        approximate = _side_by_side([real(network.layers[number], codes[number]) for number in network.output_layers])
        error += float(np.abs(exact - approximate).sum())
        agreeing += int(np.sum(exact.argmax(axis=1) == approximate.argmax(axis=1)))
        progress("Comparing", chunk.stop, len(images))
    alone = _alone(network, reference, images, progress)
    layers = [LayerLoss(layer.name, type(layer).__name__, float(low[number]), float(high[number]), layer.output_scale,
                        layer.output_zero_point, decibels(signal[number], noise[number]),
                        float(beyond[number] / values[number]), alone[number])
              for number, layer in enumerate(network.layers)]
    return QuantisationReport(layers, error / (len(images) * network.result_bytes), agreeing / len(images))


def _alone(network: Network, reference: FloatNetwork, images: np.ndarray, progress) -> list[float]:
    """Signal-to-noise ratio of the logits with one layer quantised at a time, weights and output."""
    frames = images[:max(2, min(64, SENSITIVITY_MACS // max(1, reference.macs)))]
    results = {IMAGE: frames}
    exact = _side_by_side(reference.trace(frames, results.__setitem__)).astype(np.float64)
    ratios = []
    for number, (integer, layer) in enumerate(zip(network.layers, reference.layers, strict=True)):
        rounded = layer.rounded_as(integer)(*(results[source] for source in reference.sources[number]))
        changed = {number: fake_quantise(rounded, integer.output_scale, integer.output_zero_point)}
        for after in range(number + 1, len(reference.layers)):
            sources = reference.sources[after]
            if changed.keys() & set(sources):
                changed[after] = reference.layers[after](*(changed.get(n, results[n]) for n in sources))
        x = _side_by_side([changed.get(n, results[n]) for n in reference.output_layers])
        ratios.append(decibels(np.sum(exact ** 2), np.sum((exact - x) ** 2)))
        progress("Trying each layer alone", number + 1, len(network.layers))
    return ratios


def accuracy(network: Network | FloatNetwork, images: np.ndarray, labels: np.ndarray, *, workers: Workers | None = None,
             progress: Callable[[str, int, int], None] = lambda what, done, total: None) -> float:
    """Share of ``images`` whose largest logit is the label: the golden model's, or the float network's.

    ``workers`` classify a chunk of images each (default: this thread does).

    Raises
    ------
    NetworkError
        See :meth:`Network.quantise_input` and :meth:`FloatNetwork.images`.
    """
    images = network.quantise_input(images) if isinstance(network, Network) else network.images(images)
    chunks = [(images[start:start + CHUNK], labels[start:start + CHUNK]) for start in range(0, len(images), CHUNK)]
    right = (workers or Threads()).map(partial(_right, network), chunks, lambda done, _: progress(
        "Classifying", min(done * CHUNK, len(images)), len(images)))
    return sum(right) / len(images)


def _right(network: Network | FloatNetwork, chunk: tuple[np.ndarray, np.ndarray]) -> int:
    """How many images of a chunk have the largest logit at their label."""
    images, labels = chunk
    logits = golden.run(network, images) if isinstance(network, Network) else network.run(images)
    return int(np.sum(logits.argmax(axis=1) == labels))

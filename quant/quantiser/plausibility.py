# SPDX-License-Identifier: Apache-2.0
"""Whether calibration images are what a network was trained on.

A network that is given pixels of 0 to 255 where it was trained on 0 to 1 is quantised faithfully, and useless: both
networks agree on every image, and both are wrong.  What tells is the batch norm: it knows mean and variance of what
reached it in training.
"""

from collections.abc import Iterator

import numpy as np
from tepal.quant.float_network import FloatNetwork
from tepal.quant.layer import IMAGE, FloatLayer, Statistics

__all__ = ["implausible"]

FRAMES, MACS = 64, 1_000_000_000
"""Images that are looked at, at most, and the multiply-adds that they may take."""

SPREAD, SHIFT = 1.6, 1.5
"""How many times wider or narrower than in training the sums of the first batch norm's layer may be, and how many
standard deviations away, in the middle channel.

Small MobileNets trained on CIFAR-10 lie within 1.25 and 0.8 on ten images of the right data and more (a single one of
little contrast may lie below), and beyond 1.75 on data in the range -1 to 1 for 0 to 1, or the other way round.  Layers
after the first drift further with few images: there the square of the one and twice the other are allowed."""

SAMPLES = 32
"""Values of a channel below which its mean and deviation say nothing."""

FOLDED_BIAS, FOLDED_SPREAD = (0.2, 5.0), 20.0
"""Where batch norms were folded before the model was exported, they leave biases of about 1, and sums whose deviation
is about 1 on the right data (0.5 to 1.3 in nine networks, 60 to 250 on data of 0 to 255).  Networks without batch norm
have smaller biases, and of those nothing is said."""


def implausible(network: FloatNetwork, images: np.ndarray) -> str:
    """What of ``images``, float32 (frames, height, width, channels), contradicts the training of ``network``, in a
    sentence without its end; nothing if all may be well or the network doesn't tell."""
    count = max(1, min(FRAMES, len(images), MACS // max(1, network.macs)))
    x = images[np.linspace(0, len(images) - 1, count).astype(int)]
    if all(layer.trained is None for layer in network.layers):
        return _without_batch_norm(network, x)
    first = True
    for layer, total in _sums(network, x):
        if layer.trained is not None and total[..., 0].size >= SAMPLES:
            spread, shift = _distance(total, layer.trained)
            what = _label(layer)
            power = 1 if first else 2
            if max(spread, 1 / max(spread, 1e-9)) > SPREAD**power:
                return (f"the sums of {what} vary {_times(spread)} as much as they did in training, by the statistics "
                        "of its batch norm")
            if shift > SHIFT * power:
                return (f"the sums of {what} lie {shift:.3g} standard deviations from where they were in training, by "
                        "the statistics of its batch norm")
            first = False
    return ""


def _sums(network: FloatNetwork, x: np.ndarray) -> Iterator[tuple[FloatLayer, np.ndarray]]:
    """Each layer and its sums, before the activation, on the images ``x``."""
    results = {IMAGE: x}
    for number, (layer, sources) in enumerate(zip(network.layers, network.sources, strict=True)):
        total = layer.sums(*(results[source] for source in sources))
        yield layer, total
        results[number] = layer.activate(total)
        for source in {*sources, number}:
            if network.last_reader.get(source, number) == number:
                del results[source]


def _distance(total: np.ndarray, trained: Statistics) -> tuple[float, float]:
    """Deviation of ``total`` as a multiple of that in training, and shift of its mean in such deviations; medians over
    the channels, but for those that were dead."""
    values = total.reshape(-1, total.shape[-1]).astype(np.float64)
    live = trained.deviation > 1e-3 * trained.deviation.max()
    deviation = trained.deviation[live]
    return (float(np.median(values.std(axis=0)[live] / deviation)),
            float(np.median(np.abs(values.mean(axis=0)[live] - trained.mean[live]) / deviation)))


def _without_batch_norm(network: FloatNetwork, x: np.ndarray) -> str:
    """By the first layer's range alone."""
    first = network.layers[0]
    biases = [bias for layer in network.layers if (bias := layer.typical_bias) is not None][:-1]
    if (len(biases) < 2 or first.typical_bias is None
            or not FOLDED_BIAS[0] <= np.median(biases) <= FOLDED_BIAS[1]):
        return ""
    values = first.sums(x).reshape(-1, first.output_shape[2]).astype(np.float64)
    if len(values) < SAMPLES:
        return ""
    spread = float(np.median(values.std(axis=0)) / np.median(biases))
    if 1 / FOLDED_SPREAD <= spread <= FOLDED_SPREAD:
        return ""
    return (f"the sums of {_label(first)} vary {_times(spread)} as much as the network's biases are "
            "large, where about as much is usual")


def _label(layer: FloatLayer) -> str:
    name = layer.name if len(layer.name) <= 40 else f"…{layer.name[-39:]}"
    return f"layer {layer.index} ({name})"


def _times(factor: float) -> str:
    return f"{factor:.3g} times"

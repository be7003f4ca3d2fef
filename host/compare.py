# SPDX-License-Identifier: Apache-2.0
"""A device against the golden model: whether its results are right, and if not, where they begin to be wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from tepal.hdl import Schedule
from tepal.hdl.link.protocol import Stage
from tepal.quant import Network
from tepal.sim import Mismatch, first_mismatch, golden, layer_tensors, stage_words

from .device import Device

__all__ = ["Comparison", "compare", "find_first_mismatch"]

_STAGES = {"R": Stage.DEPTHWISE, "D": Stage.MATRIX}


@dataclass(frozen=True)
class Comparison:
    """``different`` are the numbers of the images whose results are wrong; ``verdict`` says what was found."""

    different: list[int]
    verdict: str
    mismatch: Mismatch | None = None


def _silent(what: str, done: int, total: int) -> None:
    pass


def compare(device: Device, network: Network, images: np.ndarray, logits: np.ndarray,
            progress: Callable[[str, int, int], None] = _silent) -> Comparison:
    """What ``device`` made of int8 ``images``, against the golden model; asks its debug tap, if it has one, for every
    layer of the first image that is wrong, until one differs.

    Raises
    ------
    HostError
        The device can't be worked with.
    """
    expected = golden.run(network, images)
    different = np.flatnonzero((logits != expected).any(axis=1)).tolist()
    if not different:
        return Comparison([], f"All {logits.size} results are equal to the golden model's.")
    frame = different[0]
    verdict = f"{len(different)} of {len(images)} images have other results than the golden model, image {frame} first"
    engine = device.engine()
    if engine is None:
        return Comparison(different, f"{verdict}; the device has no debug tap to say in which layer: build its design "
                                     "with --debug")
    schedule = Schedule(network, engine)
    mismatch = find_first_mismatch(device, schedule, images[frame], progress)
    if mismatch is not None:
        mismatch = replace(mismatch, frame=frame)
        return Comparison(different, f"{verdict}; {mismatch.describe(network)}", mismatch)
    if (device.infer(images[frame][None])[0] == expected[frame]).all():
        return Comparison(different, f"{verdict}; asked again, it is right in every layer: the fault comes and goes, "
                                     "as with too fast a clock")
    return Comparison(different, f"{verdict}; every layer is right, so that the fault is behind the last one")


def find_first_mismatch(device: Device, schedule: Schedule, image: np.ndarray,
                        progress: Callable[[str, int, int], None] = _silent) -> Mismatch | None:
    """The first layer that a device with a debug tap computes wrongly from int8 ``image`` (height, width, channels).

    Raises
    ------
    HostError
        The device can't be worked with.
    """
    expected = golden.run(schedule.network, image[None], layers=True)
    stages = [(number, kind) for number, scheduled in enumerate(schedule.passes)
              for kind in ("RD" if scheduled.reduces else "D")]
    for done, (number, kind) in enumerate(stages):
        progress("Asking for layers", done, len(stages))
        words = device.trace(image, number, _STAGES[kind], stage_words(schedule, number, kind))
        if kind == "D":
            words = words[:, :schedule.config.requantisers]
        layer, rows, channels, got = layer_tensors(schedule, number, kind, words, 1)
        if layer is None:
            continue
        wanted = expected[layer][:, rows, :, channels]
        if mismatch := first_mismatch(layer, wanted, got, rows.start, channels.start):
            return mismatch
    return None

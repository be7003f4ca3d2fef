# SPDX-License-Identifier: Apache-2.0
"""A device against the golden model: whether its results are right, and if not, where they begin to be wrong."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from tepal.hdl import Schedule
from tepal.quant import Network
from tepal.sim import Mismatch, first_mismatch, golden

from .device import Device
from .traced import ask, stages

__all__ = ["Comparison", "compare", "find_first_mismatch"]


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
    asked = list(stages(schedule))
    for done, stage in enumerate(asked):
        progress("Asking for layers", done, len(asked))
        piece = ask(device, schedule, image, stage)
        if mismatch := first_mismatch(stage.layer, piece.of(expected[stage.layer]), piece.values, piece.first_row,
                                      piece.first_channel):
            return mismatch
    return None

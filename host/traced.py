# SPDX-License-Identifier: Apache-2.0
"""What the debug tap of a device tells of a layer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from tepal.hdl import Schedule
from tepal.hdl.link.protocol import Stage
from tepal.sim import layer_tensors, stage_words

from .device import Device

__all__ = ["Piece", "TracedStage", "ask", "layer_map", "stages"]

_STAGES = {"R": Stage.DEPTHWISE, "D": Stage.MATRIX}


@dataclass(frozen=True)
class TracedStage:
    """A stage of pass ``number`` that the tap keeps: ``kind`` is R, depthwise, or D, matrix, and ``layer`` what it
    makes a part of, a number in ``network.layers``."""

    number: int
    kind: str
    layer: int


@dataclass(frozen=True, eq=False)
class Piece:
    """int8 ``values`` (1, rows, width, channels) of a layer's map, from ``first_row`` and ``first_channel`` on."""

    values: np.ndarray
    first_row: int
    first_channel: int

    def of(self, whole: np.ndarray) -> np.ndarray:
        """The same rows and channels of ``whole`` (frames, height, width, channels), a view."""
        _, rows, _, channels = self.values.shape
        return whole[:, self.first_row:self.first_row + rows, :,
                     self.first_channel:self.first_channel + channels]


def stages(schedule: Schedule) -> Iterator[TracedStage]:
    """Every stage that makes a part of a layer, in the order in which they run."""
    for number, scheduled in enumerate(schedule.passes):
        work = scheduled.work
        if work.reduction is not None:
            yield TracedStage(number, "R", work.reduction.layer)
        if work.layer is not None:
            yield TracedStage(number, "D", work.layer)


def ask(device: Device, schedule: Schedule, image: np.ndarray, stage: TracedStage) -> Piece:
    """What ``stage`` makes of int8 ``image`` (height, width, channels), by the device's debug tap.

    Raises
    ------
    HostError
        The device has no debug tap, or can't be worked with.
    """
    words = device.trace(image, stage.number, _STAGES[stage.kind], stage_words(schedule, stage.number, stage.kind))
    words = words[:, :schedule.config.requantisers if stage.kind == "D" else schedule.config.lanes]
    _, rows, channels, values = layer_tensors(schedule, stage.number, stage.kind, words, 1)
    return Piece(values, rows.start, channels.start)


def layer_map(device: Device, schedule: Schedule, image: np.ndarray, layer: int,
              progress: Callable[[int, int], None] = lambda done, total: None) -> np.ndarray:
    """What a device with a debug tap makes of int8 ``image`` (height, width, channels) in a layer, number ``layer`` of
    the schedule's network, from all passes that make a part of it: int8 (height, width, channels).

    Raises
    ------
    HostError
        The device has no debug tap, or can't be worked with.
    ValueError
        No pass makes this layer: it was joined to another one.
    """
    wanted = [stage for stage in stages(schedule) if stage.layer == layer]
    if not wanted:
        raise ValueError(f"no pass makes layer {layer}")
    whole = np.zeros((1, *schedule.network.layers[layer].output_shape), np.int8)
    for done, stage in enumerate(wanted):
        piece = ask(device, schedule, image, stage)
        piece.of(whole)[:] = piece.values
        progress(done + 1, len(wanted))
    return whole[0]

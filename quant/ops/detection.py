# SPDX-License-Identifier: Apache-2.0
"""From a detector's heads to boxes: the custom operator TFLite_Detection_PostProcess, off the chip.

The rule is that of TensorFlow Lite's ``detection_postprocess.cc``: boxes are decoded against their anchors, then of
those that overlap all but the likeliest go (non-maximum suppression)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite, prod
from typing import Any

import numpy as np
from flatbuffers import flexbuffers
from tepal.quant.answers import dequantised, of_integers
from tepal.quant.files.tflite_file import Operator
from tepal.quant.files.tflite_graph import TfliteGraph
from tepal.quant.files.values import TensorValue
from tepal.quant.layer import Closing, Meaning, frozen

from .registry import tflite

__all__ = ["Detection", "Detector"]

_RESULTS = ("boxes", "classes", "scores", "count")


@dataclass(frozen=True, eq=False)
class Detector:
    """How boxes are found.

    Parameters
    ----------
    anchors
        float32 (boxes, 4): centre y and x, height and width, as parts of the picture's.
    scales
        By what the four numbers of a box are divided: those of y, x, height, width.
    classes
        How many there are, without a background, which comes first if the scores have one more.
    score_threshold, overlap_threshold
        Least score of a box; largest intersection over union with a likelier one.
    detections
        At most so many boxes are given.
    classes_of_each
        So many of its likeliest classes for each box, where the classes share their boxes.
    apart, detections_of_class
        Whether each class keeps its boxes whatever the others have ("regular" suppression), and how many at most.
    """

    anchors: np.ndarray
    scales: tuple[float, float, float, float]
    classes: int
    score_threshold: float
    overlap_threshold: float
    detections: int
    classes_of_each: int = 1
    apart: bool = False
    detections_of_class: int = 100

    def __post_init__(self):
        object.__setattr__(self, "anchors", frozen(self.anchors, np.float32))

    def __call__(self, boxes: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """The boxes of one picture.

        Parameters
        ----------
        boxes
            float32 (boxes, 4 or more), as the network encodes them.
        scores
            float32 (boxes, classes, or one more).

        Returns
        -------
        float32 (detections, 4), (detections,) and (detections,): top, left, bottom and right as parts of the picture's
        size; number of the class; score; likeliest first.  The last number says how many boxes there are; behind them
        all is 0.  Where each has several classes, its rows stand together.
        """
        corners, scores = self.decoded(boxes), scores[:, scores.shape[1] - self.classes:]
        found = self._apart(corners, scores) if self.apart else self._together(corners, scores)
        each = 1 if self.apart else min(self.classes_of_each, self.classes)
        slots = self.detections * each
        results = np.zeros((slots, 4), np.float32), np.zeros(slots, np.float32), np.zeros(slots, np.float32)
        for place, (box, label) in enumerate(found):
            results[0][place], results[1][place], results[2][place] = corners[box], label, scores[box, label]
        return *results, len(found) // each

    def decoded(self, boxes: np.ndarray) -> np.ndarray:
        """Top, left, bottom and right, float32 (boxes, 4)."""
        centres = boxes[:, :2] / np.array(self.scales[:2], np.float32) * self.anchors[:, 2:] + self.anchors[:, :2]
        with np.errstate(over="ignore"):
            grown = np.exp(boxes[:, 2:4] / np.array(self.scales[2:], np.float32))
            halves = np.float32(0.5) * grown * self.anchors[:, 2:]
        return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32)

    def _together(self, corners: np.ndarray, scores: np.ndarray) -> list[tuple[int, int]]:
        """Boxes whatever their class, each with its likeliest classes."""
        each = min(self.classes_of_each, self.classes)
        likeliest = np.argsort(-scores, axis=1, kind="stable")[:, :each]
        kept = self._suppressed(corners, scores.max(axis=1), self.detections)
        return [(box, int(label)) for box in kept for label in likeliest[box]]

    def _apart(self, corners: np.ndarray, scores: np.ndarray) -> list[tuple[int, int]]:
        """Boxes of each class, and the likeliest of all these."""
        found: list[tuple[int, int]] = []
        for label in range(self.classes):
            found += ((box, label) for box in self._suppressed(corners, scores[:, label], self.detections_of_class))
            # The likeliest so far, those found first before others that are as likely.
            found = sorted(found, key=lambda each: -scores[each])[:self.detections]
        return found

    def _suppressed(self, corners: np.ndarray, scores: np.ndarray, most: int) -> list[int]:
        """Which boxes stay, likeliest first."""
        left = np.flatnonzero(scores >= self.score_threshold)
        left = left[np.argsort(-scores[left], kind="stable")]
        kept: list[int] = []
        while len(left) and len(kept) < most:
            kept.append(int(left[0]))
            left = left[1:][_overlap(corners[left[0]], corners[left[1:]]) <= self.overlap_threshold]
        return kept


def _overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of ``box`` and each of ``others``, 0 where one is empty."""
    def area(corners: np.ndarray) -> np.ndarray:
        return (corners[..., 2] - corners[..., 0]) * (corners[..., 3] - corners[..., 1])

    first, second = np.maximum(box[:2], others[:, :2]), np.minimum(box[2:], others[:, 2:])
    common = np.maximum(second - first, 0).prod(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = common / (area(box) + area(others) - common)
    return np.where((area(box) > 0) & (area(others) > 0), shares, 0)


@dataclass(frozen=True, eq=False)
class Detection(Closing):
    """One of the results of a detector, ``result`` of its boxes, classes, scores and their count, from the values of
    the boxes and of the scores, one behind the other.

    Each of the two is put into its shape ``opening`` and goes through its ``closings``, which end in real numbers."""

    name = "TFLite_Detection_PostProcess"

    detector: Detector
    openings: tuple[tuple[int, ...], tuple[int, ...]]
    closings: tuple[tuple[Closing, ...], tuple[Closing, ...]]
    result: str

    def inputs(self, values: np.ndarray) -> list[np.ndarray]:
        """Real boxes and scores, float32 (frames, boxes, …), of ``values`` (frames, …), int8 or a float network's."""
        parts = np.split(values.reshape(len(values), -1), [prod(self.openings[0])], axis=1)
        made = []
        for part, opening, closings in zip(parts, self.openings, self.closings, strict=True):
            real = part.reshape(-1, *opening)
            for closing in closings:
                real = closing(real)
            made.append(real)
        return made

    def quantised(self, meaning: Meaning) -> tuple[Closing, Meaning | None]:
        def real(closings: tuple[Closing, ...]) -> tuple[Closing, ...]:
            made, means = of_integers(closings, meaning)
            return made if means is None else (*made, dequantised(means))

        boxes, scores = self.closings
        return replace(self, closings=(real(boxes), real(scores))), None

    def __call__(self, logits: np.ndarray) -> np.ndarray:
        which = _RESULTS.index(self.result)
        pictures = zip(*self.inputs(logits), strict=True)
        return np.array([self.detector(boxes, scores)[which] for boxes, scores in pictures], np.float32)


@tflite("TFLite_Detection_PostProcess", limits="at the end; stays off the chip")
def _detection(graph: TfliteGraph, operator: Operator) -> None:
    boxes, scores = (_real(graph, operator, number) for number in range(2))
    anchors = operator.input(2)
    if not len(anchors.data) or anchors.type not in ("FLOAT32", "INT8", "UINT8") or (
            anchors.type != "FLOAT32" and not len(anchors.scales)):
        raise operator.error("has no constant anchors")
    detector = _detector(operator, anchors.real())
    count = len(detector.anchors)
    if len(boxes.shape) != 3 or len(scores.shape) != 3 or boxes.shape[1] != count or scores.shape[1] != count \
            or boxes.shape[2] < 4 or not 0 <= scores.shape[2] - detector.classes <= 1:
        raise operator.error(f"reads boxes of the shape {list(boxes.shape)} and scores of {list(scores.shape)} for "
                             f"{count} anchors and {detector.classes} classes")
    if len(operator.outputs) != len(_RESULTS):
        raise operator.error(f"gives {len(operator.outputs)} results; four are needed")
    both = TensorValue(boxes.sources + scores.sources, (1, prod(boxes.opening) + prod(scores.opening)),
                 opening=(prod(boxes.opening) + prod(scores.opening),))
    for number, (result, tensor) in enumerate(zip(_RESULTS, operator.outputs, strict=True)):
        closing = Detection(operator.index, tensor.index, detector, (boxes.opening, scores.opening),
                            (boxes.closings, scores.closings), result)
        graph.give(operator, both.behind(closing, tensor.shape), number)


def _real(graph: TfliteGraph, operator: Operator, number: int) -> TensorValue:
    """What input ``number`` holds, in real numbers on the host."""
    tensor, value = operator.input(number), graph.value(operator, number).closed()
    if tensor.type == "FLOAT32":
        return value
    graph.check_activation(operator, tensor)
    return value.behind(dequantised(tensor.meaning, operator.index, tensor.index), value.shape)


def _detector(operator: Operator, anchors: np.ndarray) -> Detector:
    """The parameters, which are a flexbuffer."""
    try:
        given: Any = flexbuffers.Loads(operator.custom)
        scales = [float(given[f"{name}_scale"]) for name in "yxhw"]
        y, x, height, width = scales
        numbers = [int(given[name]) for name in ("num_classes", "max_detections", "max_classes_per_detection")]
        thresholds = [float(given[f"nms_{name}_threshold"]) for name in ("score", "iou")]
        apart, of_class = bool(given.get("use_regular_nms", False)), int(given.get("detections_per_class", 100))
    except Exception:
        raise operator.error("has parameters that can't be read; export it again") from None
    if not all(isfinite(scale) and scale > 0 for scale in scales) or min(*numbers, of_class) < 1 \
            or not all(map(isfinite, thresholds)) or max(numbers) > 1 << 20 or anchors.shape[1:] != (4,):
        raise operator.error(f"has the scales {scales}, the thresholds {thresholds} and the numbers {numbers}, or "
                             f"anchors of the shape {list(anchors.shape)}, which make no sense")
    return Detector(anchors, (y, x, height, width), numbers[0], thresholds[0], thresholds[1], numbers[1], numbers[2],
                    apart, of_class)

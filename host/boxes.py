# SPDX-License-Identifier: Apache-2.0
"""What a detector has found in pictures, of the bytes that a device or the golden model gives."""

from dataclasses import dataclass, replace
from math import prod
from typing import Literal

import numpy as np
from tepal.quant import Network, NetworkError
from tepal.quant.answers import Answer
from tepal.quant.ops.detection import Detection, Detector

__all__ = ["Boxes", "Scores", "detector_of", "find_boxes"]

Scores = Literal["as-is", "sigmoid", "softmax"]
"""What makes scores, 0 to 1, of a model's numbers for classes."""


@dataclass(frozen=True, eq=False)
class Boxes:
    """In one picture, likeliest first.

    Parameters
    ----------
    corners
        float32 (boxes, 4): top, left, bottom and right as parts of the picture's height and width; they may lie
        outside of it.
    classes
        int64 (boxes,), without a background.
    scores
        float32 (boxes,).
    """

    corners: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


def detector_of(network: Network) -> Detector | None:
    """How the model file itself says that boxes are found; None if it does not."""
    return next((closing.detector for answer in network.answers for closing in answer.closings[-1:]
                 if isinstance(closing, Detection)), None)


def find_boxes(network: Network, results: np.ndarray, detector: Detector, scores: Scores = "as-is") -> list[Boxes]:
    """The boxes of each frame.

    Parameters
    ----------
    network
        A detector: its model file ends in TFLite_Detection_PostProcess, or it has one output of four numbers for each
        of ``detector.anchors`` and another one of the classes' numbers for each.
    results
        int8 (frames, ``network.result_bytes``).
    detector
        How to find them.
    scores
        What makes scores of the classes' numbers; a model file's own activation comes before that.

    Raises
    ------
    NetworkError
        The network has no such outputs.
    """
    boxes, numbers = _heads(network, results, detector)
    found = []
    for corners, classes, values, count in map(detector, boxes, _activated(numbers, scores)):
        each = len(values) // max(1, detector.detections)
        some = slice(0, count * max(1, each))
        found.append(Boxes(corners[some], classes[some].astype(np.int64), values[some]))
    return found


def _heads(network: Network, results: np.ndarray, detector: Detector) -> tuple[np.ndarray, np.ndarray]:
    """float32 (frames, anchors, 4) and (frames, anchors, numbers) before their scores are made."""
    for answer in network.answers:
        if answer.closings and isinstance(answer.closings[-1], Detection):
            closing = answer.closings[-1]
            boxes, scores = closing.inputs(_values(network, results, replace(answer, closings=answer.closings[:-1])))
            return boxes, scores
    count = len(detector.anchors)
    heads = [(answer, answer.shape[-1]) for answer in network.all_answers if prod(answer.shape[:-1]) == count]
    boxes = [answer for answer, numbers in heads if numbers == 4]
    others = [answer for answer, numbers in heads if answer not in boxes[:1]]
    if not boxes or len(others) != 1:
        given = ", ".join(f"{answer.name} {list(answer.shape)}" for answer in network.all_answers)
        raise NetworkError(f"{network.name}: {count} anchors need one output of {count} times 4 numbers and one of "
                           f"{count} times as many as there are classes; it has {given}")
    first, second = (_values(network, results, answer).reshape(len(results), count, -1)
                     for answer in (boxes[0], others[0]))
    return first, second


def _values(network: Network, results: np.ndarray, answer: Answer) -> np.ndarray:
    """What ``answer`` holds, real numbers where its meaning is known."""
    (values,) = replace(network, answers=(answer,)).answer(results)
    if answer.meaning is None or values.dtype.kind == "f":
        return values
    scale, zero_point = answer.meaning
    return np.float32(scale) * (values.astype(np.float32) - np.float32(zero_point))


def _activated(numbers: np.ndarray, scores: Scores) -> np.ndarray:
    with np.errstate(over="ignore"):
        if scores == "sigmoid":
            return 1 / (1 + np.exp(-numbers))
        if scores == "softmax":
            powers = np.exp(numbers - numbers.max(axis=-1, keepdims=True))
            return powers / powers.sum(axis=-1, keepdims=True)
    return numbers

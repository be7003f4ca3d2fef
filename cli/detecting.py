# SPDX-License-Identifier: Apache-2.0
"""Boxes of detectors on the command line: how they are found, told and drawn."""

from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from rich.markup import escape
from tepal.host.boxes import Boxes, detector_of, find_boxes
from tepal.host.drawing import draw_boxes
from tepal.quant import Network, NetworkError
from tepal.quant.ops.detection import Detector

from .arguments import path
from .console import out
from .tables import class_name

__all__ = ["Detecting", "add_arguments", "report"]

_SCALES = "10,10,5,5"
_SCORE, _OVERLAP, _MOST = 0.5, 0.5, 100


def add_arguments(parser: ArgumentParser, *, draw: bool = True) -> None:
    """How boxes are found in what a detector gives, and with ``draw``, where they are drawn."""
    group = parser.add_argument_group(
        "boxes", "Of a detector. A model that ends in TFLite_Detection_PostProcess says itself how its boxes are "
        "found; what is given here comes before that.")
    group.add_argument("--anchors", type=path, metavar="FILE.npy", help="of a detector that doesn't say it: an array "
                       "(boxes, 4) of y and x of the centre, height and width, as parts of the picture's")
    group.add_argument("--box-scales", metavar="Y,X,H,W", help="by what a box's four numbers are divided before they "
                       f"move and stretch its anchor (default: {_SCALES})")
    group.add_argument("--scores", choices=("as-is", "sigmoid", "softmax"), default="as-is",
                       help="what makes scores of the classes' numbers, if the model ends before that (default: as-is)")
    group.add_argument("--no-background", action="store_true", help="the first class is one like the others (default: "
                       "it is the background)")
    group.add_argument("--score", type=float, metavar="S", help=f"least score of a box (default: {_SCORE})")
    group.add_argument("--overlap", type=float, metavar="O", help="of boxes that overlap by more, intersection over "
                       f"union, only the likeliest stays (default: {_OVERLAP})")
    parser.set_defaults(draw=None)
    if draw:
        group.add_argument("--draw", type=path, metavar="OUT", help="write the picture with its boxes there; for a "
                           "folder of pictures a folder")


class Detecting:
    """What a command line says of boxes, for ``network``; ``detector`` is None if it isn't one.

    Raises
    ------
    NetworkError
        Something that is given makes no sense, or can't be read.
    """

    def __init__(self, arguments, network: Network):
        self.network, self.scores, self.draw = network, arguments.scores, arguments.draw
        self.detector = self._detector(arguments)
        if self.draw and self.detector is None:
            raise NetworkError(f"--draw: {network.name} is no detector that says how its boxes are found: give its "
                               "--anchors")

    def _detector(self, arguments) -> Detector | None:
        for name in ("score", "overlap"):
            if (value := getattr(arguments, name)) is not None and not 0 <= value <= 1:
                raise NetworkError(f"--{name} {value}: it must be 0 to 1")
        own = detector_of(self.network)
        if own is None and arguments.anchors is None:
            return None
        given = {}
        if arguments.box_scales or own is None:
            given["scales"] = _numbers(arguments.box_scales or _SCALES)
        if arguments.anchors is not None:
            given["anchors"] = _anchors(arguments.anchors)
        if arguments.score is not None or own is None:
            given["score_threshold"] = _SCORE if arguments.score is None else arguments.score
        if arguments.overlap is not None or own is None:
            given["overlap_threshold"] = _OVERLAP if arguments.overlap is None else arguments.overlap
        if own is not None:
            return replace(own, **given)
        return Detector(**given, classes=self._classes(len(given["anchors"])) - (not arguments.no_background),
                        detections=_MOST)

    def _classes(self, count: int) -> int:
        """Numbers for the classes of each of so many anchors."""
        numbers = [answer.shape[-1] for answer in self.network.all_answers
                   if np.prod(answer.shape[:-1], dtype=int) == count]
        if 4 in numbers:
            numbers.remove(4)
        # What else is wrong is told when boxes are looked for.
        return numbers[0] if numbers else 2

    def find(self, results: np.ndarray) -> list[Boxes]:
        """The boxes of each frame of int8 ``results`` (frames, ``network.result_bytes``)."""
        assert self.detector is not None
        return find_boxes(self.network, results, self.detector, self.scores)

    def tell(self, found: list[Boxes], names: list[str], files: list[str]) -> None:
        """A line for each box."""
        for number, boxes in enumerate(found):
            frame = f"{escape(files[number])}: " if files else f"image {number}: " if len(found) > 1 else ""
            if not len(boxes.scores):
                out.print(f"{frame}nothing found")
            for label, score, corners in zip(boxes.classes, boxes.scores, boxes.corners, strict=True):
                top, left, bottom, right = (f"{value:.1%}" for value in corners)
                out.print(f"{frame}[bold]{escape(class_name(names, label))}[/], with {score:.0%}, from {left} to "
                          f"{right} of the width and {top} to {bottom} of the height")

    def save(self, found: list[Boxes], names: list[str], pictures: list[Path], folder: bool) -> list[Path]:
        """Write the ``pictures`` with their boxes; the files that were written.

        Raises
        ------
        NetworkError
            There are no pictures, or a file can't be written.
        """
        if not pictures:
            raise NetworkError("--draw needs pictures: what is given is an array")
        written = []
        try:
            if folder:
                self.draw.mkdir(parents=True, exist_ok=True)
            for file, boxes in zip(pictures, found, strict=True):
                target = self.draw / f"{file.stem}.png" if folder else self.draw
                with Image.open(file) as picture:
                    labels = [f"{class_name(names, label)} {score:.0%}"
                              for label, score in zip(boxes.classes, boxes.scores, strict=True)]
                    draw_boxes(ImageOps.exif_transpose(picture), boxes.corners, boxes.classes.tolist(),
                               labels).save(target)
                written.append(target)
        except (OSError, ValueError) as error:
            raise NetworkError(f"{self.draw} can't be written ({getattr(error, 'strerror', None) or error})") from None
        return written


def report(found: list[Boxes]) -> list[list[dict]]:
    """What a command's JSON tells of the boxes of each frame."""
    return [[{"class": int(label), "score": float(score), "box": [float(value) for value in corners]}
             for label, score, corners in zip(boxes.classes, boxes.scores, boxes.corners, strict=True)]
            for boxes in found]


def _numbers(text: str) -> tuple[float, float, float, float]:
    try:
        y, x, height, width = (float(number) for number in text.split(","))
    except ValueError:
        raise NetworkError(f"--box-scales {text}: four numbers are needed, such as {_SCALES}") from None
    if not all(0 < number < float("inf") for number in (y, x, height, width)):
        raise NetworkError(f"--box-scales {text}: they must be above 0")
    return y, x, height, width


def _anchors(file: Path) -> np.ndarray:
    try:
        anchors = np.load(file, allow_pickle=False)
    except OSError as error:
        raise NetworkError(f"{file} can't be read ({error.strerror or error})") from None
    except Exception:
        # NumPy believes a damaged header, and then fails in many ways.
        raise NetworkError(f"{file} is no NumPy file of numbers (.npy), or a damaged one") from None
    if not isinstance(anchors, np.ndarray) or anchors.ndim != 2 or anchors.shape[1] != 4 \
            or anchors.dtype.kind not in "fiu" or not np.isfinite(anchors).all():
        raise NetworkError(f"{file}: anchors are an array (boxes, 4) of numbers, y and x of the centre, height and "
                           "width")
    return anchors.astype(np.float32)

# SPDX-License-Identifier: Apache-2.0
"""Boxes that a detector has found, drawn onto the picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["draw_boxes"]

_COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#008080", "#9a6324", "#808000")
"""One for each class, round and round."""


def draw_boxes(picture: Image.Image, boxes: np.ndarray, classes: Sequence[int], labels: Sequence[str]) -> Image.Image:
    """A copy of ``picture`` with a frame and a label around each of ``boxes``.

    Parameters
    ----------
    boxes
        (boxes, 4): top, left, bottom, right, each 0 to 1 of the picture's height or width; what lies outside of the
        picture is cut off.
    classes
        Of each box: those of one class have one colour.
    labels
        Of each box, what is written on it.
    """
    picture = picture.convert("RGB")
    draw, (width, height) = ImageDraw.Draw(picture), picture.size
    line = max(1, round(max(width, height) / 200))
    font = ImageFont.load_default(max(10, 6 * line))
    for box, number, label in zip(np.clip(boxes, 0, 1), classes, labels, strict=True):
        top, left, bottom, right = np.rint(box * (height - 1, width - 1, height - 1, width - 1)).tolist()
        if bottom < top or right < left:
            continue
        colour = _COLOURS[number % len(_COLOURS)]
        draw.rectangle((left, top, right, bottom), outline=colour, width=line)
        _, _, text_width, text_height = draw.textbbox((0, 0), label, font=font)
        # Above the box, or within it where there is no room above.
        over = top - text_height - line
        y = over if over >= 0 else top
        draw.rectangle((left, y, left + text_width + 2 * line, y + text_height + line), fill=colour)
        draw.text((left + line, y), label, fill="white", font=font)
    return picture

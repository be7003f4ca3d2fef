# SPDX-License-Identifier: Apache-2.0
"""Boxes on pictures."""

import numpy as np
import pytest
from PIL import Image
from tepal.host.drawing import draw_boxes

GREY = Image.new("RGB", (200, 100), (90, 90, 90))


def changed(picture: Image.Image) -> np.ndarray:
    """Which pixels aren't grey any more."""
    return (np.asarray(picture) != 90).any(axis=2)


def test_frame_and_label():
    drawn = changed(draw_boxes(GREY, np.array([[0.5, 0.25, 0.9, 0.75]]), [0], ["cat 90%"]))
    ys, xs = np.nonzero(drawn)
    assert (ys.max(), xs.min()) == (89, 50)
    assert xs.max() == 149
    assert ys.min() < 50
    # A frame, not an area.
    assert not drawn[60:80, 60:140].any()
    assert not changed(GREY).any()


def test_label_within_where_there_is_no_room_above():
    drawn = changed(draw_boxes(GREY, np.array([[0.0, 0.0, 1.0, 1.0]]), [1], ["dog"]))
    assert drawn[0, :].all()
    assert drawn[-1, :].all()
    assert drawn[:, 0].all()
    assert drawn[:, -1].all()
    assert drawn[3:9, 3:9].all()


@pytest.mark.parametrize("box", [[-1, -1, 2, 2], [0.4, 0.4, 0.4, 0.4]])
def test_any_box(box):
    assert changed(draw_boxes(GREY, np.array([box], float), [3], [""])).any()


def test_box_outside_out_or_reversed():
    assert not changed(draw_boxes(GREY, np.array([[0.9, 0.9, 0.1, 0.1]]), [0], ["x"])).any()
    assert not changed(draw_boxes(GREY, np.empty((0, 4)), [], [])).any()


def test_grey_pictures_become_colour():
    drawn = draw_boxes(Image.new("L", (50, 50), 90), np.array([[0.2, 0.2, 0.8, 0.8]]), [2], ["x"])
    assert drawn.mode == "RGB"
    assert changed(drawn).any()


def test_classes_have_colours():
    boxes = np.array([[0.3, 0.1, 0.9, 0.4], [0.3, 0.6, 0.9, 0.9], [0.3, 0.45, 0.9, 0.55]])
    pixels = np.asarray(draw_boxes(GREY, boxes, [1, 2, 1], [""] * 3))
    bottom = 89
    assert (pixels[bottom, 60] == pixels[bottom, 100]).all()
    assert (pixels[bottom, 60] != pixels[bottom, 150]).any()

# SPDX-License-Identifier: Apache-2.0
"""Boxes of a detector on the host: those that the model file's own search finds, and those by given anchors."""

from dataclasses import replace

import numpy as np
import pytest
from detectors import PARAMETERS, anchors_of, detector
from tepal.host.boxes import detector_of, find_boxes
from tepal.quant import NetworkError, read_tflite
from tepal.quant.ops.detection import Detector
from tepal.sim import golden
from tflite_writer import Chain


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """The same heads with the search for boxes behind them, and without."""
    folder = tmp_path_factory.mktemp("detectors")
    for name, search in (("whole", True), ("heads", False)):
        (folder / f"{name}.tflite").write_bytes(detector(Chain, 0, True, search=search)[0])
    return [read_tflite(folder / f"{name}.tflite") for name in ("whole", "heads")]


@pytest.fixture(scope="module")
def results(networks):
    images = np.random.default_rng(0).integers(-128, 128, (3, 6, 6, 3), np.int8)
    return golden.run(networks[0], images)


OURS = Detector(anchors_of(0), (10.0, 10.0, 5.0, 5.0), 3, PARAMETERS["nms_score_threshold"],
                PARAMETERS["nms_iou_threshold"], PARAMETERS["max_detections"])


def test_own_search(networks, results):
    """What the model file's outputs hold, without the empty places behind."""
    whole, _ = networks
    own = detector_of(whole)
    assert own is not None
    boxes, classes, scores, counts = whole.answer(results)
    for number, found in enumerate(find_boxes(whole, results, own)):
        count = int(counts[number])
        assert 0 < count == len(found.scores)
        assert np.array_equal(found.corners, boxes[number][:count])
        assert np.array_equal(found.classes, classes[number][:count])
        assert np.array_equal(found.scores, scores[number][:count])


def test_given_anchors(networks, results):
    """The same boxes, from a file that ends before the search."""
    whole, heads = networks
    assert detector_of(heads) is None
    for one, other in zip(find_boxes(whole, results, OURS), find_boxes(heads, results, OURS), strict=True):
        assert np.array_equal(one.corners, other.corners)
        assert np.array_equal(one.classes, other.classes)
        assert np.array_equal(one.scores, other.scores)


def test_least_score(networks, results):
    """A higher one leaves fewer boxes, all of them at least as likely."""
    _, heads = networks
    few, many = (find_boxes(heads, results, replace(OURS, score_threshold=least, overlap_threshold=1.0, detections=45))
                 for least in (0.9, 0.3))
    assert sum(len(each.scores) for each in few) < sum(len(each.scores) for each in many)
    assert all((each.scores >= 0.9).all() for each in few)


@pytest.mark.parametrize("scores", ["sigmoid", "softmax"])
def test_scores_are_made(networks, results, scores):
    _, heads = networks
    for found in find_boxes(heads, results, replace(OURS, score_threshold=0.0), scores):
        assert ((found.scores > 0) & (found.scores < 1)).all()
        assert (np.diff(found.scores) <= 0).all()


def test_other_anchors_than_the_network_has(networks, results):
    with pytest.raises(NetworkError, match=r"44 anchors need one output of 44 times 4 numbers and one of 44 times as "
                                           r"many as there are classes; it has .*\[45, 4\]"):
        find_boxes(networks[1], results, replace(OURS, anchors=anchors_of(0)[:44]))

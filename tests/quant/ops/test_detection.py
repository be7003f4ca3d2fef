# SPDX-License-Identifier: Apache-2.0
"""Boxes of a detector: what LiteRT's TFLite_Detection_PostProcess finds, within the error of float32."""

import numpy as np
import pytest
from detectors import PARAMETERS, detector
from flatbuffers import flexbuffers
from litert import reference
from tepal.quant import NetworkError
from tepal.quant.ops.detection import Detector
from tepal.sim import golden
from tflite_writer import Chain, Uint8Chain


@pytest.mark.parametrize("kind", [Chain, Uint8Chain])
@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("changes", [
    {}, {"nms_iou_threshold": 0.1}, {"max_detections": 3}, {"max_classes_per_detection": 2},
    {"use_regular_nms": True}, {"use_regular_nms": True, "detections_per_class": 2, "max_detections": 5},
    {"num_classes": 4}, {"nms_score_threshold": 0.99}])
def test_boxes_are_those_of_litert(read, kind, floats, changes):
    if kind is Chain and not floats:
        pytest.skip("LiteRT takes boxes as uint8 or float32")
    for seed in range(6):
        content, _ = detector(kind, seed, floats, **changes)
        network = read(content)
        images = np.random.default_rng(seed).integers(-128, 128, (3, 6, 6, 3), dtype=np.int8)
        given = images.view(np.uint8) ^ 128 if kind is Uint8Chain else images
        tensors = reference(content, given, raw=True)
        # The last four tensors are the results; LiteRT's arrays are as long as what it found.
        expected = [tensors[number] for number in sorted(tensors)[-4:]]
        boxes, classes, scores, counts = network.answer(golden.run(network, images))
        for frame in range(3):
            count = int(expected[3].reshape(3, -1)[frame, 0])
            assert counts[frame] == count
            each = 1 if changes.get("use_regular_nms") else changes.get("max_classes_per_detection", 1)
            for made, wanted in ((boxes, expected[0]), (scores, expected[2])):
                np.testing.assert_allclose(made[frame][:count * each], wanted[frame][:count * each], rtol=1e-5,
                                           atol=1e-5)
            # LiteRT leaves it open in which order the classes of a box come that are as likely.
            ours, theirs = (np.sort(given[frame][:count * each].reshape(count, each), axis=1)
                            for given in (classes, expected[1]))
            alike = np.diff(scores[frame][:count * each].reshape(count, each), axis=1).all(axis=1)
            assert np.array_equal(ours[alike], theirs[alike])


def test_an_overlap_goes_and_an_empty_box_stays():
    finder = Detector(np.tile([0.5, 0.5, 1, 1], (4, 1)), (1, 1, 1, 1), 1, 0.1, 0.5, 4)
    boxes = np.zeros((4, 4), np.float32)
    boxes[1, 0], boxes[2, 0], boxes[3, 2] = 0.1, 0.9, -200
    corners, classes, scores, count = finder(boxes, np.float32([[0.9], [0.8], [0.7], [0.05]]))
    assert count == 2
    assert scores.tolist() == [np.float32(0.9), np.float32(0.7), 0, 0]
    assert classes.tolist() == [0, 0, 0, 0]
    assert np.allclose(corners[:2], [[0, 0, 1, 1], [0.9, 0, 1.9, 1]])


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"x_scale": 0.0}, "has the scales .*, which make no sense"),
    ({"num_classes": 2}, r"reads boxes of the shape \[1, 45, 4\] and scores of \[1, 45, 4\] for 45 anchors and 2 "),
    ({"detections_per_class": 0}, "which make no sense"),
    ({"nms_iou_threshold": float("nan")}, "which make no sense")])
def test_parameters_that_make_no_sense(read, changes, sentence):
    content, _ = detector(Chain, 0, True, **changes)
    with pytest.raises(NetworkError, match=sentence):
        read(content)


def test_parameters_that_are_none(read):
    content, _ = detector(Chain, 0, True)
    packed = bytes(flexbuffers.Dumps(PARAMETERS))
    assert packed in content
    with pytest.raises(NetworkError, match=r"\(TFLite_Detection_PostProcess\) has parameters that can't be read"):
        read(content.replace(packed, bytes(len(packed))))

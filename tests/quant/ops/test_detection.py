# SPDX-License-Identifier: Apache-2.0
"""Boxes of a detector: what LiteRT's TFLite_Detection_PostProcess finds, within the error of float32."""

import numpy as np
import pytest
from flatbuffers import flexbuffers
from litert import reference
from tepal.quant import NetworkError
from tepal.quant.ops.detection import Detector
from tepal.sim import golden
from tflite_writer import Chain, Operator, Tensor, Uint8Chain, write

PARAMETERS = {"max_detections": 10, "max_classes_per_detection": 1, "detections_per_class": 4, "use_regular_nms": False,
              "nms_score_threshold": 0.3, "nms_iou_threshold": 0.5, "num_classes": 3, "y_scale": 10.0, "x_scale": 10.0,
              "h_scale": 5.0, "w_scale": 5.0}


def detector(kind: type[Chain], seed: int, floats: bool, **changes) -> tuple[bytes, list[Tensor]]:
    """Two heads, their maps put together as boxes and scores, LOGISTIC, and the search for boxes."""
    random = np.random.default_rng(seed)
    offset = 128 if kind is Uint8Chain else 0
    parameters = PARAMETERS | changes
    chain = kind(6, 6, 3, scale=0.05, zero_point=3 + offset)
    joined = []
    for values, scale in ((4, 0.5), (4, 0.15)):
        parts = []
        for stride in ((1, 1), (2, 2)):
            chain.tensor = chain.input
            chain.convolution(random.integers(-128, 128, (values, 3, 3, 3)) + offset, np.zeros(values), stride=stride,
                              weight_scale=0.02, scale=scale, zero_point=-9 + offset)
            parts.append(chain.reshape(1, int(np.prod(chain.tensor.shape)) // values, values).tensor)
        chain.tensor = parts[0]
        chain.append("CONCATENATION", (1, 45, values), parts[1], Axis=1)
        joined.append(chain.tensor)
    joined[1] = chain.append("LOGISTIC", (1, 45, 4), scale=1 / 256, zero_point=-128 + offset).tensor
    if floats:
        real = [Tensor(tensor.shape, "FLOAT32") for tensor in joined]
        chain.operators += [Operator("DEQUANTIZE", [tensor], [made]) for tensor, made in zip(joined, real, strict=True)]
        joined = real
    anchors = np.concatenate([random.uniform(0, 1, (45, 2)), random.uniform(0.1, 0.5, (45, 2))], axis=1)
    given = Tensor((45, 4), "FLOAT32", data=anchors) if floats else \
        Tensor((45, 4), "UINT8", scale=1 / 128, data=np.rint(anchors * 128))
    slots = parameters["max_detections"] * (1 if parameters["use_regular_nms"] else
                                            parameters["max_classes_per_detection"])
    results = [Tensor(shape, "FLOAT32") for shape in ((1, slots, 4), (1, slots), (1, slots), (1,))]
    chain.operators.append(Operator("CUSTOM", [*joined, given], results,
                                    custom="TFLite_Detection_PostProcess",
                                    custom_options=bytes(flexbuffers.Dumps(parameters))))
    return write(chain.operators, [chain.input], results), results


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

# SPDX-License-Identifier: Apache-2.0
"""What a float model answers with survives quantising and the export: names, order, shapes, and what comes at the end.

The oracles are LiteRT and ONNX Runtime on the float model; int8 takes its own error off them."""

import numpy as np
import onnx
import pytest
from flatbuffers import flexbuffers
from litert import reference
from onnx_models import Graph, quantised, run
from tepal.quant import SSD, MobileNet, quantize, read_onnx, write_onnx
from tepal.quant.answers import Answer, Arranged, Dequantised, Tabled
from tepal.sim import golden
from tflite_writer import FloatChain, Operator, Tensor, write


def heads(chain: FloatChain, random: np.random.Generator, values: int) -> Tensor:
    """``values`` numbers for each of 45 boxes of two maps, put together."""
    parts = []
    for stride in ((1, 1), (2, 2)):
        chain.tensor = chain.input
        chain.convolution(random.normal(0, 0.3, (values, 3, 3, 3)), random.normal(size=values), stride=stride)
        parts.append(chain.reshape(1, int(np.prod(chain.tensor.shape)) // values, values).tensor)
    chain.tensor = parts[0]
    return chain.append("CONCATENATION", (1, 45, values), parts[1], Axis=1).tensor


def detector(ending: str) -> bytes:
    """A float detector that ends in boxes and, first, the scores that ``ending`` makes."""
    random, chain = np.random.default_rng(0), FloatChain(6, 6, 3)
    boxes, scores = heads(chain, random, 4), heads(chain, random, 3)
    if ending == "SOFTMAX":
        scores = chain.append("SOFTMAX", scores.shape, Beta=0.5).tensor
    elif ending == "ARG_MAX":
        operator = Operator("ARG_MAX", [scores, Tensor((1,), "INT32", data=[2])], [Tensor((1, 45), "INT64")],
                            dict(OutputType=4))
        chain.operators.append(operator)
        (scores,) = operator.outputs
    else:
        scores = chain.append("LOGISTIC", scores.shape).tensor
    if ending != "boxes":
        return write(chain.operators, [chain.input], [scores, boxes])
    anchors = np.concatenate([random.uniform(0, 1, (45, 2)), random.uniform(0.1, 0.5, (45, 2))], axis=1)
    results = [Tensor(shape, "FLOAT32") for shape in ((1, 10, 4), (1, 10), (1, 10), (1,))]
    parameters = {"max_detections": 10, "max_classes_per_detection": 1, "nms_score_threshold": 0.3,
                  "nms_iou_threshold": 0.5, "num_classes": 3, "y_scale": 10.0, "x_scale": 10.0, "h_scale": 5.0,
                  "w_scale": 5.0}
    chain.operators.append(Operator(
        "CUSTOM", [boxes, scores, Tensor((45, 4), "FLOAT32", data=anchors)], results,
        custom="TFLite_Detection_PostProcess", custom_options=bytes(flexbuffers.Dumps(parameters))))
    return write(chain.operators, [chain.input], results)


@pytest.mark.parametrize("ending", ["LOGISTIC", "SOFTMAX", "ARG_MAX"])
def test_heads_of_a_float_tflite_file(read, ending):
    content = detector(ending)
    network, images = read(content), np.random.default_rng(1).normal(size=(8, 6, 6, 3)).astype(np.float32)
    tensors = reference(content, images)
    answers = network.answer(network.run(images))
    shapes = [(45,) if ending == "ARG_MAX" else (45, 3), (45, 4)]
    integer = quantize(network, images).network
    results = integer.answer(golden.run(integer, integer.quantise_input(images)))
    for made, rough, shape in zip(answers, results, shapes, strict=True):
        wanted = next(tensor for tensor in reversed(tensors.values())
                      if tensor.shape[1:] == shape and np.allclose(tensor, made, atol=1e-4))
        assert (made.shape, rough.shape) == (wanted.shape, wanted.shape)
        if wanted.dtype == np.int64:
            assert (rough == wanted).mean() > 0.9
        else:
            assert rough.dtype == np.float32
            assert np.abs(rough - wanted).max() <= 0.05 * np.abs(wanted).max()
    # The two maps of a head have scales of their own.
    assert [type(answer.closings[0]) for answer in integer.answers] == [Dequantised, Dequantised]


def test_the_boxes_of_a_float_detector(read):
    content = detector("boxes")
    network, images = read(content), np.random.default_rng(1).normal(size=(4, 6, 6, 3)).astype(np.float32)
    tensors = reference(content, images)
    wanted = [tensors[number] for number in sorted(tensors)[-4:]]
    answers = network.answer(network.run(images))
    integer = quantize(network, images).network
    rough = integer.answer(golden.run(integer, integer.quantise_input(images)))
    for frame in range(4):
        count = int(answers[3][frame])
        assert count == wanted[3].reshape(4, -1)[frame, 0] > 0
        for made, expected in zip(answers[:3], wanted, strict=False):
            assert np.allclose(made[frame][:count], expected[frame][:count], atol=1e-4)
        assert rough[2][frame, 0] == pytest.approx(answers[2][frame, 0], abs=0.02)


def onnx_detector() -> Graph:
    """Scores of two maps after Sigmoid, boxes, the classes of each pixel, and probabilities, in an order of their
    own."""
    graph, parts = Graph("n", 3, 10, 9).convolution(4, 3, 3).add("Relu"), {2: [], 4: []}
    for _ in range(2):
        before = graph.value
        for values, found in parts.items():
            graph.convolution(2 * values, 4, 1).add("Transpose", perm=[0, 2, 3, 1])
            found.append(graph.add("Reshape", np.array([1, -1, values])).value)
            graph.value = before
        graph.convolution(4, 4, 3, strides=[2, 2]).add("Relu")
    pixels = graph.node("Softmax", graph.convolution(3, 4, 1).value, axis=1, output="pixels")
    graph.value = pixels
    vector = graph.node("Flatten", graph.node("GlobalAveragePool", before))
    graph.node("Softmax", graph.node("Gemm", vector, graph.constant(graph.weights(4, 5))), output="chances")
    graph.node("Sigmoid", graph.node("Concat", *parts[2], axis=1), output="scores")
    graph.node("Concat", *parts[4], axis=1, output="boxes")
    graph.outputs = ["pixels", "scores", "boxes", "chances"]
    return graph


def test_outputs_of_an_onnx_file(tmp_path):
    graph = onnx_detector()
    (tmp_path / "float.onnx").write_bytes(graph.bytes())
    network = read_onnx(tmp_path / "float.onnx")
    batch = np.random.default_rng(0).normal(size=(6, 3, 10, 9)).astype(np.float32)
    expected, images = run(graph.bytes(), batch), network.images(batch)
    for made, wanted in zip(network.answer(network.run(images)), expected, strict=True):
        assert made.shape == wanted.shape
        assert np.abs(made - wanted).max() <= 1e-5 * np.abs(wanted).max()
    integer = quantize(network, images).network
    results = integer.answer(golden.run(integer, integer.quantise_input(images)))
    write_onnx(integer, tmp_path / "integer.onnx")
    exported = run((tmp_path / "integer.onnx").read_bytes(), batch)
    again = read_onnx(tmp_path / "integer.onnx")
    repeated = again.answer(golden.run(again, again.quantise_input(images)))
    for answer, made, wanted, written, back in zip(integer.answers, results, expected, exported, repeated, strict=True):
        scale, zero_point = answer.meaning or (1, 0)
        real = np.float32(scale) * (made.astype(np.float32) - zero_point)
        assert made.shape == wanted.shape == written.shape
        assert np.abs(real - wanted).max() <= 0.06 * np.abs(wanted).max(), answer.name
        assert np.abs(real - written).max() <= 0.06 * np.abs(wanted).max(), answer.name
        assert np.array_equal(back, made), answer.name
    names = [value.name for value in onnx.load(tmp_path / "integer.onnx").graph.output]
    assert names == [answer.name for answer in again.answers] == ["pixels", "scores", "boxes", "chances"]
    # As ONNX Runtime quantises it.
    quantised(graph, tmp_path, batch)
    other = read_onnx(tmp_path / "quantised.onnx")
    wanted = run((tmp_path / "quantised.onnx").read_bytes(), batch)
    for answer, made, real in zip(other.answers, other.answer(golden.run(other, other.quantise_input(images))), wanted,
                                  strict=True):
        scale, zero_point = answer.meaning or (1, 0)
        assert np.abs(np.float32(scale) * (made.astype(np.float32) - zero_point) - real).max() <= \
            0.06 * np.abs(real).max(), answer.name


def test_the_familys_detector_answers_with_boxes_and_classes():
    architecture = SSD(MobileNet(0.25, 64), classes=3, maps=3)
    network, count = architecture.float_network(), len(architecture.anchors)
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype(np.float32)
    run_of_all = network.run(images)
    boxes, classes = network.answer(run_of_all)
    assert (boxes.shape, classes.shape) == ((2, count, 4), (2, count, 3))
    # Map by map, pixel by pixel: boxes and classes of a map stand one behind the other in the results.
    first = 3 * architecture.sizes[0]**2
    assert np.array_equal(boxes[:, :first].ravel(), run_of_all[:, :4 * first].ravel())
    assert np.array_equal(classes[:, :first].ravel(), run_of_all[:, 4 * first:7 * first].ravel())
    integer = architecture.network()
    made = integer.answer(np.zeros((1, integer.result_bytes), np.int8))
    assert [answer.name for answer in integer.answers] == ["boxes", "classes"]
    assert [values.shape for values in made] == [(1, count, 4), (1, count, 3)]


def test_parts_of_one_meaning_stay_integers():
    order = np.array([3, 2, 1, 0])
    answer = Answer("both", (1, 0), (4,), (Arranged(0, -1, (2, 2), order),))
    values = [np.int8([[1, 2]]), np.int8([[3, 4]])]
    alike = answer.quantised([(0.5, 3), (0.5, 3)], [(1, 1, 2), (1, 1, 2)])
    assert (alike.meaning, alike(values).tolist(), alike(values).dtype) == ((0.5, 3), [[[2, 1], [4, 3]]], np.int8)
    apart = answer.quantised([(0.5, 3), (2.0, 0)], [(1, 1, 2), (1, 1, 2)])
    assert (apart.meaning, apart(values).tolist()) == (None, [[[-0.5, -1], [8, 6]]])
    table = Tabled(0, -1, np.arange(256, dtype=np.uint8), "uint8", (0.5, 3), (0.5, 131))
    assert table(np.int8([-128, 127])).tolist() == [0, 255]

# SPDX-License-Identifier: Apache-2.0
"""All that stands in the way of a model is told in one sentence: counted, grouped, with the way out of each."""

import re

import numpy as np
import onnx
import pytest
import tflite
from onnx_models import Graph
from tepal.quant import NetworkError, read_model
from tepal.quant.files import obstacles
from tepal.quant.files.obstacles import Obstacle, check_operators, refuse
from tepal.quant.ops.registry import ONNX, TFLITE
from tflite_writer import Chain, FloatChain, Operator, Tensor, write


@pytest.fixture
def told(tmp_path):
    """What is said of a model that is refused, without its path."""
    def told(model) -> str:
        path = tmp_path / ("model.onnx" if isinstance(model, Graph) else "model.tflite")
        path.write_bytes(model.bytes() if isinstance(model, Graph) else model if isinstance(model, bytes)
                         else model.write())
        with pytest.raises(NetworkError) as caught:
            read_model(path)
        return str(caught.value).removeprefix(f"{path}: ")
    return told


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-99, 99, shape)


def conv(chain: Chain, **how) -> Chain:
    channels = chain.tensor.shape[-1]
    return chain.convolution(weights(channels, 3, 3, channels), np.zeros(channels), **how)


BRANCHES = "several maps at once, or parts of one: add maps two by two, and give each part a layer of its own"
ENDS = "; 'tepal ops' lists those that are"


# ---- operators ----


def unsupported(chain: Chain) -> bytes:
    """Branches, rearranged pixels, other activations, an operator that nothing is known about."""
    conv(chain)
    for _ in range(2):
        before = chain.tensor
        conv(chain)
        chain.append("ADD_N", before.shape, before)
        chain.append("SPACE_TO_DEPTH", before.shape)
    chain.append("ELU", chain.tensor.shape).append("GELU", chain.tensor.shape)
    chain.append("ROUND", chain.tensor.shape)
    chain.append("POW", chain.tensor.shape, Tensor((1,), chain.TYPE, scale=1, data=[2]))
    return chain.write()


@pytest.mark.parametrize("kind", [Chain, FloatChain])
def test_all_operators_of_a_tflite_file_at_once(told, kind):
    assert told(unsupported(kind(8, 8, 2))) == (
        f"has operators that are not supported: 2 ADD_N ({BRANCHES}), 2 SPACE_TO_DEPTH (larger maps and other "
        "arrangements of pixels: end the model before it), 1 ELU and 1 GELU (activations other than ReLU: "
        "train the model with ReLU or ReLU6), 1 POW (arithmetic on the images or the results: leave it to the host, "
        f"or fold it into the layer before it), 1 ROUND{ENDS}")


def onnx_unsupported(quantised: bool) -> Graph:
    graph = Graph("n", 2, 8, 8)
    meaning = (np.float32(0.1), np.int8(0))
    if quantised:
        graph.add("QuantizeLinear", *meaning).add("DequantizeLinear", *meaning)
    graph.convolution(2, 2, 3, pads=[1] * 4)
    for _ in range(3):
        before = graph.value
        graph.convolution(2, 2, 3, pads=[1] * 4).add("HardSwish").add("Add", before)
    graph.add("Resize", "", np.array([1, 1, 2, 2], np.float32)).add("Mul", graph.node("Exp", np.ones(1, np.float32)))
    return graph.add("Sigmoid").add("Hardmax").add("Div", np.float32(2))


@pytest.mark.parametrize("quantised", [False, True])
def test_all_operators_of_an_onnx_file_at_once(told, quantised):
    assert told(onnx_unsupported(quantised)) == (
        "has operators that are not supported: 1 Resize (larger maps and other arrangements of pixels: end the model "
        f"before it), 1 Exp (on constants: let the exporter or onnxsim fold them), 1 Hardmax{ENDS}")


def test_shapes_worked_out_wrongly(told):
    chain = conv(Chain(4, 4, 2))
    shape, part = (Tensor((size,), "INT32") for size in (4, 1))
    chain.operators += [Operator("SHAPE", [chain.tensor], [shape]),
                        Operator("STRIDED_SLICE", [shape, Tensor((1,), "INT32", data=[0])], [part])]
    assert told(write(chain.operators, [chain.input], [chain.tensor])) == (
        "operator 2 (STRIDED_SLICE) can't be computed of its constants: their shapes or types don't fit")
    # Of anything but shapes and constants they cut maps.
    cut = [Tensor((4,), "INT32", data=[1] * 4) for _ in range(3)]
    assert told(conv(Chain(4, 4, 2)).append("STRIDED_SLICE", (1, 2, 4, 2), *cut)) == (
        "operator 1 (STRIDED_SLICE) works on a feature map; only on shapes and constants is it supported")


def test_what_holds_for_the_whole_model_goes_first():
    """The operators that come with dynamic quantisation are not told one by one."""
    with pytest.raises(NetworkError, match=r"supported: 1 ConvInteger \(quantised dynamically: [^;]*\); 'tepal ops'"):
        check_operators([("Cast", ""), ("ConvInteger", obstacles.BRANCHES), ("Sigmoid", "")])


def test_a_model_of_very_many_operators_is_told_in_one_sentence():
    with pytest.raises(NetworkError, match=r"1 custom29, 70 other kinds; 'tepal ops'"):
        check_operators((f"custom{number}", "") for number in range(100))
    check_operators([])


def test_flex():
    with pytest.raises(NetworkError, match=r"2 FlexErf \(TensorFlow's own operators: convert with supported_ops of "):
        check_operators([("FlexErf", "")] * 2)


def test_no_way_out_is_told_for_what_is_taken():
    assert not set(obstacles._WAY_OUT) & {*ONNX, *(name for name, known in TFLITE.items() if known.only is None)}


def test_the_names_are_those_of_the_formats():
    """Of the operators that a way out is known for, but for ONNX Runtime's own."""
    known = set(vars(tflite.BuiltinOperator)) | {schema.name for schema in onnx.defs.get_all_schemas()}
    unknown = {name for name in obstacles._WAY_OUT if not name.startswith("com.microsoft.")} - known
    assert not unknown


# ---- supported operators, used in another way ----


@pytest.mark.parametrize("kind", [Chain, FloatChain])
def test_all_obstacles_of_a_tflite_file_at_once(told, kind):
    chain = kind(12, 12, 4)
    for number in range(4):
        conv(chain)
        chain.operators[number].options["FusedActivationFunction"] = "TANH" if number % 2 else "NONE"
    chain.average_pool((3, 3), padding="SAME")
    assert told(chain) == (
        "operator 1 (CONV_2D) has the fused activation TANH; supported are NONE, RELU, RELU6 and RELU_N1_TO_1 (the "
        "same of operator 3); operator 4 (AVERAGE_POOL_2D) averages over padding; only windows wholly inside the map "
        "are supported")


@pytest.mark.parametrize("quantised", [False, True])
def test_all_pools_with_padding_of_an_onnx_file_at_once(told, quantised):
    graph, meaning = Graph("n", 4, 16, 16), (np.float32(0.1), np.int8(0))
    for _ in range(3):
        if quantised:
            graph.add("QuantizeLinear", *meaning).add("DequantizeLinear", *meaning)
        graph.add("AveragePool", kernel_shape=[3, 3], pads=[1] * 4)
    graph.add("MaxPool", kernel_shape=[2, 2], dilations=[2, 2])
    if quantised:
        graph.add("QuantizeLinear", *meaning).add("DequantizeLinear", *meaning)
    first, second, third, last = (2, 5, 8, 9) if quantised else (0, 1, 2, 3)
    assert told(graph) == (
        f"node {first} (AveragePool, averagepool{first}) averages over padding; only windows wholly inside the map are "
        f"supported (the same of nodes {second} and {third}); node {last} (MaxPool, maxpool{last}) is dilated; only a "
        "dilation of 1 is supported")


def test_a_relu_behind_a_convolution_that_was_passed_over(told):
    chain = FloatChain(9, 9, 2)
    for number in range(0, 4, 2):
        conv(chain).activation("RELU")
        chain.operators[number].options["FusedActivationFunction"] = "TANH"
    assert told(chain) == ("operator 0 (CONV_2D) has the fused activation TANH; supported are NONE, RELU, RELU6 and "
                           "RELU_N1_TO_1 (the same of operator 2)")


def test_obstacles_that_are_alike_are_told_once():
    refuse([])
    with pytest.raises(NetworkError) as caught:
        refuse([Obstacle("node", number, f"node {number} (A)", "is odd" if number % 2 else "is even")
                for number in range(6)])
    assert str(caught.value) == ("node 0 (A) is even (the same of nodes 2 and 4); node 1 (A) is odd (the same of "
                                 "nodes 3 "
                                 "and 5)")
    with pytest.raises(NetworkError, match=r"\(the same of nodes 1, 2, .*, 30 and others\)$"):
        refuse([Obstacle("node", number, f"node {number}", "is so") for number in range(90)])
    with pytest.raises(NetworkError, match=r"; node 29 29; 60 other obstacles$"):
        refuse([Obstacle("node", number, f"node {number}", f"{number}") for number in range(90)])


# ---- decodable, but wrong ----


def bad(operator: str, *inputs, **attributes) -> Graph:
    """Behind a convolution, which gives [1, 2, 6, 6]."""
    return Graph("n", 3, 8, 8).convolution(2, 3, 3).add(operator, *inputs, **attributes)


def stripped(operator: str, *inputs, keep: int) -> Graph:
    graph = bad(operator, *inputs)
    del graph.nodes[-1].input[keep:]
    return graph


def no_opset() -> bytes:
    model = bad("Relu").model()
    del model.opset_import[:]
    return model.SerializeToString()


def not_text() -> bytes:
    return bad("Relu", output="relux").bytes().replace(b"relux", b"rel\xff\xfe")


KERNEL = np.ones((2, 2, 1, 1), np.float32)
STATISTICS = [np.ones(2, np.float32)] * 4
WRONG = {
    "text for an integer": (bad("Conv", KERNEL, group="two"),
                            "node 1 (Conv, conv1) has a text as its attribute group; an integer is needed"),
    "number for an integer": (bad("Conv", KERNEL, group=1.5), "has a number as its attribute group; an integer is "
                                                              "needed"),
    "integer for a list": (bad("Conv", KERNEL, strides=2),
                           "has an integer as its attribute strides; a list of integers is needed"),
    "numbers for integers": (bad("Conv", KERNEL, pads=[0.5] * 4),
                             "has a list of numbers as its attribute pads; a list of integers is needed"),
    "integer for a text": (bad("Conv", KERNEL, auto_pad=1), "has an integer as its attribute auto_pad; a text is "
                                                            "needed"),
    "text for a number": (bad("BatchNormalization", *STATISTICS, epsilon="tiny"),
                          "has a text as its attribute epsilon; a number is needed"),
    "of an older version": (bad("Pad", np.zeros(8, np.int64), pads="text"), "has a text as its attribute pads; a list "
                                                                            "of integers is needed"),
    "of a newer version": (bad("QuantizeLinear", np.float32(1), output_dtype="int8"),
                           "has a text as its attribute output_dtype; an integer is needed"),
    "missing attribute": (bad("Cast"), "node 1 (Cast, cast1) has no attribute to"),
    "missing kernel": (bad("AveragePool"), "node 1 (AveragePool, averagepool1) has no attribute kernel_shape"),
    "no inputs": (stripped("Relu", keep=0), "node 1 (Relu, relu1) has 0 inputs; 1 are needed"),
    "too many inputs": (bad("Relu", np.ones(1)), "node 1 (Relu, relu1) has 2 inputs; 1 are needed"),
    "one input": (stripped("Conv", KERNEL, keep=1), "node 1 (Conv, conv1) has 1 inputs; 2 to 3 are needed"),
    "empty input": (bad("Conv", ""), "node 1 (Conv, conv1) has no constant weights"),
    "text for weights": (bad("Conv", np.array([[[["a"]]]], object)),
                         "node 1 (Conv, conv1) has object values for its weights; numbers of the usual types are "
                         "needed"),
    "statistics": (bad("BatchNormalization", *STATISTICS[:3], np.ones(3, np.float32)),
                   "has 2 factors, 2 offsets, 2 means and 3 variances; one of each is needed for each channel"),
    "axis of a mean": (bad("ReduceMean", axes=[2, 7]), "node 1 (ReduceMean, reducemean1) has the axis 7 for 4 "
                                                       "dimensions"),
    "axis of a softmax": (bad("Softmax", axis=-5), "node 1 (Softmax, softmax1) has the axis -5 for 4 dimensions"),
    "axes of a pad": (bad("Pad", np.array([1, 1]), "", np.array([4])), "has the axis 4 for 4 dimensions"),
    "amounts": (bad("Pad", np.zeros(8, np.float32)), "has 8 amounts of the type float32"),
    "zero points": (Graph("n", 2, 4, 4).add("Conv", "weights"), "reads weights, which no node before it gives"),
    "output type": (bad("QuantizeLinear", np.float32(1), output_dtype=16),
                    "has the output_dtype 16; quantise activations to int8 or uint8"),
    "permutation": (bad("Transpose", perm=[0, 1, 9, 2]),
                    "node 1 (Transpose, transpose1) has inputs and attributes (perm) that don't fit together"),
    "image type": (Graph("n", 3, 8, 8, kind=77).add("Relu"), "takes type 77 images"),
    "three dimensions": (Graph("n", 3, 8, 8, 8).add("Relu"),
                         "[n, 3, 8, 8, 8]; only [batch, channels, height, width], [batch, channels, "
                         "length] and [batch, values] are supported"),
    "no version": (no_opset(), "doesn't say which version of ONNX's operators it uses (opset_import)"),
    "not text": (not_text(), "is damaged (a name in its graph isn't text); export it again"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_can_be_decoded_is_not_called_damaged(tmp_path, name):
    content, sentence = WRONG[name]
    path = tmp_path / "model.onnx"
    path.write_bytes(content if isinstance(content, bytes) else content.bytes())
    with pytest.raises(NetworkError, match=re.escape(sentence)) as caught:
        read_model(path)
    assert "\n" not in str(caught.value)
    assert ("is damaged" in str(caught.value)) == (name == "not text")


def test_a_constant_with_zero_points_for_other_channels(tmp_path):
    graph = Graph("n", 2, 4, 4)
    graph.add("Conv", graph.node("DequantizeLinear", np.ones((3, 2, 1, 1), np.int8), np.ones(3, np.float32),
                                 np.zeros(2, np.int8), axis=0))
    (tmp_path / "model.onnx").write_bytes(graph.bytes())
    with pytest.raises(NetworkError, match=r"has zero points of the shape \[2\] for scales of \[3\]"):
        read_model(tmp_path / "model.onnx")


def test_tflite_tables_that_make_no_sense(told):
    def options(**changes) -> Chain:
        chain = conv(Chain(6, 6, 2))
        chain.operators[0].options |= changes
        return chain

    assert told(options(Padding=5)) == "operator 0 (CONV_2D) has the padding 5; there are SAME (0) and VALID (1)"
    assert told(conv(Chain(6, 6, 2)).mean(axes=(1, 6))) == "operator 1 (MEAN) has the axes [1, 6] for 4 dimensions"
    chain = conv(Chain(6, 6, 2))
    del chain.operators[0].inputs[1:]
    assert told(chain) == "operator 0 (CONV_2D) has no input 1"
    assert told(conv(Chain(6, 6, 2)).change(weights__shape=(2, 3, 3))).startswith(
        "operator 0 (CONV_2D) has weights of the shape [2, 3, 3]")
    # A table that points outside the file.
    content = bytearray(conv(Chain(6, 6, 2)).write())
    content[0:4] = (2**31).to_bytes(4, "little")
    assert told(bytes(content)) == "is damaged (its first table can't be read); export it again"

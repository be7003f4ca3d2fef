# SPDX-License-Identifier: Apache-2.0
"""What the importer takes, what it refuses and in which words."""

import time

import numpy as np
import pytest
from litert import reference
from models import require_case, require_model
from tepal.quant import (
    AveragePool,
    Convolution,
    Depthwise,
    Network,
    NetworkError,
    Padding,
    Rounding,
    read_tflite,
)
from tepal.sim import golden
from tflite_writer import Chain, Operator, Tensor, Uint8Chain, damaged, write


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(-128, 128, shape, dtype=np.int8)


def small() -> Chain:
    """A bit of everything."""
    return (Chain(9, 8, 3, zero_point=-7)
            .pad(1, 0, 0, 1)
            .convolution(weights(4, 3, 3, 3), np.arange(4), stride=(2, 2), weight_scale=[.01, .02, .03, .04],
                         activation="RELU6", scale=0.1, zero_point=-128)
            .depthwise(weights(3, 3, 4), np.arange(4), activation="RELU", zero_point=5)
            .average_pool((2, 2), stride=(2, 2))
            .mean(scale=0.02)
            .fully_connected(weights(5, 4), np.arange(5), scale=0.3)
            .softmax())


def conv(chain: Chain, **how) -> Chain:
    return chain.convolution(weights(2, 3, 3, chain.tensor.shape[-1]), np.zeros(2), **how)


# ---- what is taken ----


def test_layers_and_their_fields(read):
    network = read(small().write())
    assert [type(layer) for layer in network.layers] == [Convolution, Depthwise, AveragePool, AveragePool,
                                                         Convolution]
    first, depthwise, pool, mean, dense = network.layers
    assert network.name == "model"
    assert (network.input_shape, network.output_shape, network.result_bytes) == ((9, 8, 3), (1, 1, 5), 5)
    # PAD adds one row above and one column at the right, and SAME on 10x9 one row and one column each side
    # where needed.
    assert (first.index, first.padding) == (1, Padding(top=1, bottom=1, left=1, right=2))
    assert (first.stride, first.output_shape, first.input_zero_point) == ((2, 2), (5, 5, 4), -7)
    assert (first.requantise.minimum, first.requantise.maximum) == (-128, -128 + 60)
    assert (depthwise.requantise.minimum, depthwise.requantise.maximum) == (5, 127)
    assert (pool.window, pool.requantise.count) == ((2, 2), 4)
    assert mean.window == (2, 2)
    assert mean.bias.tolist() == [-4 * 5] * 4
    assert dense.weights.shape == (5, 1, 1, 4)
    assert dense.requantise.rounding is Rounding.SINGLE
    assert network.softmax.index == 6
    assert network.output_scale == np.float32(0.3)


def test_flattened_map_becomes_the_kernel_of_the_fully_connected_layer(read):
    (layer,) = read(Chain(4, 3, 2).reshape(1, 24).fully_connected(weights(5, 24)).write()).layers
    assert (layer.input_shape, layer.kernel) == ((4, 3, 2), (4, 3))
    assert np.array_equal(layer.weights.reshape(5, 24), weights(5, 24))


def test_a_reshape_at_the_start_gives_the_input_its_shape(read):
    network = read(conv(Chain(1, 1, 24).reshape(1, 4, 3, 2)).write())
    assert network.input_shape == (4, 3, 2)


def test_depth_multiplier_becomes_a_dense_convolution(read):
    (layer,) = read(Chain(6, 6, 1).depthwise(weights(3, 3, 8)).write()).layers
    assert isinstance(layer, Convolution)
    assert np.array_equal(layer.weights[..., 0], weights(3, 3, 8).transpose(2, 0, 1))
    (layer,) = read(Chain(6, 6, 2).depthwise(weights(3, 3, 6)).write()).layers
    assert layer.weights.shape == (6, 3, 3, 2)
    assert not layer.weights[:3, ..., 1].any()
    assert not layer.weights[3:, ..., 0].any()


def test_float_edges_are_skipped(read):
    chain = small()
    real = Tensor((1, 9, 8, 3), "FLOAT32")
    chain.operators.insert(0, Operator("QUANTIZE", [real], [chain.input]))
    result = Tensor((1, 5), "FLOAT32")
    chain.operators.append(Operator("DEQUANTIZE", [chain.tensor], [result]))
    network = read(write(chain.operators, [real], [result]))
    assert network.input_zero_point == -7
    assert len(network.layers) == 5


def test_padv2_with_the_zero_point(read):
    chain = Chain(4, 4, 1, zero_point=9).pad(1, 1, 1, 1)
    (pad,) = chain.operators
    pad.name = "PADV2"
    pad.inputs.append(Tensor((1,), scale=0.05, zero_point=9, data=[9]))
    (layer,) = read(conv(chain, padding="VALID").write()).layers
    assert layer.padding == Padding(1, 1, 1, 1)
    pad.inputs[2].data = [8]
    with pytest.raises(NetworkError, match=r"operator 0 \(PADV2\) pads with a value other than the zero"):
        read(chain.write())


def test_absent_bias(read):
    assert read(Chain(3, 3, 2).depthwise(weights(3, 3, 2)).write()).layers[0].bias.tolist() == [0, 0]


@pytest.mark.parametrize("codes_in", ["old", "zero", "new", "both"])
def test_operator_codes_of_old_and_new_converters(read, codes_in):
    """The larger of the deprecated byte and the field that replaced it is meant: the same bytes as LiteRT."""
    content = small().write(codes_in=codes_in)
    network = read(content)
    assert [type(layer) for layer in network.layers] == [Convolution, Depthwise, AveragePool, AveragePool, Convolution]
    equal_to_litert(read, content, np.random.default_rng(1).integers(-128, 128, (3, 9, 8, 3), dtype=np.int8))


@pytest.mark.parametrize(("codes_in", "name"), [
    ("new", "GELU"), ("both", "GELU"), ("old", "PLACEHOLDER_FOR_GREATER_OP_CODES"),
    ("new", "ELU"), ("both", "ELU"), ("old", "ELU")])
def test_operator_codes_that_a_byte_holds_and_that_it_does_not(read, codes_in, name):
    """GELU is 150, ELU is 111; 127 in the old field alone stands for no operator."""
    chain = small()
    chain.operators[1].name, chain.operators[1].options = "ELU" if name == "ELU" else "GELU", {}
    with pytest.raises(NetworkError, match=f"not supported: 1 {name}[ ;]"):
        read(chain.write(codes_in=codes_in))


@pytest.mark.model
def test_a_published_network_with_operator_codes_in_the_new_field_alone(read):
    content = require_case("tflite_new_opcodes_only.tflite").read_bytes()
    shape = read(content).input_shape
    images = np.random.default_rng(1).integers(-128, 128, (2, *shape), dtype=np.int8)
    assert len(equal_to_litert(read, content, images).layers) == 9


def test_layers_are_immutable(read):
    with pytest.raises(ValueError, match="read-only"):
        read(small().write()).layers[0].weights[0] = 0


def equal_to_litert(read, content: bytes, images: np.ndarray) -> Network:
    """The network, every layer of which gives LiteRT's bytes."""
    network, tensors = read(content), reference(content, images)
    for layer, result in zip(network.layers, golden.run(network, images, layers=True), strict=True):
        assert np.array_equal(result.ravel(), tensors[layer.tensor].ravel())
    return network


@pytest.mark.parametrize(("scale", "steps"), [("0x1.e6a74ap-4", 51), ("0x1.a8a3aap-6", 232), ("0x1.4c1baep-2", 19)])
def test_a_clamp_is_rounded_in_float32(read, scale, steps):
    """6 / scale is below the middle between two integers, and on it in float32."""
    chain = Chain(1, 1, 1).convolution(np.full((1, 1, 1, 1), 127), [0], weight_scale=1, activation="RELU6",
                                       scale=float.fromhex(scale), zero_point=-128)
    images = np.arange(-128, 128, dtype=np.int8).reshape(-1, 1, 1, 1)
    (layer,) = equal_to_litert(read, chain.write(), images).layers
    assert layer.requantise.maximum == steps - 128


@pytest.mark.parametrize("bias", [2048 - 128, -2048 + 128])
def test_sums_that_just_fit_their_left_shift(read, bias):
    """2,048 shifted to the left by 20 is 2**31: one more leaves int32."""
    def shifted(bias):
        return Chain(1, 1, 1).convolution(np.ones((1, 1, 1, 1)), [bias], weight_scale=1, scale=0.05 / 2**19,
                                          zero_point=5).write()

    images = np.arange(-128, 128, dtype=np.int8).reshape(-1, 1, 1, 1)
    (layer,) = equal_to_litert(read, shifted(bias), images).layers
    assert layer.requantise.shift == 20
    with pytest.raises(NetworkError, match=r"operator 0 \(CONV_2D\) can overflow its 32-bit accumulator in channel 0"):
        read(shifted(bias + int(np.sign(bias))))


def test_sums_so_wide_that_their_left_shift_leaves_64_bits(read):
    """More than 2**33, shifted to the left by 30."""
    channels = 270_000
    content = Chain(1, 1, channels, zero_point=127).convolution(np.full((1, 1, 1, channels), 127), [0], weight_scale=1,
                                                                scale=0.05 / 2**29).write()
    with pytest.raises(NetworkError, match=r"operator 0 \(CONV_2D\) can overflow its 32-bit accumulator in channel 0"):
        read(content)


@pytest.mark.parametrize(("zero_point", "fits"), [(0, True), (1, False), (-1, False)])
def test_means_that_just_fit_their_left_shift(read, zero_point, fits):
    """The mean of one value shifted to the left by 24."""
    content = Chain(1, 1, 1, zero_point=zero_point).mean(scale=0.05 / 2**23).write()
    if fits:
        images = np.arange(-128, 128, dtype=np.int8).reshape(-1, 1, 1, 1)
        (layer,) = equal_to_litert(read, content, images).layers
        assert layer.requantise.shift == 24
    else:
        with pytest.raises(NetworkError, match=r"operator 0 \(MEAN\) can overflow its 32-bit accumulator"):
            read(content)


# ---- graphs ----


@pytest.mark.parametrize("zero_point", [128, 121])
def test_uint8_ends(read, zero_point):
    """An image of uint8 is one of int8 with 128 less: with the zero point that much less, QUANTIZE does nothing."""
    chain = small()
    pixels, result = Tensor((1, 9, 8, 3), "UINT8", scale=0.05, zero_point=zero_point), Tensor((1, 5), "UINT8",
                                                                                               scale=1 / 256)
    chain.operators.insert(0, Operator("QUANTIZE", [pixels], [chain.input]))
    chain.operators.append(Operator("QUANTIZE", [chain.tensor], [result]))
    content = write(chain.operators, [pixels], [result])
    images = np.random.default_rng(1).integers(-128, 128, (3, 9, 8, 3), dtype=np.int8)
    network = equal_to_litert(read, content, images)
    assert network.input_zero_point == zero_point - 128
    assert len(network.layers) == (5 if zero_point == 121 else 6)


def test_several_outputs_in_the_order_of_execution_and_nothing_else(read):
    """Of what the model computes, only what its outputs depend on is left."""
    chain = conv(conv(Chain(4, 4, 2)))
    first, second = (operator.outputs[0] for operator in chain.operators)
    conv(chain)
    network = read(write(chain.operators, [chain.input], [second, first]))
    assert [layer.index for layer in network.layers] == [0, 1]
    assert network.outputs == (0, 1)
    network = read(write(chain.operators, [chain.input], [first]))
    assert ([layer.index for layer in network.layers], network.outputs) == ([0], ())


def test_two_layers_that_read_the_image(read):
    chain = conv(Chain(4, 4, 2))
    left = chain.tensor
    chain.tensor = chain.input
    conv(chain).append("ADD", (1, 4, 4, 2), left, scale=0.02, zero_point=3)
    images = np.random.default_rng(1).integers(-128, 128, (3, 4, 4, 2), dtype=np.int8)
    network = equal_to_litert(read, chain.write(), images)
    assert network.sources == ((-1,), (-1,), (1, 0))


@pytest.mark.parametrize("name", ["ADD", "SUB"])
@pytest.mark.parametrize("activation", ["NONE", "RELU", "RELU6", "RELU_N1_TO_1"])
def test_all_pairs_of_two_maps(read, name, activation):
    """Every pair of int8 values, at several scales: the input and its half through a table of one weight."""
    random = np.random.default_rng(1)
    pairs = np.stack(np.meshgrid(np.arange(-128, 128), np.arange(-128, 128)), axis=-1).astype(np.int8)
    for first, second, result in [(0.05, 0.05, 0.1), (0.0123, 0.7, 0.4), (0.3, 0.001, 0.05), (0.25, 0.5, 1.0)]:
        zero_points = random.integers(-128, 128, 3)
        chain = Chain(256, 256, 2, scale=1, zero_point=0)
        sides = []
        for side, (scale, zero_point) in enumerate(zip((first, second), zero_points[:2], strict=True)):
            # A pointwise convolution that picks one channel; its scale makes the codes those of the image.
            chain.tensor = chain.input
            chain.convolution(np.eye(2, dtype=np.int8)[side].reshape(1, 1, 1, 2), [zero_point], weight_scale=scale,
                              scale=scale, zero_point=zero_point)
            chain.operators[-1].inputs[2].data = [0]
            chain.operators[-1].outputs[0].zero_point = zero_point
            sides.append(chain.tensor)
        chain.tensor = sides[0]
        chain.append(name, (1, 256, 256, 1), sides[1], scale=result, zero_point=int(zero_points[2]),
                     FusedActivationFunction=activation)
        equal_to_litert(read, chain.write(), pairs[None])


@pytest.mark.parametrize("kind", ["flat", "transposed"])
def test_sums_of_values_in_one_order(read, kind):
    """A sum doesn't mind how its values lie, as long as both lie alike; FULLY_CONNECTED reads any order."""
    chain, sides = Chain(3, 4, 2), []
    for _ in range(2):
        chain.tensor = chain.input
        conv(chain)
        if kind == "flat":
            chain.reshape(1, 24)
        else:
            chain.append("TRANSPOSE", (1, 2, 3, 4), order(0, 3, 1, 2))
        sides.append(chain.tensor)
    chain.append("ADD", chain.tensor.shape, sides[0], scale=0.02)
    if kind == "transposed":
        chain.reshape(1, 24)
    chain.fully_connected(weights(5, 24), scale=0.7)
    images = np.random.default_rng(1).integers(-128, 128, (3, 3, 4, 2), dtype=np.int8)
    content = chain.write()
    network, tensors = read(content), reference(content, images)
    assert np.array_equal(golden.run(network, images), tensors[network.layers[-1].tensor])


def test_a_model_with_its_channels_first(read):
    """As exporters leave a PyTorch model: the image is transposed before the first convolution."""
    chain = conv(Chain(2, 5, 4).append("TRANSPOSE", (1, 5, 4, 2), order(0, 2, 3, 1)))
    content = chain.write()
    network = read(content)
    images = np.random.default_rng(1).integers(-128, 128, (3, 2, 5, 4), dtype=np.int8)
    assert network.input_shape == (5, 4, 2)
    expected = reference(content, images)[network.layers[0].tensor]
    assert np.array_equal(golden.run(network, network.quantise_input(images)).ravel(), expected.ravel())
    with pytest.raises(NetworkError, match=r"reads an input of the shape \[1, 2, 5, 4\] with its values in another"):
        read(conv(Chain(2, 5, 4).append("TRANSPOSE", (1, 5, 2, 4), order(0, 2, 1, 3))).write())


# ---- what is refused ----


def changed(**fields):
    return small().change(**fields).write()


def option(number: int, **options):
    chain = small()
    chain.operators[number].options |= options
    return chain.write()


def renamed(number: int, name: str, custom=None):
    chain = small()
    operator = chain.operators[number]
    operator.name, operator.custom, operator.options = name, custom, {}
    return chain.write()


def two_inputs():
    chain = small()
    return write(chain.operators, [chain.input, Tensor((1, 2), scale=1)], [chain.tensor])


def order(*axes):
    return Tensor((len(axes),), "INT32", data=axes)


def add(chain: Chain, other: Tensor | None = None, **result):
    """The sum of the result so far and ``other``, or the input."""
    return chain.append("ADD", chain.tensor.shape, other or chain.input, **result).write()


def cycle():
    chain = conv(Chain(4, 4, 2).append("ADD", (1, 4, 4, 2), None))
    chain.operators[0].inputs[1] = chain.tensor
    return chain.write()


def dangling():
    return add(conv(Chain(4, 4, 2)), Tensor((1, 4, 4, 2), scale=1))


def written_twice():
    chain = conv(conv(conv(Chain(4, 4, 2))))
    chain.operators[2].outputs[0] = chain.operators[0].outputs[0]
    chain.tensor = chain.operators[0].outputs[0]
    return chain.write()


def nobodys_output():
    chain = small()
    return write(chain.operators, [chain.input], [Tensor((1, 3), scale=1)])


def quantise_inside():
    chain = conv(Chain(4, 4, 2))
    real, back = Tensor((1, 4, 4, 2), "FLOAT32"), Tensor((1, 4, 4, 2), scale=0.1)
    chain.operators += [Operator("DEQUANTIZE", [chain.tensor], [real]), Operator("QUANTIZE", [real], [back])]
    return write(chain.operators, [chain.input], [back])


def two_zero_points():
    chain = Uint8Chain(4, 4, 1).convolution(np.zeros((2, 3, 3, 1)), np.zeros(2))
    chain.operators[0].inputs[1].scale = [0.1, 0.2]
    return chain.write()


def huge_bias():
    return Chain(4, 4, 1).convolution(weights(1, 3, 3, 1), [2**31 - 1], weight_scale=1e-9).write()


SENTENCES = {
    "empty": (b"", "isn't a .tflite file"),
    "text": (b"hello, this is not a model at all", "isn't a .tflite file"),
    "mark only": (b"\x08\0\0\0TFL3", "is damaged"),
    "float inside": (changed(conv_2d_1__type="FLOAT32"),
                     r"operator 1 \(CONV_2D\) works on float32 values; quantise the model to int8 activations"),
    "uint8": (changed(input__type="UINT8", input__zero_point=3), r"operator 0 \(PAD\) makes int8 values of uint8 ones"),
    "uint8 inside": (changed(conv_2d_1__type="UINT8", conv_2d_1__zero_point=3),
                     r"operator 1 \(CONV_2D\) makes uint8 values of int8 ones; only QUANTIZE can"),
    "int16": (changed(input__type="INT16"), r"works on int16 values \(16x8 quantisation\); convert with "
              r"supported_ops=\[tf.lite.OpsSet.TFLITE_BUILTINS_INT8\]"),
    "float16": (changed(input__type="FLOAT16"), "works on float16 values; export the model as float32"),
    "int32": (changed(input__type="INT32"), "works on int32 values; quantise the model to int8 activations"),
    "cycle": (cycle(), r"operator 0 \(ADD\) reads tensor 1, which no operator before it gives"),
    "dangling input": (dangling(), r"operator 1 \(ADD\) reads tensor \d+, which no operator before it gives"),
    "written twice": (written_twice(), r"operator 2 \(CONV_2D\) writes tensor \d+, which is the model's input, a cons"),
    "output that nobody makes": (nobodys_output(), r"has the output tensor \d+ \(t\d+\), which no operator gives"),
    "no outputs": (write(small().operators, [small().input], []), "has no outputs"),
    "shapes at an ADD": (add(conv(Chain(4, 4, 2), stride=(2, 2))), r"operator 1 \(ADD\) works on the shapes "
                         r"\[1, 2, 2, 2\] and \[1, 4, 4, 2\]; they must be equal"),
    "orders at an ADD": (add(conv(Chain(4, 4, 2)).append("TRANSPOSE", (1, 4, 4, 2), order(0, 2, 1, 3))),
                         r"operator 2 \(ADD\) works on maps whose values stand in different orders"),
    "scale at an ADD": (add(conv(Chain(4, 4, 2)), scale=1e-9), "has the output scale 9.99.*e-10, too small for its"),
    "padding at an ADD": (add(conv(Chain(2, 2, 2)).pad(1, 1, 1, 1), Tensor((1, 4, 4, 2), scale=1)),
                          r"operator 1 \(PAD\) is followed by ADD; padding is only supported before a conv"),
    "custom": (renamed(1, "CUSTOM", "MyOp"), "not supported: 1 MyOp; 'tepal ops' lists those that are$"),
    "subgraphs": (small().write(subgraphs=2), "has 2 subgraphs"),
    "no subgraph": (small().write(subgraphs=0), "has 0 subgraphs"),
    "two inputs": (two_inputs(), "has 2 inputs; only models with one input"),
    "batch": (changed(input__shape=(2, 9, 8, 3)), "works on a batch of 2; only batch 1"),
    "dynamic": (changed(input__shape=(-1, 9, 8, 3)), "every dimension must be fixed"),
    "huge": (changed(input__shape=(1, 2**30, 2**30, 3)), "all together at most"),
    "shape": (changed(conv_2d_1__shape=(1, 6, 5, 4)), r"should give the shape \[1, 5, 5, 4\] but the file"),
    "zero scale": (changed(input__scale=0.0), r"tensor 0 \(input\) has a scale that isn't a positive number"),
    "nan scale": (changed(weights__scale=float("nan")), "isn't a positive number"),
    "inf scale": (changed(input__scale=float("inf")), "isn't a positive number"),
    "no scale": (changed(conv_2d_1__scale=None), "has 0 scales and 0 zero points, not one"),
    "zero point": (changed(conv_2d_1__zero_point=300), "has the zero point 300, outside int8"),
    "weight zero point": (changed(weights__zero_point=1), "zero point other than 0; quantise them"),
    "weight type": (changed(weights__type="INT16"), r"operator 1 \(CONV_2D\) has int16 weights for int8 values"),
    "short weights": (changed(weights__data=np.zeros(100)), "needs 108 bytes of constant data and has 100"),
    "no weights": (changed(weights__data=None), "needs 108 bytes of constant data and has 0"),
    "scale count": (changed(weights__scale=[1, 2, 3]), "has 3 weight scales along dimension 0; supported"),
    "scale axis": (changed(weights__axis=3), "has 4 weight scales along dimension 3"),
    "bias type": (changed(bias__type="INT64"), "has a bias of 4 int64 values; 4 int32 values are needed"),
    "bias size": (changed(bias__shape=(3,)), "has a bias of 3 int32 values"),
    "stride": (option(1, StrideH=0), r"has the stride \(0, 2\)"),
    "activation": (option(1, FusedActivationFunction="TANH"), "has the fused activation TANH; supported are"),
    "window": (Chain(4, 4, 1).append("AVERAGE_POOL_2D", (1, 1, 1, 1), FilterHeight=5, FilterWidth=1,
                                     StrideH=1, StrideW=1, Padding="VALID").write(),
               "has a window of 5x1, larger than its input of 4x4"),
    "pool over padding": (Chain(4, 4, 1).average_pool((3, 3), padding="SAME").write(),
                          r"operator 0 \(AVERAGE_POOL_2D\) averages over padding"),
    "pool over padding below": (Chain(4, 4, 1).average_pool((3, 1), stride=(2, 1), padding="SAME").write(),
                                r"operator 0 \(AVERAGE_POOL_2D\) averages over padding"),
    "pool over padding at the right": (Chain(4, 4, 1).average_pool((1, 3), stride=(1, 2), padding="SAME").write(),
                                       r"operator 0 \(AVERAGE_POOL_2D\) averages over padding"),
    "pool rescales": (changed(average_pool_2d_3__zero_point=1), "changes the scale or the zero point"),
    "mean axes": (Chain(4, 4, 2).mean(axes=(1, 3)).write(), "must average over height and width"),
    "mean axis": (Chain(4, 4, 2).mean(axes=(1,)).write(), "must average over height and width"),
    "pad then pool": (Chain(4, 4, 1).pad(1, 1, 1, 1).average_pool((2, 2)).write(),
                      r"operator 0 \(PAD\) is followed by AVERAGE_POOL_2D; padding is only supported before"),
    "pad at the end": (conv(Chain(4, 4, 1)).pad(1, 1, 1, 1).write(), r"operator 1 \(PAD\) is the last"),
    "negative pad": (Chain(4, 4, 1).pad(-1, 1, 1, 1).write(), "pads something other than height and width"),
    "conv on another map": (conv(conv(Chain(4, 4, 1)).reshape(1, 8, 2, 2)).write(),
                            "reads a map of 4x4x2 .* that was reshaped, or padded in its channels; only FULLY"),
    "conv on a vector": (conv(conv(Chain(4, 4, 1)).reshape(1, 1, 1, 32)).write(),
                         "reads a map of 4x4x2 .* that was reshaped, or padded in its channels; only FULLY"),
    "rows": (conv(Chain(4, 4, 1)).fully_connected(weights(3, 2)).write(),
             "has rows of 2 weights for 32 values"),
    "softmax inside": (small().fully_connected(weights(2, 5)).write(), "follows SOFTMAX"),
    "softmax scale": (changed(softmax_6__scale=0.1), "must have the output scale 1/256"),
    "softmax beta": (option(6, Beta=float("nan")), "has the beta nan"),
    "softmax alone": (Chain(1, 1, 4).softmax().write(), "has no layer to compute"),
    "quantize inside": (quantise_inside(), r"operator 2 \(QUANTIZE\) quantises float32 values inside the model"),
    "uint8 weights": (changed(weights__type="UINT8", weights__data=np.zeros(108)),
                      r"operator 1 \(CONV_2D\) has uint8 weights for int8 values; only int8 is supported"),
    "uint8 weight zero points": (two_zero_points(), r"has 2 weight scales along dimension 0; supported are one"),
    "inexact": (Chain(1, 1, 60_000).fully_connected(np.full((1, 60_000), 127), weight_scale=1e-7,
                                                    scale=0.03).write(),
                "has a scale in channel 0 that no integer multiplier reproduces exactly"),
    "overflow": (huge_bias(), r"operator 0 \(CONV_2D\) can overflow its 32-bit accumulator in channel 0"),
    "left shift": (changed(weights__scale=1e30), "can overflow its 32-bit accumulator"),
}


@pytest.mark.parametrize("name", SENTENCES)
def test_refusals(read, tmp_path, name):
    content, sentence = SENTENCES[name]
    with pytest.raises(NetworkError, match=sentence) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'model.tflite'}: ")
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(NetworkError, match=r"can't be read \(No such file or directory\)"):
        read_tflite(tmp_path / "nothing.tflite")
    with pytest.raises(NetworkError, match="can't be read"):
        read_tflite(tmp_path)


# ---- damage ----


@pytest.mark.parametrize("model", ["small", pytest.param("tinymaix_mnist_dw_int8", marks=pytest.mark.model)])
def test_damaged_files_are_read_or_refused(read, model):
    content = small().write() if model == "small" else (require_model(model) / "model.tflite").read_bytes()
    refused = 0
    for variant in damaged(content, 600):
        start = time.perf_counter()
        try:
            network = read(variant)
        except NetworkError:
            refused += 1
        else:
            golden.run(network, np.zeros((1, *network.input_shape), np.int8))
        assert time.perf_counter() - start < 5
    assert refused > 200

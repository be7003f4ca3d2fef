# SPDX-License-Identifier: Apache-2.0
"""Models as other exporters and quantisers write them: read exactly, or refused in one sentence with the way out."""

import numpy as np
import onnx
import pytest
from litert import reference
from models import require_case
from onnx_models import maps, run, step
from tepal.quant import NetworkError, read_model
from tepal.sim import golden

pytestmark = pytest.mark.model

ENDS = "; 'tepal ops' lists those that are"
STATIC = ("quantise statically as QDQ, in ONNX Runtime with quantize_static and quant_format=QuantFormat.QDQ, or give "
          "the "
          "float model to 'tepal quantize'")

REFUSED = {
    "ort_dynamic.onnx": "has operators that are not supported: 2 DynamicQuantizeLinear, 1 ConvInteger and 1 "
                        "MatMulInteger "
                        f"(quantised dynamically: {STATIC}){ENDS}",
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    path = require_case(name)
    with pytest.raises(NetworkError) as caught:
        read_model(path)
    assert str(caught.value) == f"{path}: {REFUSED[name]}"


def test_keras_models_with_an_open_batch():
    """Flatten and Reshape written as SHAPE, STRIDED_SLICE, PACK and RESHAPE."""
    path = require_case("keras_flatten_int8.tflite")
    network, images = read_model(path), np.random.default_rng(0).integers(-128, 128, (3, 32, 32, 3), dtype=np.int8)
    expected = reference(path.read_bytes(), images)[network.layers[-1].tensor]
    assert np.array_equal(golden.run(network, images), expected)
    path = require_case("keras_flatten_float.tflite")
    network, images = read_model(path), images.astype(np.float32) / 128
    expected = reference(path.read_bytes(), images)[network.layers[-1].tensor]
    assert np.allclose(network.run(images), expected, rtol=1e-4, atol=1e-4)
    # Its softmax has a scale so small that LiteRT's reference kernels give up.
    network = read_model(require_case("keras_applications_mobilenet_int8.tflite"))
    (chances,) = network.answer(np.array([[-100, 0, 3, 50, 127]], np.int8))
    assert chances.tolist() == [[-77] * 5]


@pytest.mark.parametrize("name", ["qcdq_weights_clip.onnx", "qcdq_weights_folded_clip.onnx",
                                  "qcdq_activations_clip.onnx"])
def test_clipped_integers_are_read(name):
    """A narrower range of constants is arithmetic, one of activations the layer's own: ONNX Runtime's values within the
    one step that QDQ models have."""
    path = require_case(name)
    network, model = read_model(path), onnx.load(path)
    batch = np.load(require_case("qcdq_x.npy"))[:8]
    codes = network.quantise_input(batch.transpose(0, 2, 3, 1))
    assert step(network, codes, maps(model, network, batch)) <= 1


def test_float16_is_computed_in_float32():
    path = require_case("fp16_float_ends.onnx")
    network, model = read_model(path), onnx.load(path)
    batch = np.random.default_rng(0).normal(size=(4, *(network.input_shape[axis] for axis in (2, 0, 1))))
    batch = batch.astype(np.float32)
    (expected,) = run(model, batch)
    assert np.abs(network.run(network.images(batch)) - expected).max() <= 0.01 * np.abs(expected).max()


@pytest.mark.parametrize("name", ["ort_qoperator.onnx", "ort_contrib.onnx"])
def test_other_forms_of_onnx_runtimes_quantiser(name):
    path = require_case(name)
    network, batch = read_model(path), np.load(require_case("ort_x.npy"))
    got = golden.run(network, network.quantise_input(batch.transpose(0, 2, 3, 1))).astype(float)
    (expected,) = run(path.read_bytes(), batch)
    steps = (got.reshape(expected.shape) - network.output_zero_point) - expected / network.output_scale
    assert np.abs(steps).max() <= 1.001
    assert np.count_nonzero(np.abs(steps) > 0.5) <= 0.02 * steps.size


@pytest.mark.parametrize(("name", "shape"), [
    ("torch_conv1d.onnx", (1, 49, 10)), ("torch_rank3_unsqueeze.onnx", (49, 10, 1))])
def test_inputs_of_two_dimensions(name, shape):
    path = require_case(name)
    network = read_model(path)
    assert network.input_shape == shape
    given = [dim.dim_value for dim in onnx.load(path).graph.input[0].type.tensor_type.shape.dim][1:]
    batch = np.random.default_rng(0).normal(size=(4, *given)).astype(np.float32)
    (expected,) = run(path.read_bytes(), batch, folder=path.parent)
    assert np.abs(network.run(network.images(batch)) - expected).max() <= 1e-5 * np.abs(expected).max()

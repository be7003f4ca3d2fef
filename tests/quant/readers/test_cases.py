# SPDX-License-Identifier: Apache-2.0
"""Models as other exporters and quantisers write them: read exactly, or refused in one sentence with the way out."""

import numpy as np
import onnx
import pytest
from litert import reference
from models import require_case
from onnx_models import maps, step
from tepal.quant import NetworkError, read_model
from tepal.sim import golden

pytestmark = pytest.mark.model

ENDS = "; 'tepal ops' lists those that are"
STATIC = ("quantise statically as QDQ, in ONNX Runtime with quantize_static and quant_format=QuantFormat.QDQ, or give "
          "the "
          "float model to 'tepal quantize'")

REFUSED = {
    "ort_qoperator.onnx": "has operators that are not supported: 3 QLinearConv, 1 "
                          "com.microsoft.QLinearGlobalAveragePool "
                          f"and 1 com.microsoft.QGemm (quantised in the QOperator format: {STATIC}){ENDS}",
    "ort_dynamic.onnx": "has operators that are not supported: 2 DynamicQuantizeLinear, 1 ConvInteger and 1 "
                        "MatMulInteger "
                        f"(quantised dynamically: {STATIC}){ENDS}",
    "ort_contrib.onnx": "has operators that are not supported: 15 com.microsoft.DequantizeLinear and 7 com.microsoft."
                        "QuantizeLinear (quantised with ONNX Runtime's own operators: quantise statically as plain "
                        "QDQ, "
                        "with quantize_static, quant_format=QuantFormat.QDQ and without the option UseQDQContribOps, "
                        "or "
                        f"give the float model to 'tepal quantize'){ENDS}",
    "qcdq_activations_clip.onnx": "node 1 (Clip, v1) narrows the range of integers, as Brevitas exports fewer than 8 "
                                  "bits "
                                  "or a narrow range; export activations of 8 bits with narrow_range=False, or give "
                                  "the "
                                  "float model to 'tepal quantize' (the same of node 8)",
    "torch_rank3_unsqueeze.onnx": "takes an input of the shape [1, 49, 10]; give the input its channel, as [1, 1, 49, "
                                  "10], "
                                  "in place of an Unsqueeze or Reshape in the model",
    "torch_conv1d.onnx": "takes an input of the shape [1, 10, 49]; its 1-D convolutions are not supported: write them "
                         "as "
                         "2-D ones with windows of one row, on an input of [1, 10, 1, 49]",
    "fp16_float_ends.onnx": "has operators that are not supported: 2 Cast (types other than float32: export the model "
                            "as "
                            f"float32){ENDS}",
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


@pytest.mark.parametrize("name", ["qcdq_weights_clip.onnx", "qcdq_weights_folded_clip.onnx"])
def test_clipped_integer_weights_are_read(name):
    """A narrower range of constants is arithmetic: ONNX Runtime's values within the one step that QDQ models have."""
    path = require_case(name)
    network, model = read_model(path), onnx.load(path)
    batch = np.load(require_case("qcdq_x.npy"))[:8]
    codes = network.quantise_input(batch.transpose(0, 2, 3, 1))
    assert step(network, codes, maps(model, network, batch)) <= 1

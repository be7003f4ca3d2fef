# SPDX-License-Identifier: Apache-2.0
"""The network so far while a ``.tflite`` file is read: what its operators find, and what they leave.

A chain of int8 layers and one of float layers differ in the types of their tensors and in what their layers know of
scales.  The integers follow TensorFlow Lite's ``Prepare`` functions (``kernel_util.cc``, ``quantization_util.cc``), so
that the network gives the bytes of LiteRT's reference kernels."""

from math import inf
from typing import Any

import numpy as np
import tflite as schema
from tepal.quant.layer import NO_PADDING, Padding, Shape
from tepal.quant.windows import same_padding

from .tflite_file import EXPORT_AGAIN, Operator, Tensor, names

__all__ = ["ACTIVATIONS", "DILATION_OPTIONS", "WINDOW_OPTIONS", "FloatChain", "IntegerChain", "TfliteChain"]

ACTIVATIONS = {"NONE": (-inf, inf), "RELU": (0.0, inf), "RELU6": (0.0, 6.0), "RELU_N1_TO_1": (-1.0, 1.0)}
"""Lowest and highest result of each activation."""

WINDOW_OPTIONS = ("StrideH", "StrideW", "Padding", "FusedActivationFunction")
"""Fields of the options of every operator whose window moves over a map."""

DILATION_OPTIONS = ("DilationHFactor", "DilationWFactor")

_ACTIVATION_NAMES = names(schema.ActivationFunctionType)


class TfliteChain:
    """``start`` is the tensor that the network takes, ``tensor`` the result so far and ``shape`` its feature map.

    ``padding`` is what PAD left for the next window, and ``padder`` the operator that did; ``flat`` says that a reshape
    made a vector of a map with several pixels; ``skipped`` that an operator was passed over; ``started`` that an
    operator has computed something.  ``closing`` is what came at the end and stays off the chip, ``closed`` an operator
    after which none may come."""

    constant_type: str
    """Type of the weights, and of the activations too."""
    bias_type: str

    def __init__(self, start: Tensor):
        self.start = self.tensor = start
        self.shape: Shape = (0, 0, 0)
        self.layers: list[Any] = []
        self.padding = NO_PADDING
        self.padder: Operator | None = None
        self.flat = self.skipped = self.started = False
        self.closing: Any = None
        self.closed: Operator | None = None

    # ---- what differs ----

    def check_activation(self, operator: Operator, tensor: Tensor) -> None:
        """Raises unless ``tensor`` is a feature map of the right type."""
        raise NotImplementedError

    def check_weights(self, operator: Operator, tensor: Tensor, axis: int) -> None:
        """Raises unless ``tensor``, whose dimension ``axis`` is the output channel, has the right type."""
        raise NotImplementedError

    def check_unchanged(self, operator: Operator) -> None:
        """Raises if the operator gives its values another meaning."""

    def zero(self, tensor: Tensor) -> int:
        """The value of an activation that means 0."""
        raise NotImplementedError

    def meaning(self, operator: Operator) -> dict[str, Any]:
        """The fields that only layers of this chain have."""
        raise NotImplementedError

    # ---- what an operator asks for ----

    def map(self, operator: Operator, tensor: Tensor) -> Shape:
        """The feature map that ``tensor`` holds."""
        match tensor.shape:
            case (1, height, width, channels):
                return height, width, channels
            case (1, channels) | (channels,):
                return 1, 1, channels
            case (batch, _, _, _) | (batch, _):
                raise operator.error(f"works on a batch of {batch}; only batch 1 is supported")
        raise operator.error(f"works on the shape {list(tensor.shape)}; supported are [1, height, width, "
                             "channels] and [1, channels]")

    def activation(self, operator: Operator) -> tuple[float, float]:
        """Lowest and highest result of the fused activation; an operator whose options aren't read has none."""
        if operator.options is None:
            return ACTIVATIONS["NONE"]
        number = operator.options.FusedActivationFunction
        name = _ACTIVATION_NAMES.get(number, number)
        if name not in ACTIVATIONS:
            raise operator.obstacle(f"has the fused activation {name}; supported are NONE, RELU, RELU6 and "
                                    "RELU_N1_TO_1")
        return ACTIVATIONS[name]

    def window(self, operator: Operator, kernel: tuple[int, int]) -> tuple[tuple[int, int], Padding, tuple[int, int]]:
        """Stride, whole padding (of PAD too), and output height and width."""
        options = operator.options
        stride = options.StrideH, options.StrideW
        if min(stride) < 1:
            raise operator.error(f"has the stride {stride}")
        around, sizes = [], []
        before = ((self.padding.top, self.padding.bottom), (self.padding.left, self.padding.right))
        for size, extra, window, step in zip(self.shape, before, kernel, stride, strict=False):
            size += sum(extra)
            if options.Padding not in (schema.Padding.SAME, schema.Padding.VALID):
                raise operator.error(f"has the padding {options.Padding}; there are SAME (0) and VALID (1)")
            pads = same_padding(size, window, step) if options.Padding == schema.Padding.SAME else (0, 0)
            result = (size + sum(pads) - window) // step + 1
            if result < 1:
                raise operator.error(f"has a window of {kernel[0]}x{kernel[1]}, larger than its input of "
                                     f"{self.shape[0]}x{self.shape[1]}")
            around += extra[0] + pads[0], extra[1] + pads[1]
            sizes.append(result)
        return stride, Padding(*around), (sizes[0], sizes[1])

    def check_shape(self, operator: Operator, shape: Shape) -> None:
        """Raises unless the file agrees with the output shape worked out here."""
        if self.map(operator, operator.output) != shape:
            raise operator.error(f"should give the shape {[1, *shape]} but the file says "
                                 f"{list(operator.output.shape)}")

    def advance(self, operator: Operator, shape: Shape, stride=(1, 1), padding=NO_PADDING) -> dict[str, Any]:
        """Go on with a map of ``shape``: the fields that all layers of this chain have, for the one that makes it."""
        self.check_shape(operator, shape)
        fields = {"name": operator.output.name, "index": operator.index, "tensor": operator.output.index,
                  "input_shape": self.shape, "output_shape": shape, "stride": stride, "padding": padding,
                  **self.meaning(operator)}
        self.shape, self.padding, self.padder, self.flat = shape, NO_PADDING, None, False
        return fields


class IntegerChain(TfliteChain):
    """int8 activations and weights, int32 bias; QUANTIZE may come first and DEQUANTIZE last."""

    constant_type, bias_type = "INT8", "INT32"

    OTHERS = {
        "UINT8": "uint8 values (the older quantisation, asymmetric weights); quantise the float model to int8 "
                 "(inference_input_type=tf.int8 and inference_output_type=tf.int8), or with 'tepal quantize'",
        "INT16": "int16 values (16x8 quantisation); convert with "
                 "supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8], which makes activations int8",
        "FLOAT16": "float16 values; export the model as float32 (weights alone may be stored as float16)",
        "FLOAT32": "float32 values; quantise the model to int8 activations throughout, with a representative data set "
                   "and supported_ops=[tf.lite.OpsSet.TFLITE_BUILTINS_INT8]",
    }
    """Activations that aren't int8: what they come of and the way out."""

    def check_activation(self, operator: Operator, tensor: Tensor) -> None:
        if tensor.type != "INT8":
            what = self.OTHERS.get(tensor.type, f"{tensor.type.lower()} values; quantise the model to int8 activations "
                                                "(inference_input_type=tf.int8)")
            raise operator.error(f"works on {what}")
        if len(tensor.scales) != 1 or len(tensor.zero_points) != 1:
            raise operator.error(f"reads or writes tensor {tensor.index}, which has {len(tensor.scales)} "
                                 f"scales and {len(tensor.zero_points)} zero points, not one")
        if not -128 <= tensor.zero_point <= 127:
            raise operator.error(f"has the zero point {tensor.zero_point}, outside int8")

    def check_weights(self, operator: Operator, tensor: Tensor, axis: int) -> None:
        if tensor.type != "INT8":
            raise operator.error(f"has {tensor.type.lower()} weights; only int8 is supported")
        channels = tensor.shape[axis]
        if len(tensor.scales) not in (1, channels) or (len(tensor.scales) > 1 and tensor.axis != axis):
            raise operator.error(f"has {len(tensor.scales)} weight scales along dimension {tensor.axis}; "
                                 f"supported are one, or one for each of the {channels} output channels")
        if tensor.zero_points.any():
            raise operator.obstacle("has weights with a zero point other than 0; quantise them symmetrically")

    def check_unchanged(self, operator: Operator) -> None:
        if operator.output.meaning != self.tensor.meaning:
            raise operator.obstacle("changes the scale or the zero point; only equal ones are supported")

    def zero(self, tensor: Tensor) -> int:
        return tensor.zero_point

    def meaning(self, operator: Operator) -> dict[str, Any]:
        return {"input_zero_point": self.tensor.zero_point, "output_scale": float(operator.output.scale)}

    def clamp(self, operator: Operator) -> tuple[int, int]:
        """CalculateActivationRangeQuantized: the int8 clamp of the fused activation."""
        scale, zero_point = operator.output.scale, operator.output.zero_point

        def quantised(real: float) -> int:
            # In float32 and half away from zero, like the C++.
            with np.errstate(over="ignore"):
                ratio = abs(float(np.float32(real) / scale))
            steps = int(min(ratio, 1e9) + 0.5)
            return zero_point + (steps if real > 0 else -steps)

        low, high = self.activation(operator)
        return max(-128, quantised(low)), min(127, quantised(high))


class FloatChain(TfliteChain):
    """float32 throughout; a ReLU may also stand alone."""

    constant_type = bias_type = "FLOAT32"

    def check_activation(self, operator: Operator, tensor: Tensor) -> None:
        if tensor.type != "FLOAT32":
            raise operator.error(f"works on {tensor.type.lower()} values in a float model; {EXPORT_AGAIN}")

    def check_weights(self, operator: Operator, tensor: Tensor, axis: int) -> None:
        if tensor.type != "FLOAT32":
            raise operator.error(f"has {tensor.type.lower()} weights for float32 values (dynamic-range "
                                 f"quantisation); {EXPORT_AGAIN}")

    def zero(self, tensor: Tensor) -> int:
        return 0

    def meaning(self, operator: Operator) -> dict[str, Any]:
        minimum, maximum = self.activation(operator)
        return {"minimum": minimum, "maximum": maximum}

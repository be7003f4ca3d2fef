# SPDX-License-Identifier: Apache-2.0
"""What the network computes: importers, fixed-point arithmetic and the immutable integer network."""

from importlib import import_module
from typing import TYPE_CHECKING

from .arithmetic import Rounding
from .errors import NetworkError
from .family.architecture import Architecture, Classifier
from .family.layers import LayerSpec
from .family.mobilenet import CIFAR_BLOCKS, IMAGENET_BLOCKS, MobileNet
from .family.mobilenet_v2 import BOTTLENECKS, MobileNetV2
from .family.resnet import ResNet
from .family.ssd import SSD
from .float_network import FloatNetwork
from .identity import DIGEST_BYTES, digest
from .layer import FloatLayer, Geometry, Layer, Padding, Shape
from .network import Network, arrange_images
from .ops.add import Add, FloatAdd
from .ops.average_pool import Average, AveragePool, FloatAveragePool
from .ops.convolution import Convolution, FloatConvolution
from .ops.depthwise import Depthwise, FloatDepthwise
from .ops.softmax import Softmax
from .preprocessing import LAYOUTS, Preprocessing
from .quantiser.plausibility import implausible
from .quantiser.quantise import Calibration, Method, Quantisation, quantize
from .readers.model_file import formats, read_model
from .readers.tflite import read_tflite
from .rescale import Requantise
from .simplify import Simplification, simplify

if TYPE_CHECKING:
    from .onnx_export import write_onnx
    from .readers.onnx import read_onnx

__all__ = [
    "BOTTLENECKS",
    "CIFAR_BLOCKS",
    "DIGEST_BYTES",
    "IMAGENET_BLOCKS",
    "LAYOUTS",
    "SSD",
    "Add",
    "Architecture",
    "Average",
    "AveragePool",
    "Calibration",
    "Classifier",
    "Convolution",
    "Depthwise",
    "FloatAdd",
    "FloatAveragePool",
    "FloatConvolution",
    "FloatDepthwise",
    "FloatLayer",
    "FloatNetwork",
    "Geometry",
    "Layer",
    "LayerSpec",
    "Method",
    "MobileNet",
    "MobileNetV2",
    "Network",
    "NetworkError",
    "Padding",
    "Preprocessing",
    "Quantisation",
    "Requantise",
    "ResNet",
    "Rounding",
    "Shape",
    "Simplification",
    "Softmax",
    "arrange_images",
    "digest",
    "formats",
    "implausible",
    "quantize",
    "read_model",
    "read_onnx",
    "read_tflite",
    "simplify",
    "write_onnx",
]

_LATER = {"read_onnx": "readers.onnx", "write_onnx": "onnx_export"}
"""Functions whose modules import onnx, which takes longer than the cycles of a network do: only if they are wanted."""


def __getattr__(name: str):
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_LATER[name]}", __name__), name)

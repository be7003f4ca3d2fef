"""What the network computes: importers, fixed-point arithmetic and the immutable integer network."""

from .float_network import FloatAveragePool, FloatConvolution, FloatDepthwise, FloatLayer, FloatNetwork
from .mobilenet import CIFAR_BLOCKS, IMAGENET_BLOCKS, LayerSpec, MobileNet
from .network import (
    Average,
    AveragePool,
    Convolution,
    Depthwise,
    Geometry,
    Layer,
    Network,
    NetworkError,
    Padding,
    Requantise,
    Rounding,
    Shape,
    Softmax,
)
from .simplify import Simplification, simplify
from .tflite import read_tflite

__all__ = [
    "CIFAR_BLOCKS",
    "IMAGENET_BLOCKS",
    "Average",
    "AveragePool",
    "Convolution",
    "Depthwise",
    "FloatAveragePool",
    "FloatConvolution",
    "FloatDepthwise",
    "FloatLayer",
    "FloatNetwork",
    "Geometry",
    "Layer",
    "LayerSpec",
    "MobileNet",
    "Network",
    "NetworkError",
    "Padding",
    "Requantise",
    "Rounding",
    "Shape",
    "Simplification",
    "Softmax",
    "read_tflite",
    "simplify",
]

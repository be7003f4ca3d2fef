"""What the network computes: importers, fixed-point arithmetic and the immutable integer network."""

from .network import (
    Average,
    AveragePool,
    Convolution,
    Depthwise,
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
    "Average",
    "AveragePool",
    "Convolution",
    "Depthwise",
    "Layer",
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

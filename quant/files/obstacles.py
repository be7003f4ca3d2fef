# SPDX-License-Identifier: Apache-2.0
"""What stands in the way of taking a model: all of it in one sentence, with the nearest way out."""

from collections.abc import Iterable
from dataclasses import dataclass

from tepal.quant.errors import NetworkError

__all__ = ["BRANCHES", "ON_CONSTANTS", "Format", "Obstacle", "arithmetic", "check_operators", "refuse"]


@dataclass(frozen=True)
class Format:
    """A kind of model file, in words: what holds for all of it, and the limits of each operator that it may hold."""

    limits: str
    operators: dict[str, str]


class Obstacle(NetworkError):
    """An operator that is supported, but not as it is used here.  The file can be read on from there, so several may
    be told at once: ``label`` names the operator, which is number ``index`` of the file's nodes or operators
    (``kind``)."""

    def __init__(self, kind: str, index: int, label: str, text: str):
        super().__init__(f"{label} {text}")
        self.kind, self.index, self.text = kind, index, text


BRANCHES = "several maps at once, or parts of one: add maps two by two, and give each part a layer of its own"
ARITHMETIC = "arithmetic on the images or the results: leave it to the host, or fold it into the layer before it"
_ARITHMETIC = ("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "Add", "Sub", "Mul", "Div", "Min", "Max")
ON_CONSTANTS = "on constants: let the exporter or onnxsim fold them"
_FROM_FLOATS = "or give the float model to 'tepal quantize'"
_STATIC = ("quantise statically as QDQ, in ONNX Runtime with quantize_static and quant_format=QuantFormat.QDQ, "
           f"{_FROM_FLOATS}")

_WHOLE_MODEL = {
    f"quantised dynamically: {_STATIC}": (
        "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "com.microsoft.DynamicQuantizeMatMul",
        "com.microsoft.DynamicQuantizeLSTM", "com.microsoft.MatMulIntegerToFloat"),
}
"""Ways out that hold for the model as a whole: what else isn't supported comes of the same and goes with it."""

_FLEX = "TensorFlow's own operators: convert with supported_ops of TFLITE_BUILTINS alone"

_WAYS_OUT = {
    BRANCHES: ("ADD_N", "SPLIT", "SPLIT_V", "UNPACK", "Sum", "Split"),
    "activations other than ReLU: train the model with ReLU or ReLU6": ("ELU", "GELU"),
    "larger maps and other arrangements of pixels: end the model before it": (
        "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TRANSPOSE_CONV", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "Resize",
        "Upsample", "ConvTranspose", "DepthToSpace", "SpaceToDepth"),
    "the class is given anyway: end the model before it": ("ARG_MIN", "TOPK_V2", "ArgMin", "TopK"),
    "the search for boxes: end the model before it": (
        "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5", "NonMaxSuppression"),
    ARITHMETIC: (
        "POW", "SQRT", "RSQRT", "SQUARE", "EXP", "LOG", "L2_NORMALIZATION", "LpNormalization"),
    "recurrent layers: take a convolutional network": (
        "LSTM", "RNN", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "WHILE", "GRU", "Loop", "Scan"),
    "attention: take a convolutional network": ("BATCH_MATMUL", "Einsum", "LayerNormalization", "Attention"),
    "types other than float32: export the model as float32": ("CAST",),
    "normalisation at run time: train with batch norm": ("InstanceNormalization", "GroupNormalization"),
}

_WAY_OUT = {name: way for table in (_WHOLE_MODEL, _WAYS_OUT) for way, names in table.items() for name in names}
_SHOWN = 30


def arithmetic(name: str, computed: int) -> str:
    """What stands in the way of operator ``name`` on so many computed values, if it is one of arithmetic."""
    if name not in _ARITHMETIC:
        return ""
    return BRANCHES if computed > 1 else ARITHMETIC


def _listed(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def check_operators(found: Iterable[tuple[str, str]]) -> None:
    """Refuses a model that has operators that aren't supported: all of them, counted, by what stands in the way.

    Parameters
    ----------
    found
        The name of each and, where the name alone doesn't tell, what stands in the way and the way out.

    Raises
    ------
    NetworkError
        There is one.
    """
    groups: dict[str, dict[str, int]] = {}
    for name, way in found:
        if not way or _WAY_OUT.get(name) in _WHOLE_MODEL:
            way = _FLEX if name.startswith("Flex") else _WAY_OUT.get(name, "")
        names = groups.setdefault(way, {})
        names[name] = names.get(name, 0) + 1
    if not groups:
        return
    for way in _WHOLE_MODEL:
        if way in groups:
            groups = {way: groups[way]}
    # What nothing more is known about stands last.
    unknown = groups.pop("", {})
    parts = [f"{_listed([f'{count} {name}' for name, count in names.items()])} ({way})"
             for way, names in groups.items()]
    parts += [f"{count} {name}" for name, count in unknown.items()]
    if len(parts) > _SHOWN:
        parts[_SHOWN:] = [f"{len(parts) - _SHOWN} other kinds"]
    raise NetworkError(f"has operators that are not supported: {', '.join(parts)}; 'tepal ops' lists those that are")


def refuse(obstacles: list[Obstacle]) -> None:
    """Refuses a model for the ``obstacles`` met while it was read, those that are alike told as one.

    Raises
    ------
    NetworkError
        There is one.
    """
    alike: dict[str, list[Obstacle]] = {}
    for obstacle in obstacles:
        alike.setdefault(obstacle.text, []).append(obstacle)
    parts = []
    for first, *others in alike.values():
        more = ""
        if others:
            numbers = [str(other.index) for other in others[:_SHOWN]] + ["others"] * (len(others) > _SHOWN)
            more = f" (the same of {first.kind}{'s' * (len(numbers) > 1)} {_listed(numbers)})"
        parts.append(f"{first}{more}")
    if len(parts) > _SHOWN:
        parts[_SHOWN:] = [f"{len(parts) - _SHOWN} other obstacles"]
    if parts:
        raise NetworkError("; ".join(parts))

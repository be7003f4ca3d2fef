# SPDX-License-Identifier: Apache-2.0
"""Damaged model files, by fields: whatever can be decoded, with values that make no sense."""

import copy
from collections.abc import Iterator

import numpy as np
import onnx
from onnx import AttributeProto, helper, numpy_helper
from tflite_writer import DTYPES, Chain

__all__ = ["onnx_fields", "tflite_fields"]

NUMBERS = (-(2**31), -129, -2, -1, 0, 1, 2, 3, 7, 127, 255, 65536, 2**31 - 1)
REALS = (0.0, -1.0, 1.0, 1e-38, 1e30, float("inf"), float("nan"))
TYPES = (np.float32, np.float64, np.float16, np.int8, np.uint8, np.int16, np.int32, np.int64, np.bool_)


def _shape(random: np.random.Generator, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Another one, of as many values or not."""
    match random.integers(5):
        case 0:
            return shape[::-1]
        case 1:
            return (*shape, 1)
        case 2:
            return shape[1:]
        case 3:
            return (int(np.prod(shape, dtype=np.int64)),)
        case _:
            return tuple(max(1, size + int(random.integers(-1, 2))) for size in shape)


def _array(random: np.random.Generator, array: np.ndarray) -> np.ndarray:
    """Of another shape, type or content."""
    match random.integers(4):
        case 0:
            return np.resize(array, _shape(random, array.shape))
        case 1:
            with np.errstate(all="ignore"):
                return array.astype(random.choice(TYPES))
        case 2:
            array = array.copy()
            values = REALS if array.dtype.kind == "f" else NUMBERS
            if array.size:
                with np.errstate(all="ignore"):
                    array.flat[random.integers(array.size)] = np.array(random.choice(values)).astype(array.dtype)
            return array
        case _:
            return np.array(["text"] * max(1, array.ndim), object)


def _attribute(random: np.random.Generator, name: str) -> AttributeProto:
    value = (int(random.choice(NUMBERS)), float(random.choice(REALS)), "text", b"\xff\xfe", [], ["a", "b"],
             [int(number) for number in random.choice(NUMBERS, random.integers(1, 9))], [0.5, float("nan")],
             numpy_helper.from_array(np.arange(3)))[random.integers(9)]
    return helper.make_attribute(name, value, attr_type=AttributeProto.INTS if value == [] else None)


def _change_onnx(random: np.random.Generator, model: onnx.ModelProto) -> None:
    graph, nodes = model.graph, model.graph.node
    node = nodes[random.integers(len(nodes))]
    names = [name for other in nodes for name in (*other.input, *other.output)] + ["", "nothing"]
    match random.integers(10):
        case 0 if node.attribute:
            which = int(random.integers(len(node.attribute)))
            node.attribute[which].CopyFrom(_attribute(random, node.attribute[which].name))
        case 1 if node.attribute:
            del node.attribute[random.integers(len(node.attribute))]
        case 2:
            name = random.choice(["axis", "axes", "group", "pads", "strides", "dilations", "auto_pad", "to",
                                  "ceil_mode", "keepdims", "mode", "epsilon", "transA", "perm", "min", "output_dtype"])
            node.attribute.append(_attribute(random, str(name)))
        case 3 if node.input:
            del node.input[random.integers(len(node.input)):]
        case 4 if node.input:
            node.input[random.integers(len(node.input))] = str(random.choice(names))
        case 5:
            node.input.append(str(random.choice(names)))
        case 6 if graph.initializer:
            tensor = graph.initializer[random.integers(len(graph.initializer))]
            tensor.CopyFrom(numpy_helper.from_array(_array(random, numpy_helper.to_array(tensor)), tensor.name))
        case 7:
            node.op_type = str(random.choice([other.op_type for other in nodes] + ["Split", "MaxPool", "QLinearConv"]))
        case 8:
            kind = graph.input[0].type.tensor_type
            if len(kind.shape.dim) and random.integers(2):
                kind.shape.dim[random.integers(len(kind.shape.dim))].dim_value = int(random.choice(NUMBERS))
            elif random.integers(2):
                kind.elem_type = int(random.integers(30))
            else:
                kind.shape.dim.add().dim_value = int(random.choice(NUMBERS))
        case _:
            match random.integers(4):
                case 0:
                    model.opset_import[0].version = int(random.choice(NUMBERS))
                case 1:
                    del nodes[random.integers(len(nodes))]
                case 2:
                    nodes.add().CopyFrom(node)
                case _:
                    graph.output[0].name = str(random.choice(names))


def onnx_fields(model: onnx.ModelProto, count: int) -> Iterator[bytes]:
    """``count`` variants of ``model`` with one to three fields changed; always the same ones."""
    random = np.random.default_rng(3)
    for _ in range(count):
        variant = onnx.ModelProto()
        variant.CopyFrom(model)
        for _ in range(random.integers(1, 4)):
            if variant.graph.node:
                try:
                    _change_onnx(random, variant)
                except (TypeError, ValueError):
                    # Not every change can be made after every other.
                    continue
        yield variant.SerializeToString()


def _change_tflite(random: np.random.Generator, chain: Chain) -> None:
    operators = chain.operators
    operator = operators[random.integers(len(operators))]
    tensors = [tensor for other in operators for tensor in (*other.inputs, *other.outputs) if tensor]
    tensor = tensors[random.integers(len(tensors))]
    match random.integers(11):
        case 0:
            tensor.shape = _shape(random, tuple(tensor.shape))
        case 1:
            tensor.type = str(random.choice(list(DTYPES)))
        case 2:
            tensor.scale = random.choice(REALS, random.integers(1, 4)) if random.integers(4) else None
        case 3:
            tensor.zero_point = int(random.choice(NUMBERS))
        case 4:
            tensor.axis = int(random.choice(NUMBERS))
        case 5 if tensor.data is not None:
            tensor.data = np.resize(tensor.data, max(0, np.size(tensor.data) + int(random.integers(-2, 3))))
        case 6 if tensor.data is not None and np.asarray(tensor.data).dtype.kind in "iu":
            tensor.data = np.full(np.shape(tensor.data), random.integers(-128, 127))
        case 7 if operator.inputs:
            operator.inputs[random.integers(len(operator.inputs))] = tensor if random.integers(3) else None
        case 8 if operator.inputs:
            del operator.inputs[random.integers(len(operator.inputs)):]
        case 9 if operator.options:
            name = str(random.choice(list(operator.options)))
            if name == "Beta":
                operator.options[name] = float(random.choice(REALS))
            else:
                operator.options[name] = int(random.choice([number for number in NUMBERS if abs(number) < 128]))
        case _:
            match random.integers(4):
                case 0:
                    operator.name = str(random.choice([other.name for other in operators] + ["ADD", "MAX_POOL_2D"]))
                case 1:
                    operators.remove(operator)
                case 2:
                    operators.append(operator)
                case _:
                    chain.tensor = tensor


def tflite_fields(chain: Chain, count: int) -> Iterator[bytes]:
    """``count`` variants of ``chain`` with one to three fields changed; always the same ones."""
    random = np.random.default_rng(4)
    made = 0
    while made < count:
        variant = copy.deepcopy(chain)
        for _ in range(random.integers(1, 4)):
            if variant.operators:
                _change_tflite(random, variant)
        try:
            content = variant.write()
        except Exception:
            # Some values have no place in the schema at all.
            continue
        made += 1
        yield content

# SPDX-License-Identifier: Apache-2.0
"""``.onnx`` files to :class:`~tepal.quant.FloatNetwork` or, quantised ones, to :class:`~tepal.quant.Network`.

Here the nodes are walked; what each operator means stands in its own file in :mod:`tepal.quant.ops`.  Taken are float
models as PyTorch and tf2onnx export them, and models with pairs of QuantizeLinear and DequantizeLinear ("QDQ") as ONNX
Runtime's ``quantize_static`` writes them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from math import prod
from os import PathLike
from pathlib import Path

import numpy as np
import onnx
from tepal.quant.errors import NetworkError
from tepal.quant.files.draft import Constant, StandIn, Value
from tepal.quant.files.functions import layered
from tepal.quant.files.obstacles import (
    BRANCHES,
    ON_CONSTANTS,
    Format,
    Obstacle,
    arithmetic,
    check_operators,
    refuse,
)
from tepal.quant.files.onnx_model import OnnxModel
from tepal.quant.files.onnx_node import Node, text
from tepal.quant.files.qoperator import QOPERATORS, spelled_out
from tepal.quant.float_network import FloatNetwork
from tepal.quant.layer import LARGEST_MAP
from tepal.quant.network import Network
from tepal.quant.ops.registry import CONSTANT_NODES, ONNX

from .onnx_network import network_of

__all__ = ["ONNX_FORMATS", "OWN_PRODUCER", "read_onnx"]

OWN_PRODUCER = "tepal"
"""Producer of the files that :func:`~tepal.quant.write_onnx` writes."""

_QUANTISERS = ("QuantizeLinear", "DequantizeLinear")
"""Operators of quantised models alone."""

_MISFITS = (ArithmeticError, LookupError, TypeError, ValueError)
"""What NumPy and Python raise where values that could be decoded make no sense together."""


def read_onnx(path: str | PathLike, input_shape: tuple[int, ...] | None = None) -> FloatNetwork | Network:
    """The network of an ``.onnx`` file: an integer one where it is quantised (QDQ), else a float one.

    Parameters
    ----------
    path
        The operators in ``ONNX_FORMATS``, one input, any number of outputs; batch 1 or any.  Weights may lie in
        files beside it (ONNX's external data).
    input_shape
        Of the image with its batch, 1, in the file's own order of dimensions, where the file leaves some of them open
        or has another batch.

    Returns
    -------
    All maps are NHWC, whatever the file's order, the network's own results too; its answers are as the file has them.

    Raises
    ------
    NetworkError
        One sentence: the file can't be read, is damaged, or holds something that isn't supported.
    """
    path = Path(path)
    try:
        # Damaged files hold any number; what comes of it is refused where it matters.
        with np.errstate(all="ignore"):
            return _read(_load(path), path.stem, input_shape)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from None
    except OSError as error:
        raise NetworkError(f"{path}: can't be read ({error.strerror})") from None


# ---- the file ----

def _load(path: Path) -> onnx.ModelProto:
    content, model = path.read_bytes(), onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except Exception:
        raise NetworkError("isn't an .onnx file, or is damaged (it can't be decoded)") from None
    if not model.graph.node:
        raise NetworkError("isn't an .onnx file, or has no node")
    if any(isinstance(name, bytes) for name in _names(model.graph)):
        raise NetworkError("is damaged (a name in its graph isn't text); export it again")
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except Exception:
        names = {text(entry.value) for tensor in model.graph.initializer for entry in tensor.external_data
                 if entry.key == "location"}
        where = text(", ".join(sorted(names))) or "another file"
        raise NetworkError(f"keeps its weights in {where}, which can't be read: put it beside the model, or export the "
                           "model without external data") from None
    return model


def _names(graph: onnx.GraphProto) -> Iterator[str]:
    yield graph.name
    for value in (*graph.input, *graph.output, *graph.initializer):
        yield value.name
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, node.doc_string, *node.input, *node.output)
        for attribute in node.attribute:
            yield attribute.name


def _read(proto: onnx.ModelProto, name: str, input_shape: tuple[int, ...] | None) -> FloatNetwork | Network:
    graph, own = proto.graph, proto.producer_name == OWN_PRODUCER
    versions = {entry.domain: entry.version for entry in proto.opset_import}
    opset = versions.get("", versions.get("ai.onnx", 0))
    if opset < 1:
        raise NetworkError("doesn't say which version of ONNX's operators it uses (opset_import); export it again")
    constants = _initializers(graph)
    images = [value for value in graph.input if value.name not in constants]
    nodes = _needed(graph, [Node(index, node, opset) for index, whole in enumerate(graph.node)
                            for node in spelled_out(whole)])
    _check_order(nodes, {"", *constants, *(value.name for value in images)})
    _check_listing(nodes, {value.name for value in images})
    model = OnnxModel(opset, own, any(node.operator in _QUANTISERS for node in nodes), constants,
                      _readers(graph, nodes))
    _open(model, images, input_shape)
    _walk(model, proto, nodes)
    return network_of(model, [output.name for output in graph.output], graph.name if own else name,
                      {entry.key: entry.value for entry in proto.metadata_props})


def _needed(graph: onnx.GraphProto, nodes: list[Node]) -> list[Node]:
    """Those that outputs depend on."""
    if not graph.output:
        raise NetworkError("has no output")
    made = {name: node for node in nodes for name in node.proto.output if name}
    found, pending = set(), [value.name for value in graph.output]
    while pending:
        node = made.get(pending.pop())
        if node is not None and node not in found:
            found.add(node)
            pending += node.inputs
    return [node for node in nodes if node in found]


def _readers(graph: onnx.GraphProto, nodes: list[Node]) -> Counter[str]:
    """How many nodes and outputs read each value; not those that ask for its shape alone."""
    readers = Counter(value.name for value in graph.output)
    for node in nodes:
        folding = CONSTANT_NODES.get(node.operator)
        if not (folding and folding.shape_only):
            readers.update(node.inputs)
    return readers


def _initializers(graph: onnx.GraphProto) -> dict[str, Constant]:
    if graph.sparse_initializer:
        raise NetworkError("has sparse weights; store their zeros")
    constants = {}
    for tensor in graph.initializer:
        try:
            constants[tensor.name] = Constant(onnx.numpy_helper.to_array(tensor))
        except Exception:
            raise NetworkError(f"is damaged (the values of {text(tensor.name)} don't fit its shape); "
                               "export it again") from None
    return constants


def _check_order(nodes: list[Node], known: set[str]) -> None:
    """Raises unless every node reads what is ``known`` or nodes before it give."""
    made = {name for node in nodes for name in node.proto.output}
    for node in nodes:
        for name in node.inputs:
            if name not in known:
                raise node.error(f"reads {text(name)}, which " + (
                    "only it or a node behind it gives: the nodes form a cycle, or stand in no order in which they "
                    "can be computed; export the model again" if name in made else "no node before it gives"))
        known.update(node.proto.output)


def _check_listing(nodes: list[Node], computed: set[str]) -> None:
    """Raises unless every node is registered; ``computed`` are the names of the inputs."""
    found = []
    for node in nodes:
        operands = sum(name in computed for name in node.inputs)
        folding = CONSTANT_NODES.get(node.operator)
        if not operands or (folding and folding.shape_only):
            if not folding:
                found.append((node.operator, ON_CONSTANTS))
            continue
        computed.update(node.proto.output)
        if node.operator not in ONNX:
            found.append((node.operator, arithmetic(node.operator, operands)))
        elif operands > ONNX[node.operator].maps:
            found.append((node.operator, BRANCHES))
    check_operators(found)


def _open(model: OnnxModel, inputs: list[onnx.ValueInfoProto], input_shape: tuple[int, ...] | None) -> None:
    """Begin with the one input."""
    if len(inputs) != 1:
        raise NetworkError(f"has {len(inputs)} inputs; only models with one input are supported")
    kind = inputs[0].type.tensor_type
    types: dict[int, np.dtype | None] = {
        onnx.TensorProto.FLOAT: None, onnx.TensorProto.FLOAT16: None, onnx.TensorProto.BFLOAT16: None,
        onnx.TensorProto.DOUBLE: None, onnx.TensorProto.INT8: np.dtype(np.int8),
        onnx.TensorProto.UINT8: np.dtype(np.uint8)}
    if kind.elem_type not in types:
        names = dict(zip(onnx.TensorProto.DataType.values(), onnx.TensorProto.DataType.keys(), strict=True))
        name = names.get(kind.elem_type, f"type {kind.elem_type}").lower()
        raise NetworkError(f"takes {name} images; export it with a float32 input")
    # A dynamic dimension has no value: 0.
    batch, *shape = _shape(kind, input_shape) or [0]
    names = ", ".join(str(dim.dim_value or text(dim.dim_param) or "?") for dim in kind.shape.dim)
    if not shape or min(shape) < 1 or prod(shape) > LARGEST_MAP:
        raise NetworkError(f"takes an input of the shape [{names}]; export it with a fixed number of channels, "
                           f"height and width (only the batch may be dynamic), at most {LARGEST_MAP} values, or give "
                           "its shape (--input-shape 1,3,96,96)")
    if len(shape) > 3:
        raise NetworkError(f"takes an input of the shape [{names}]; only [batch, channels, height, width], [batch, "
                           "channels, length] and [batch, values] are supported")
    if batch not in (0, 1):
        raise NetworkError(f"takes a batch of {batch}; export it with batch 1 or a dynamic one, or give its shape with "
                           f"a batch of 1 (--input-shape {','.join(map(str, [1, *shape]))})")
    model.open(inputs[0].name, tuple(shape), types[kind.elem_type])


def _shape(kind: onnx.TypeProto.Tensor, given: tuple[int, ...] | None) -> list[int]:
    """Of the input, 0 where it is open; what was ``given`` fills what is, and replaces the batch."""
    shape = [dim.dim_value for dim in kind.shape.dim]
    if given is None:
        return shape
    # A file may say nothing at all.
    if shape and (len(given) != len(shape) or any(had not in (0, has) for had, has in
                                                  zip(shape[1:], given[1:], strict=True))):
        raise NetworkError(f"takes an input of the shape [{', '.join(str(size or '?') for size in shape)}], which the "
                           f"input shape {','.join(map(str, given))} isn't")
    return [*given]


# ---- its nodes ----

def _walk(model: OnnxModel, proto: onnx.ModelProto, nodes: list[Node]) -> None:
    obstacles: list[Obstacle] = []
    inferred: dict[str, tuple[int, ...]] | None = None
    for node in nodes:
        try:
            _step(model, node)
        except Obstacle as obstacle:
            obstacles.append(obstacle)
            inferred = _inferred(proto) if inferred is None else inferred
            if not _skip(model, node, inferred.get(node.output, ())):
                break
        except NetworkError:
            # What was passed over may be the cause of what comes after it.
            refuse(obstacles)
            raise
        except _MISFITS as error:
            raise node.misfit() from error
    refuse(obstacles)


def _step(model: OnnxModel, node: Node) -> None:
    """Take one node."""
    values = [model.values[name] for name in node.inputs if name in model.values]
    folding = CONSTANT_NODES.get(node.operator)
    if not values or (folding and folding.shape_only):
        model.constants[node.output] = CONSTANT_NODES[node.operator].compute(model, node)
        return
    known = ONNX[node.operator]
    picks = node.operator == "Gather" and node.inputs[0] in model.values
    if known.elementwise and not picks and any(value.parts for value in values):
        model.define(node.output, _of_parts(model, node, *values))
        return
    if node.inputs[0] not in model.values and not known.constant_first:
        raise node.error("has a constant where its first input should be the result of another node")
    if not known.moves:
        for value in values:
            _check_computes(node, value)
    if not (known.moves or known.elementwise):
        values = [layered(model, node, value) for value in values]
    if known.windows and all(value.places.ndim == 3 for value in values):
        rows = [replace(value, places=np.expand_dims(value.places, 2)) for value in values]
        result = known.read(model, node.two_dimensional(), *rows)
        model.define(node.output, replace(result, places=result.places[:, :, 0]))
    else:
        model.define(node.output, known.read(model, node, *values))


def _of_parts(model: OnnxModel, node: Node, value: Value, *others: Value) -> Value:
    """A function of each value of maps that stay apart."""
    if others or value.closings or any(model.constants[name].values.size > 1 for name in node.inputs
                                       if name in model.constants):
        raise node.obstacle("computes with maps of different heights and widths that were put together; only functions "
                            "of each value by itself are supported there")
    parts = tuple(ONNX[node.operator].read(model, node, replace(part, alone=part.alone and value.alone))
                  for part in value.parts)
    return replace(value, parts=parts, meaning=None, integers=False)


def _check_computes(node: Node, value: Value) -> None:
    """That ``node`` can compute with ``value``."""
    known = ONNX[node.operator]
    if value.parts and not (known.closing or node.operator == "Gather" or node.operator == "Concat"):
        raise node.error("computes with maps of different heights and widths that were put together; only outputs of "
                         "the model can be")
    if value.closings and not known.closing and node.operator != "Gather":
        raise node.error(f"follows {value.closings[-1].name}, which is only supported at the end")
    if value.padder and not known.takes_padding:
        raise value.padder.error(f"is followed by {node.operator}; padding is only supported before Conv")
    if value.integers and not (known.on_integers and value.meaning):
        raise node.error("works on integers, which nothing says the meaning of; put it between DequantizeLinear and "
                         "QuantizeLinear")


def _inferred(proto: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """The shapes that ONNX infers, by the names of the values."""
    try:
        graph = onnx.shape_inference.infer_shapes(proto).graph
    except onnx.shape_inference.InferenceError:
        return {}
    return {value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.value_info, *graph.output)}


def _skip(model: OnnxModel, node: Node, inferred: tuple[int, ...]) -> bool:
    """Go on after a node that can't be taken, with the shape that ONNX infers; False where it infers none."""
    value = next(model.values[name] for name in node.inputs if name in model.values)
    batch, *shape = inferred or [0]
    if tuple(shape) == value.places.shape[1:]:
        model.define(node.output, value)
        return True
    if batch not in (0, 1) or not shape or min(shape) < 1 or prod(shape) > LARGEST_MAP or model.size is None:
        return False
    size = (shape[1], shape[2], shape[0]) if len(shape) == 3 else (1, 1, prod(shape))
    places = None if len(shape) == 3 else np.arange(prod(shape), dtype=np.int32).reshape(1, *shape)
    model.define(node.output, replace(model.add(node, StandIn(
        node=node, reads=(value,), name=node.output, input_shape=size, output_shape=size,
        linear=ONNX[node.operator].linear), places), padder=None))
    return True


# ---- what it may hold ----

def _taken(kind: str) -> dict[str, str]:
    """Limits of all operators of this kind of file; those that only work on constants come last."""
    taken = {name: found.limits for name, found in sorted(ONNX.items()) if found.only in (None, kind)}
    return taken | {name: "on constants and shapes alone" for name in sorted(CONSTANT_NODES) if name not in taken}


ONNX_FORMATS = {
    "QDQ ONNX": Format("any graph of these with one input, batch 1 or any; int8 or uint8 activations between "
                       "QuantizeLinear and DequantizeLinear, weights with or without zero points, as ONNX Runtime's "
                       "quantize_static and 'tepal quantize' write it", _taken("QDQ")),
    "QOperator ONNX": Format("any graph of these with one input, batch 1 or any; int8 or uint8, as ONNX Runtime's "
                             "quantize_static writes it, each operator as its real one; also com.microsoft's "
                             "QuantizeLinear and DequantizeLinear",
                             {name: ONNX[real].limits for name, real in QOPERATORS.items()}),
    "float ONNX": Format("any graph of these with one input, batch 1 or any; float32, as PyTorch and tf2onnx "
                         "export it; for 'tepal quantize'", _taken("float")),
}
"""What each kind of file may hold."""
